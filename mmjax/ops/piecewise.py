"""Piecewise-linear encoding of numbers (Gorishniy et al. 2022, "On Embeddings for Numerical Features")."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def piecewise(place_BxS: Float[Array, "B S"], bins: int) -> Float[Array, "B D"]:
    """Each number as `bins` values that fill up one after the other, and a flag for a missing one.

    Args:
      place_BxS: bins below the number and the fraction of its own, -1 where it is missing: 2.3 is 1, 1, 0.3, 0, 0...
      bins: T.

    Returns:
      B x S (T + 1).
    """
    filled_BxSxT = jnp.clip(place_BxS[..., None] - jnp.arange(bins)[None, None], 0.0, 1.0)
    parts = jnp.concatenate([filled_BxSxT, (place_BxS < 0)[..., None].astype(filled_BxSxT.dtype)], axis=-1)
    return parts.reshape(len(place_BxS), -1)
