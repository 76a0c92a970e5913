"""Text tower: TextCNN (Kim 2014, "Convolutional Neural Networks for Sentence Classification")."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from mmjax.models.dropout import GlobalDropout
from mmjax.models.inputs import embed
from mmjax.models.mlp import dense_init


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


def uniform(scale: float) -> nn.initializers.Initializer:
    """U(-scale, scale): Kim 2014's range for words without a pre-trained vector is 0.25."""

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -scale, scale)

    return init


@jax.custom_vjp
def convolve_max(x_BxTxE: Float[Array, "B T E"], kernels: tuple[Array, ...]) -> tuple[Array, ...]:
    """Maximum over time of 'VALID' convolutions of several widths, each B x F (Kim 2014, equations 2 and 4).

    One matrix product with every tap of every filter, then sums of shifted slices: the same arithmetic as a convolution in the
    shape CPUs and GPUs multiply best. Only the winning place of each filter has a gradient, so the backward pass writes the
    gradient of the taps directly, instead of summing twelve padded copies.

    Args:
      x_BxTxE: word vectors, T at least the widest filter.
      kernels: each w x E x F.
    """
    return _forward(x_BxTxE, kernels)[0]


def _taps(kernels: tuple[Array, ...]) -> Float[Array, "E G"]:
    return jnp.concatenate([k.transpose(1, 0, 2).reshape(k.shape[1], -1) for k in kernels], axis=1)


def _forward(x_BxTxE: Array, kernels: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple]:
    tap_BxTxG = x_BxTxE @ _taps(kernels)
    maxima, places, at, tokens = [], [], 0, x_BxTxE.shape[1]
    for kernel in kernels:
        width, _, maps = kernel.shape
        count = tokens - width + 1
        slices = [tap_BxTxG[:, i : i + count, at + i * maps : at + (i + 1) * maps] for i in range(width)]
        y_BxPxF = sum(slices[1:], slices[0])
        maxima.append(y_BxPxF.max(axis=1))
        places.append(y_BxPxF.argmax(axis=1).astype(jnp.int32))
        at += width * maps
    return tuple(maxima), (x_BxTxE, kernels, tuple(places))


def _backward(saved: tuple, grads: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
    x_BxTxE, kernels, places = saved
    widths = [k.shape[0] for k in kernels]
    # Tap i of a filter that won at place p read the word at p + i.
    at_BxG = jnp.concatenate([p + i for p, w in zip(places, widths, strict=True) for i in range(w)], axis=1)
    grad_BxG = jnp.concatenate([g for g, w in zip(grads, widths, strict=True) for _ in range(w)], axis=1)
    # One place of T has a gradient: a CPU skips the others; a GPU multiplies faster than it picks.
    find = _picked_gradients if jax.default_backend() == "cpu" else _dense_gradients
    grad_x, grad_GxE = find(x_BxTxE, _taps(kernels), at_BxG, grad_BxG)
    grad_kernels, at = [], 0
    for kernel in kernels:
        width, embed_dim, maps = kernel.shape
        part = grad_GxE[at : at + width * maps].reshape(width, maps, embed_dim)
        grad_kernels.append(part.transpose(0, 2, 1))
        at += width * maps
    return grad_x, tuple(grad_kernels)


def _dense_gradients(x_BxTxE: Array, taps_ExG: Array, at_BxG: Array, grad_BxG: Array) -> tuple[Array, Array]:
    """Gradients of the words and of the taps as two matrix products with a gradient that is zero but for one place of T."""
    time_T = jnp.arange(x_BxTxE.shape[1], dtype=jnp.int32)
    grad_BxTxG = jnp.where(time_T[None, :, None] == at_BxG[:, None], grad_BxG[:, None], 0)
    return grad_BxTxG @ taps_ExG.T, jnp.einsum("btg,bte->ge", grad_BxTxG, x_BxTxE)


def _picked_gradients(x_BxTxE: Array, taps_ExG: Array, at_BxG: Array, grad_BxG: Array) -> tuple[Array, Array]:
    """The same from the places that won alone, a hundredth of the arithmetic: a scatter of taps and a gather of words, by row.

    Eight rows a step: one loop over the sum's numbers then reads eight words for each.
    """
    taps_GxE, rows = taps_ExG.T, len(x_BxTxE)
    some = max(n for n in range(1, 9) if rows % n == 0)

    def scatter(_: None, row: tuple[Array, Array]) -> tuple[None, Array]:
        at_G, grad_G = row
        zero_TxE = jnp.zeros(x_BxTxE.shape[1:], x_BxTxE.dtype)
        return None, zero_TxE.at[at_G].add(taps_GxE * grad_G[:, None], mode="promise_in_bounds")

    def gather(grad_GxE: Array, part: tuple[Array, Array, Array]) -> tuple[Array, None]:
        for x_TxE, at_G, grad_G in zip(*part, strict=True):
            grad_GxE += x_TxE.at[at_G].get(mode="promise_in_bounds") * grad_G[:, None]
        return grad_GxE, None

    _, grad_x = jax.lax.scan(scatter, None, (at_BxG, grad_BxG))
    parts = jax.tree.map(lambda v: v.reshape(rows // some, some, *v.shape[1:]), (x_BxTxE, at_BxG, grad_BxG))
    grad_GxE, _ = jax.lax.scan(gather, jnp.zeros_like(taps_GxE), parts)
    return grad_x, grad_GxE


convolve_max.defvjp(_forward, _backward)
