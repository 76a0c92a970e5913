"""The first layer over one-hot columns as a look-up of the kernel's rows, and its gradient as an addition to those rows."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@jax.custom_vjp
def look_up(
    kernel_DxM: Float[Array, "D M"], number_BxS: Float[Array, "B S"], column_BxC: Int[Array, "B C"]
) -> Float[Array, "B M"]:
    """[numbers, one-hot] @ kernel; a column past the end counts for nothing."""
    size = number_BxS.shape[1]
    row_BxCxM = jnp.take(kernel_DxM, size + column_BxC, axis=0, mode="fill", fill_value=0)
    return number_BxS.astype(kernel_DxM.dtype) @ kernel_DxM[:size] + row_BxCxM.sum(axis=1)


def _forward(kernel_DxM: Array, number_BxS: Array, column_BxC: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    return look_up(kernel_DxM, number_BxS, column_BxC), (kernel_DxM, number_BxS, column_BxC)


def _backward(saved: tuple[Array, Array, Array], grad_BxM: Array) -> tuple[Array, None, None]:
    kernel_DxM, number_BxS, column_BxC = saved
    grad_BxCxM = jnp.broadcast_to(grad_BxM[:, None], (*column_BxC.shape, grad_BxM.shape[1]))
    size = number_BxS.shape[1]
    # One scatter of rows, the numbers' written over it: with a scatter of its own and a concatenation it takes twice as long.
    flat_BCxM = grad_BxCxM.reshape(-1, grad_BxM.shape[1])
    rows_DxM = jnp.zeros_like(kernel_DxM).at[size + column_BxC.reshape(-1)].add(flat_BCxM, mode="drop")
    return rows_DxM.at[:size].set(number_BxS.astype(grad_BxM.dtype).T @ grad_BxM), None, None


look_up.defvjp(_forward, _backward)
