"""Tower of what is known of a row in several ways: a dense layer for each, side by side."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.models.dropout import GlobalDropout
from mmjax.models.mlp import INITS


class Blocks(nn.Module):
    """Dense layers with SiLU, each over inputs of its own; v is all of them.

    One layer over all inputs can lose the few that matter among the many: the labels of the nearest texts, 7 numbers,
    beside the texts' 192.

    Attributes:
      units: of each block.
      dtype: compute dtype; parameters stay float32.
      input_dropout: rate before each.
      axis_name: device axis the batch is sharded over, or None.
    """

    units: tuple[int, ...]
    dtype: jnp.dtype
    input_dropout: float = 0.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: tuple[Float[Array, "B D"], ...], *, train: bool) -> Float[Array, "B m"]:
        """Returns v; `x` has the inputs of each block, and one without any is left out."""
        parts = []
        for i, (x_BxD, units) in enumerate(zip(x, self.units, strict=True)):
            if x_BxD.shape[-1]:
                dropout = GlobalDropout(self.input_dropout, self.axis_name, name=f"dropout_{i}")
                dense = nn.Dense(units, dtype=self.dtype, kernel_init=INITS["lecun"], name=f"block_{i}")
                parts.append(nn.silu(dense(dropout(x_BxD, train=train))))
        return jnp.concatenate(parts, axis=-1) if parts else jnp.zeros((len(x[0]), 0), self.dtype)
