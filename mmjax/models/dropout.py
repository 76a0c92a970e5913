"""Dropout, and draws that do not depend on how many devices share the batch."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float


def all_rows(rows: int, axis_name: str | None) -> int:
    """Rows of the global batch, of which a device has `rows`."""
    return rows * (jax.lax.axis_size(axis_name) if axis_name else 1)


def own_rows(drawn: Array, rows: int, axis_name: str | None) -> Array:
    """A device's part of what every device has drawn for the global batch, so that sharding a batch changes no number."""
    return jax.lax.dynamic_slice_in_dim(drawn, jax.lax.axis_index(axis_name) * rows, rows) if axis_name else drawn


def drop_modalities(key: Array, present_BxM: Bool[Array, "B M"], rate: float, axis_name: str | None) -> Bool[Array, "B M"]:
    """Takes each modality of a row away with probability `rate` (Neverova et al. 2016).

    A row that is left with nothing teaches what to predict of nothing: the base value of its explanation.
    """
    rows = len(present_BxM)
    kept_BxM = jax.random.bernoulli(key, 1 - rate, (all_rows(rows, axis_name), present_BxM.shape[1]))
    return present_BxM & own_rows(kept_BxM, rows, axis_name)


class GlobalDropout(nn.Module):
    """Dropout (Srivastava et al. 2014), equal under `pmap` and on one device.

    Every device draws the mask of the global batch and takes its own rows, so sharding a batch changes no number.

    Attributes:
      rate: probability of zeroing a value.
      axis_name: device axis the batch is sharded over, or None.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x_BxD: Float[Array, "B D"], *, train: bool) -> Float[Array, "B D"]:
        """Zeroes values and scales the rest by 1 / (1 - rate) when training."""
        if not train or self.rate == 0.0:
            return x_BxD
        rows = x_BxD.shape[0]
        bits = jax.random.bits(self.make_rng("dropout"), (all_rows(rows, self.axis_name), *x_BxD.shape[1:]), jnp.uint32)
        keep = own_rows(bits >= jnp.uint32(min(round(self.rate * 2**32), 2**32 - 1)), rows, self.axis_name)
        return jnp.where(keep, x_BxD / (1.0 - self.rate), jnp.zeros_like(x_BxD))
