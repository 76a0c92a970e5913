"""A denoising autoencoder over all modalities: one encoder, one linear code, trained to undo swapped values."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.models.autoencoder import Autoencoder, squared_error
from mmjax.models.dropout import all_rows, own_rows
from mmjax.models.inputs import inputs_of
from mmjax.models.mlp import dense_init


class DenoisingAutoencoder(Autoencoder):
    """[x_1 ; x_2 ; ...] -> 256 -> 256 -> 192 = h_mm, linear; h_mm -> 256 -> every x̂_i; SiLU between.

    In training each value of the inputs is another row's with probability `noise` (swap noise, Jahrer 2017; denoising: Vincent
    et al. 2008): what is put in its place is as likely as any, so only the other columns and modalities can tell it.

    Attributes:
      rows: parts of each modality that have a row axis.
      hidden: widths of the encoder's layers; the decoder has one as wide as the last.
      code: length of h_mm.
      noise: see above.
      axis_name: device axis that a batch is sharded over, or None: rows are swapped over all devices.
    """

    rows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hidden: tuple[int, ...] = (256, 256)
    code: int = 192
    noise: float = 0.2
    axis_name: str | None = None

    def setup(self) -> None:
        """Names every layer, so that a trained autoencoder can be copied into a classifier."""

        def dense(size: int, name: str) -> nn.Dense:
            return nn.Dense(size, dtype=self.dtype, kernel_init=dense_init, name=name)

        self.make_tables()
        self.encoder = [dense(size, f"encode_{i}") for i, size in enumerate((*self.hidden, self.code))]
        self.widen = dense(self.hidden[-1], "decode")
        self.outputs = {n: dense(target.size, f"decode_{n}") for n, target in self.targets.items()}

    def __call__(self, batch: dict[str, Any], *, train: bool = False) -> dict:
        """Reconstructs every modality.

        Returns:
          `h_mm` B x code, of the rows as they are; `prediction` by modality, B x D_i, in training of swapped rows; `error` and
          `count` by modality: the sum of each row's errors over the columns that count, and their number, B.
        """
        x = self.flattened(batch)
        h_Bxk = read_Bxk = self._encode(batch, x)
        if train and self.noise:
            read_Bxk = self._encode(batch, self.flattened(self._swapped(batch)))
        wide_BxH = nn.silu(self.widen(read_Bxk))
        out: dict = {"h_mm": h_Bxk.astype(jnp.float32), "prediction": {}, "error": {}, "count": {}}
        for name, x_BxD in x.items():
            prediction_BxD = self.outputs[name](wide_BxH).astype(jnp.float32)
            out["prediction"][name] = prediction_BxD
            target_BxD = jax.lax.stop_gradient(x_BxD).astype(jnp.float32)
            out["error"][name], out["count"][name] = self._error(batch, name, prediction_BxD, target_BxD)
        return out

    def encode(self, batch: dict[str, Any]) -> Float[Array, "B k"]:
        """h_mm of the rows as they are."""
        return self._encode(batch, self.flattened(batch)).astype(jnp.float32)

    def _encode(self, batch: dict[str, Any], x: dict[str, Float[Array, "B D"]]) -> Float[Array, "B k"]:
        """The code; an absent modality is zeros, and a flag says so."""
        present = {n: self.present(batch, n).astype(self.dtype) for n in x}
        h = jnp.concatenate([*(x[n] * present[n] for n in x), *present.values()], axis=-1)
        *layers, last = self.encoder
        for layer in layers:
            h = nn.silu(layer(h))
        return last(h)

    def _error(
        self, batch: dict[str, Any], name: str, prediction_BxD: Float[Array, "B D"], target_BxD: Float[Array, "B D"]
    ) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
        target, inputs, present_Bx1 = self.targets[name], inputs_of(batch, name), self.present(batch, name)
        if target.column_error is not None:
            error_B, count_B = target.column_error(prediction_BxD, target_BxD, inputs)
            return error_B * present_Bx1[:, 0], count_B * present_Bx1[:, 0]
        weight_BxD = target.weight(inputs, present_Bx1)
        return squared_error(prediction_BxD, target_BxD, weight_BxD)

    def _swapped(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with some of its values from other rows."""
        parts = [f"{name}/{part}" for name, parts in self.rows.items() for part in parts]
        keys = jax.random.split(self.make_rng("dropout"), (len(parts), 2))
        return batch | {part: self._swap(batch[part], *key_2) for part, key_2 in zip(parts, keys, strict=True)}

    def _swap(self, value: Array, which: Array, whose: Array) -> Array:
        """Of B x C each value by itself; of more axes, such as a photo's, each place by itself, all of one other row."""
        rows, alone = len(value), value.ndim <= 2
        total = all_rows(rows, self.axis_name)
        everyone = jax.lax.all_gather(value, self.axis_name, tiled=True) if self.axis_name else value
        places = value.shape[1:] if alone else (*value.shape[1:-1], 1)
        swap = own_rows(jax.random.bernoulli(which, self.noise, (total, *places)), rows, self.axis_name)
        drawn = jax.random.randint(whose, (total, *(value.shape[1:] if alone else ())), 0, total)
        other = own_rows(drawn, rows, self.axis_name)
        return jnp.where(swap, jnp.take_along_axis(everyone, other, axis=0) if alone else everyone[other], value)
