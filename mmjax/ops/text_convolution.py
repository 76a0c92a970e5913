"""TextCNN's convolutions and maxima over time as one matrix product (Kim 2014, equations 2 and 4)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.ops import on_cpu
from mmjax.ops.cpu.text_gradients import picked_gradients


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
    find = picked_gradients if on_cpu() else dense_gradients
    grad_x, grad_GxE = find(x_BxTxE, _taps(kernels), at_BxG, grad_BxG)
    grad_kernels, at = [], 0
    for kernel in kernels:
        width, embed_dim, maps = kernel.shape
        part = grad_GxE[at : at + width * maps].reshape(width, maps, embed_dim)
        grad_kernels.append(part.transpose(0, 2, 1))
        at += width * maps
    return grad_x, tuple(grad_kernels)


def dense_gradients(x_BxTxE: Array, taps_ExG: Array, at_BxG: Array, grad_BxG: Array) -> tuple[Array, Array]:
    """Gradients of the words and of the taps as two matrix products with a gradient that is zero but for one place of T."""
    time_T = jnp.arange(x_BxTxE.shape[1], dtype=jnp.int32)
    grad_BxTxG = jnp.where(time_T[None, :, None] == at_BxG[:, None], grad_BxG[:, None], 0)
    return grad_BxTxG @ taps_ExG.T, jnp.einsum("btg,bte->ge", grad_BxTxG, x_BxTxE)


convolve_max.defvjp(_forward, _backward)
