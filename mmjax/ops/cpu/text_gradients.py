"""Gradients of a maximum over time from the winning places alone."""

import jax
import jax.numpy as jnp
from jaxtyping import Array


def picked_gradients(x_BxTxE: Array, taps_ExG: Array, at_BxG: Array, grad_BxG: Array) -> tuple[Array, Array]:
    """What `mmjax.ops.text_convolution.dense_gradients` gives, from the places that won alone: a hundredth of the arithmetic.

    A scatter of taps and a gather of words, by row.

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
