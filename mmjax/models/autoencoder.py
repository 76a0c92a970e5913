"""Autoencoders (paper, section 3.1, equations 1 to 7): independent ones, or the multi-modal one that shares its code."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.batch import IMAGE, IMAGE_FEATURES, PADDING, TABULAR, TEXT, Batch, InputSpec
from mmjax.models.inputs import embed, pixels, presence, tabular_vector
from mmjax.models.mlp import dense_init
from mmjax.models.textcnn import uniform


class MultiModalAutoencoder(nn.Module):
    """Encoders f_i: x_i -> 512 -> 64 = h_i, decoders g_i: code -> 64 -> 512 -> x̂_i, ReLU between, a linear output.

    Attributes:
      spec: sizes of the inputs.
      shared: True: every decoder reads h_mm = [h_1 ; h_2 ; ...] (MMAE, row #8); False: its own h_i (AE feature, row #7).
      hidden: 512.
      code: k = 64.
      embed_dim: E of the text's table.
      embed_scale: range of the random table.
      train_table: the table trains through the encoder; the target is a constant either way: one that may move collapses.
      dtype: compute dtype; parameters stay float32.
    """

    spec: InputSpec
    shared: bool
    hidden: int
    code: int
    embed_dim: int
    embed_scale: float
    train_table: bool
    dtype: jnp.dtype

    def setup(self) -> None:
        """Names every layer, so that a trained autoencoder can be copied into a classifier."""

        def dense(size: int, name: str) -> nn.Dense:
            return nn.Dense(size, dtype=self.dtype, kernel_init=dense_init, name=name)

        names = self.spec.modalities
        if TEXT in names:
            self.text_table = self.param("text_table", uniform(self.embed_scale), (self.spec.vocabulary, self.embed_dim))
        self.encoders = {n: (dense(self.hidden, f"encode_{n}_0"), dense(self.code, f"encode_{n}_1")) for n in names}
        self.decoders = {
            n: (
                dense(self.code, f"decode_{n}_0"),
                dense(self.hidden, f"decode_{n}_1"),
                dense(self.output_size(n), f"decode_{n}_2"),
            )
            for n in names
        }

    def output_size(self, name: str) -> int:
        """D_i, the length of a modality's flattened input."""
        spec = self.spec
        sizes = {
            TABULAR: spec.tabular,
            TEXT: spec.tokens * self.embed_dim,
            IMAGE: spec.image_size**2 * 3,
            IMAGE_FEATURES: spec.features,
        }
        return sizes[name]

    def flatten(self, batch: Batch, name: str) -> Float[Array, "B D"]:
        """x_i, flattened."""
        if name == TABULAR:
            return tabular_vector(batch, self.spec.onehot, self.dtype)
        if name == TEXT:
            table_VxE = self.text_table if self.train_table else jax.lax.stop_gradient(self.text_table)
            x_BxTxE = embed(table_VxE, batch["text"], self.dtype)
            return x_BxTxE.reshape(len(x_BxTxE), -1)
        x = pixels(batch["image"], self.dtype) if name == IMAGE else batch["image_features"].astype(self.dtype)
        return x.reshape(len(x), -1)

    def codes(self, batch: Batch, inputs: dict[str, Array]) -> list[Float[Array, "B k"]]:
        """h_i of every modality; zero where it is absent."""
        codes = []
        for name, x_BxD in inputs.items():
            first, second = self.encoders[name]
            h_Bxk = nn.relu(second(nn.relu(first(x_BxD))))
            codes.append(h_Bxk * presence(batch, self.spec.modalities, name).astype(h_Bxk.dtype))
        return codes

    def encode(self, batch: Batch) -> Float[Array, "B Mk"]:
        """h_mm (equation 5), or the independent codes side by side: the same size, 3k."""
        inputs = {n: self.flatten(batch, n) for n in self.spec.modalities}
        return jnp.concatenate(self.codes(batch, inputs), axis=-1).astype(jnp.float32)

    def __call__(self, batch: Batch, *, train: bool = False) -> dict:
        """Reconstructs every modality.

        Returns:
          `h_mm` B x Mk, and by modality `prediction`, `target`, `target_weight`, each B x D_i or broadcastable to it. A
          weight is 0 for an absent modality, a padding token and a padded column.
        """
        del train  # no dropout and no BatchNorm: both modes are the same
        inputs = {n: self.flatten(batch, n) for n in self.spec.modalities}
        codes = self.codes(batch, inputs)
        h_mm_BxMk = jnp.concatenate(codes, axis=-1)
        out = {"h_mm": h_mm_BxMk.astype(jnp.float32), "prediction": {}, "target": {}, "target_weight": {}}
        for i, (name, x_BxD) in enumerate(inputs.items()):
            first, second, last = self.decoders[name]
            code = h_mm_BxMk if self.shared else codes[i]
            out["prediction"][name] = last(nn.relu(second(nn.relu(first(code))))).astype(jnp.float32)
            out["target"][name] = jax.lax.stop_gradient(x_BxD).astype(jnp.float32)
            out["target_weight"][name] = self.target_weight(batch, name)
        return out

    def target_weight(self, batch: Batch, name: str) -> Float[Array, "B D"]:
        """1 for a value that counts in the reconstruction loss."""
        present_Bx1 = presence(batch, self.spec.modalities, name)
        if name == TEXT:
            token_BxT = (batch["text"] != PADDING).astype(jnp.float32)
            return present_Bx1 * jnp.repeat(token_BxT, self.embed_dim, axis=1)
        if name == TABULAR and "tabular_column_weight" in batch:
            return present_Bx1 * batch["tabular_column_weight"][None]
        return present_Bx1
