"""Attention-based multi-modal classifier (paper, section 3.2, equations 8 to 11)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.batch import IMAGE, IMAGE_FEATURES, TABULAR, TEXT, Batch, InputSpec
from mmjax.models.attention import SoftAttention, masked_softmax
from mmjax.models.autoencoder import MultiModalAutoencoder
from mmjax.models.inputs import tabular_product, tabular_vector
from mmjax.models.mlp import dense_init


class MultiModalClassifier(nn.Module):
    """Towers, fusion, codes, one linear layer.

    Attributes:
      spec: sizes of the inputs.
      fusion: none (one modality) | concatenate (#4, #5) | attention (#6 to #8).
      towers: by modality, an unbound tower: vector, ids or pixels -> v_i of m numbers.
      codes: none | batch (h_mm comes with the batch) | encoder (h_mm of `coder`) | joint (and its reconstruction).
      coder: unbound autoencoder for codes encoder and joint; its parameters lie under `autoencoder`.
      code_norm: none | rms: how h_mm stands beside the towers, see `unit_rms`.
      dtype: compute dtype; logits are float32.
    """

    spec: InputSpec
    fusion: str
    towers: dict[str, nn.Module]
    codes: str
    coder: MultiModalAutoencoder | None
    code_norm: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> tuple[Float[Array, "B K"], dict]:
        """Class scores.

        Returns:
          logits B x K, and `attention` B x M (even weights over the present modalities without attention), `v` by modality,
          `h_mm` and `reconstruction` where there are codes.
        """
        names, present_BxM = self.spec.modalities, batch["present"]
        v = {}
        for i, name in enumerate(names):
            tower = self.towers[name].copy(name=f"tower_{name}")
            faster = {"product": tabular_product(batch, self.spec.onehot)} if name == TABULAR else {}
            # An absent modality says nothing: its representation is zero, biases included.
            v[name] = tower(self._input(batch, name), train=train, **faster) * present_BxM[:, i, None].astype(self.dtype)
        v_BxMxm = jnp.stack(list(v.values()), axis=1)
        if self.fusion == "attention":
            v_BxMxm, weight_BxM = SoftAttention(name="attention")(v_BxMxm, present_BxM)
        else:
            weight_BxM = masked_softmax(jnp.zeros(present_BxM.shape, jnp.float32), present_BxM)
        out: dict = {"attention": weight_BxM, "v": v}
        codes = self._codes(batch, out, train=train)
        if self.code_norm == "rms":
            codes = [unit_rms(h_mm) for h_mm in codes]
        parts = [v_BxMxm.reshape(len(v_BxMxm), -1), *codes]
        h = jnp.concatenate([p.astype(self.dtype) for p in parts], axis=-1)
        logits = nn.Dense(len(self.spec.classes), dtype=self.dtype, kernel_init=dense_init, name="classify")(h)
        return logits.astype(jnp.float32), out

    def _input(self, batch: Batch, name: str) -> Array:
        if name == TABULAR:
            return tabular_vector(batch, self.spec.onehot, self.dtype)
        return batch[{TEXT: "text", IMAGE: "image", IMAGE_FEATURES: "image_features"}[name]]

    def _codes(self, batch: Batch, out: dict, *, train: bool) -> list[Array]:
        if self.codes == "none":
            return []
        if self.codes == "batch":
            out["h_mm"] = batch["codes"]
            return [batch["codes"]]
        assert self.coder is not None
        result = self.coder.copy(name="autoencoder")(batch, train=train)
        out["h_mm"] = result["h_mm"]
        if self.codes == "joint":
            out["reconstruction"] = result
        return [result["h_mm"]]


def unit_rms(h_BxD: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Each row over its root mean square (Zhang and Sennrich 2019, without a gain); a row of zeros stays zero.

    A code is a ReLU output that nothing bounds: its size is what reconstruction happened to need, while v̂ lies near 1.
    """
    square_Bx1 = jnp.mean(jnp.square(h_BxD.astype(jnp.float32)), axis=-1, keepdims=True)
    return h_BxD * jax.lax.rsqrt(square_Bx1 + 1e-6)
