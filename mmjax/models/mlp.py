"""Tower of a vector: the table's columns, or an image vector made by another model."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.models.dropout import GlobalDropout
from mmjax.ops.onehot import DotGeneral

dense_init = nn.initializers.glorot_uniform()
"""Our reading: Keras' default for dense layers; the paper is silent."""
INITS = {"glorot": dense_init, "lecun": nn.initializers.lecun_normal()}
"""By name in `config.model.init`; lecun depends on a layer's inputs alone: with many it starts larger than glorot."""


class MLP(nn.Module):
    """Dense layers with an activation and dropout after each (paper, section 4.1, #1: 256 -> 128, ReLU, dropout 0.2).

    Attributes:
      sizes: units of each layer; the last is m.
      dropout: rate after each layer.
      dtype: compute dtype; parameters stay float32.
      axis_name: device axis the batch is sharded over, or None.
      activation: name of a function of `flax.linen`.
      input_dropout: rate before the first layer.
      kernel_init: one of INITS.
    """

    sizes: tuple[int, ...]
    dropout: float
    dtype: jnp.dtype
    axis_name: str | None = None
    activation: str = "relu"
    input_dropout: float = 0.0
    kernel_init: str = "glorot"

    @nn.compact
    def __call__(self, x_BxD: Float[Array, "B D"], *, train: bool, product: DotGeneral | None = None) -> Float[Array, "B m"]:
        """Returns v, the tower's representation.

        Args:
          x_BxD: the vector.
          train: whether to drop values.
          product: of the first layer, where the caller knows a faster one for its vector than `lax.dot_general`; of no use
            for a vector some of whose numbers are dropped.
        """
        x_BxD = GlobalDropout(self.input_dropout, self.axis_name, name="dropout_in")(x_BxD, train=train)
        product = None if train and self.input_dropout else product
        for i, size in enumerate(self.sizes):
            dense = nn.Dense(
                size,
                dtype=self.dtype,
                kernel_init=INITS[self.kernel_init],
                dot_general=product if i == 0 else None,
                name=f"dense_{i}",
            )
            x_BxD = getattr(nn, self.activation)(dense(x_BxD))
            x_BxD = GlobalDropout(self.dropout, self.axis_name, name=f"dropout_{i}")(x_BxD, train=train)
        return x_BxD
