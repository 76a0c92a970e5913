"""Attention-based multi-modal classifier (paper, section 3.2, equations 8 to 11)."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.models.attention import GatedFusion, SoftAttention, masked_softmax
from mmjax.models.autoencoder import MultiModalAutoencoder
from mmjax.models.dropout import drop_modalities
from mmjax.models.inputs import inputs_of
from mmjax.models.members import Members, log_mean_probability
from mmjax.models.mlp import dense_init


class Tower(NamedTuple):
    """Tower of a modality.

    Attributes:
      module: unbound: its input -> v_i of m numbers; with fusion concatenate towers may differ in m.
      read: (the modality's inputs by part, dtype) -> the module's input, and further arguments by name.
      scores: (the modality's inputs by part) -> class scores B x K, which are added to the classifier's; None: it has none.
    """

    module: nn.Module
    read: Callable[[Mapping[str, Array], Any], tuple[Any, dict[str, Any]]]
    scores: Callable[[Mapping[str, Array]], Array] | None = None


class MultiModalClassifier(nn.Module):
    """Towers, fusion, codes, one linear layer or the members of an ensemble.

    Attributes:
      outputs: K.
      fusion: none (one modality) | concatenate (#4, #5) | attention (#6 to #8) | gated.
      towers: by modality, in canonical order.
      codes: none | batch (h_mm comes with the batch) | encoder (h_mm of `coder`) | joint (and its reconstruction).
      coder: unbound autoencoder for codes encoder and joint; its parameters lie under `autoencoder`.
      code_norm: none | rms: how h_mm stands beside the towers, see `unit_rms`.
      head: unbound; None: one linear layer.
      attention: scores of `SoftAttention`.
      modality_dropout: probability with which training takes a modality of a row away; codes stay as they are.
      axis_name: device axis that a batch is sharded over, or None.
      dtype: compute dtype; logits are float32.
    """

    outputs: int
    fusion: str
    towers: dict[str, Tower]
    codes: str
    coder: MultiModalAutoencoder | None
    code_norm: str
    dtype: jnp.dtype
    head: Members | None = None
    attention: str = "tanh"
    modality_dropout: float = 0.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, batch: dict[str, Any], *, train: bool) -> tuple[Float[Array, "B K"], dict]:
        """Class scores.

        Returns:
          logits B x K, and `attention` B x M (even weights over the present modalities without attention), `v` by modality,
          `h_mm` and `reconstruction` where there are codes, `members` B x k x K where there are several.
        """
        whole, present_BxM = batch, batch["present"]
        if train and self.modality_dropout:
            present_BxM = drop_modalities(self.make_rng("dropout"), present_BxM, self.modality_dropout, self.axis_name)
            batch = batch | {"present": present_BxM}
        v = {}
        for i, (name, (module, read, _)) in enumerate(self.towers.items()):
            x, more = read(inputs_of(batch, name), self.dtype)
            # An absent modality says nothing: its representation is zero, biases included.
            v[name] = module.copy(name=f"tower_{name}")(x, train=train, **more) * present_BxM[:, i, None].astype(self.dtype)
        if self.fusion in ("attention", "gated"):
            fuse = SoftAttention(self.attention, name="attention") if self.fusion == "attention" else GatedFusion(name="gated")
            v_BxMxm, weight_BxM = fuse(jnp.stack(self._of_one_width(v), axis=1), present_BxM)
            fused = [v_BxMxm.reshape(len(v_BxMxm), -1)]
        else:
            fused = list(v.values())
            weight_BxM = masked_softmax(jnp.zeros(present_BxM.shape, jnp.float32), present_BxM)
        out: dict = {"attention": weight_BxM, "v": v}
        codes = self._codes(whole, out, train=train)
        if self.code_norm == "rms":
            codes = [unit_rms(h_mm) for h_mm in codes]
        h = jnp.concatenate([p.astype(self.dtype) for p in (*fused, *codes)], axis=-1)
        if self.head is not None:
            out["members"] = self.head.copy(name="members")(h, train=train) + self._scores(batch)[:, None]
            return log_mean_probability(out["members"]), out
        logits = nn.Dense(self.outputs, dtype=self.dtype, kernel_init=dense_init, name="classify")(h)
        return logits.astype(jnp.float32) + self._scores(batch), out

    def _of_one_width(self, v: dict[str, Array]) -> list[Array]:
        """The towers' vectors for attention; where their widths differ, the narrower ones by a layer to the widest."""
        width = max(part.shape[-1] for part in v.values())
        layer = partial(nn.Dense, width, use_bias=False, dtype=self.dtype, kernel_init=dense_init)
        return [p if p.shape[-1] == width else layer(name=f"widen_{name}")(p) for name, p in v.items()]

    def _scores(self, batch: dict[str, Any]) -> Float[Array, "B K"]:
        """What modalities say of the classes themselves, each at a scale that is learnt.

        It starts where `Classification.start` says, or at their mean.
        """
        total = jnp.zeros((len(batch["present"]), self.outputs), jnp.float32)
        found = modality_scores(self.towers, batch)
        start = nn.initializers.constant(1 / max(1, len(found)))
        for name, score_BxK in found.items():
            total += self.param(f"scale_{name}", start, (1,))[None] * score_BxK
        return total

    def _codes(self, batch: dict[str, Any], out: dict, *, train: bool) -> list[Array]:
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


def modality_scores(towers: Mapping[str, Tower], batch: Mapping[str, Any]) -> dict[str, Float[Array, "B K"]]:
    """Class scores of the modalities that have some, by name; zeros where a row has not the modality."""
    present_BxM = batch["present"]
    return {
        name: tower.scores(inputs_of(batch, name)) * present_BxM[:, i, None]
        for i, (name, tower) in enumerate(towers.items())
        if tower.scores is not None
    }


def unit_rms(h_BxD: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Each row over its root mean square (Zhang and Sennrich 2019, without a gain); a row of zeros stays zero.

    A code is a ReLU output that nothing bounds: its size is what reconstruction happened to need, while v̂ lies near 1.
    """
    square_Bx1 = jnp.mean(jnp.square(h_BxD.astype(jnp.float32)), axis=-1, keepdims=True)
    return h_BxD * jax.lax.rsqrt(square_Bx1 + 1e-6)
