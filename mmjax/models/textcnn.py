"""Text tower: TextCNN (Kim 2014, "Convolutional Neural Networks for Sentence Classification")."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from mmjax.models.dropout import GlobalDropout
from mmjax.models.mlp import dense_init
from mmjax.ops.text_convolution import convolve_max


class TextCNN(nn.Module):
    """Embedding, convolutions of several widths, max over time, dropout, one dense layer (paper, section 4.1, #2).

    Attributes:
      vocabulary: V, text ids with padding and unknown.
      embed_dim: E.
      widths: words a filter spans.
      maps: filters of each width.
      dropout: rate before the dense layer.
      width: m, size of the representation.
      embed_scale: range of the random table.
      train_embedding: False holds the table fixed.
      dtype: compute dtype; parameters stay float32.
      axis_name: device axis the batch is sharded over, or None.
    """

    vocabulary: int
    embed_dim: int
    widths: tuple[int, ...]
    maps: int
    dropout: float
    width: int
    embed_scale: float
    train_embedding: bool
    dtype: jnp.dtype
    axis_name: str | None = None

    @nn.compact
    def __call__(self, text_BxT: Int[Array, "B T"], *, train: bool) -> Float[Array, "B m"]:
        """Returns v_textual."""
        table_VxE = self.param("embedding", uniform(self.embed_scale), (self.vocabulary, self.embed_dim))
        if not self.train_embedding:
            table_VxE = jax.lax.stop_gradient(table_VxE)
        # A text shorter than the widest filter is padded, so that every filter has a place to stand.
        short = max(0, max(self.widths) - text_BxT.shape[1])
        text_BxT = jnp.pad(text_BxT, ((0, 0), (0, short)))
        x_BxTxE = embed(table_VxE, text_BxT, self.dtype)
        kernels, biases = [], []
        for w in self.widths:
            kernels.append(self.param(f"conv_{w}_kernel", dense_init_conv, (w, self.embed_dim, self.maps)).astype(self.dtype))
            biases.append(self.param(f"conv_{w}_bias", nn.initializers.zeros, (self.maps,)).astype(self.dtype))
        # ReLU and a bias are monotone, so they come after the maximum: the same value for a fraction of the work.
        maxima = convolve_max(x_BxTxE, tuple(kernels))
        pooled = [nn.relu(m_BxF + b[None]) for m_BxF, b in zip(maxima, biases, strict=True)]
        h_BxF = GlobalDropout(self.dropout, self.axis_name, name="dropout")(jnp.concatenate(pooled, axis=-1), train=train)
        return nn.relu(nn.Dense(self.width, dtype=self.dtype, kernel_init=dense_init, name="dense")(h_BxF))


dense_init_conv = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
"""Glorot uniform with the filter's whole receptive field as fan-in, as Keras' Conv1D."""


PADDING, UNKNOWN = 0, 1
"""Text ids with a meaning of their own."""


def embed(table_VxE: Float[Array, "V E"], text_BxT: Int[Array, "B T"], dtype: jnp.dtype) -> Float[Array, "B T E"]:
    """Word vectors; padding is exactly zero whatever the table's first row holds."""
    vector_BxTxE = jnp.take(table_VxE, text_BxT.astype(jnp.int32), axis=0).astype(dtype)
    return vector_BxTxE * (text_BxT != PADDING)[..., None].astype(dtype)


def uniform(scale: float) -> nn.initializers.Initializer:
    """U(-scale, scale): Kim 2014's range for words without a pre-trained vector is 0.25."""

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -scale, scale)

    return init
