"""Input layer (paper, section 3.1): from a batch's compact columns to the vectors the networks read."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from mmjax.batch import PADDING, Batch

DotGeneral = Callable[..., Array]
"""What `nn.Dense` takes for its product."""


def tabular_vector(batch: Batch, onehot: int, dtype: jnp.dtype) -> Float[Array, "B D"]:
    """Numbers, then one-hot columns: D = S + onehot.

    Numbers come first so that folds with different category lists are padded at the end. A value not seen in training (-1) is
    all zeros.
    """
    # Groups have columns of their own, so writing each group's one leaves the concatenation of their one-hot vectors. A scatter
    # of C ones a row: summing C one-hot vectors would write B x C x O numbers first, a fifth of a tabular step.
    column_BxC = _columns(batch, onehot)
    row_Bx1 = jnp.arange(column_BxC.shape[0])[:, None]
    onehot_BxO = jnp.zeros((column_BxC.shape[0], onehot), dtype).at[row_Bx1, column_BxC].set(1, mode="drop")
    return jnp.concatenate([batch["tabular_number"].astype(dtype), onehot_BxO], axis=-1)


def tabular_product(batch: Batch, onehot: int) -> DotGeneral:
    """`lax.dot_general` for the first layer of a tower of `tabular_vector`, as fast as the backend can.

    On a CPU the kernel's rows of the ones are looked up and summed, and the gradient is added to those rows: a half and a third
    of the time of multiplying all the zeros too. It wins from about ten one-hot columns a group on.
    """
    if jax.default_backend() != "cpu" or onehot < 16 * batch["tabular_id"].shape[1]:
        return jax.lax.dot_general
    return lambda x, kernel, *_, **__: _look_up(kernel, batch["tabular_number"], _columns(batch, onehot))


@jax.custom_vjp
def _look_up(
    kernel_DxM: Float[Array, "D M"], number_BxS: Float[Array, "B S"], column_BxC: Int[Array, "B C"]
) -> Float[Array, "B M"]:
    size = number_BxS.shape[1]
    row_BxCxM = jnp.take(kernel_DxM, size + column_BxC, axis=0, mode="fill", fill_value=0)
    return number_BxS.astype(kernel_DxM.dtype) @ kernel_DxM[:size] + row_BxCxM.sum(axis=1)


def _look_up_forward(kernel_DxM: Array, number_BxS: Array, column_BxC: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    return _look_up(kernel_DxM, number_BxS, column_BxC), (kernel_DxM, number_BxS, column_BxC)


def _look_up_backward(saved: tuple[Array, Array, Array], grad_BxM: Array) -> tuple[Array, None, None]:
    kernel_DxM, number_BxS, column_BxC = saved
    grad_BxCxM = jnp.broadcast_to(grad_BxM[:, None], (*column_BxC.shape, grad_BxM.shape[1]))
    size = number_BxS.shape[1]
    # One scatter of rows, the numbers' written over it: with a scatter of its own and a concatenation it takes twice as long.
    flat_BCxM = grad_BxCxM.reshape(-1, grad_BxM.shape[1])
    rows_DxM = jnp.zeros_like(kernel_DxM).at[size + column_BxC.reshape(-1)].add(flat_BCxM, mode="drop")
    return rows_DxM.at[:size].set(number_BxS.astype(grad_BxM.dtype).T @ grad_BxM), None, None


_look_up.defvjp(_look_up_forward, _look_up_backward)


def _columns(batch: Batch, onehot: int) -> Int[Array, "B C"]:
    """One-hot column of each group; past the end, where it is dropped, for a value not seen in training."""
    id_BxC = batch["tabular_id"].astype(jnp.int32)
    return jnp.where(id_BxC < 0, onehot, id_BxC)


def pixels(image_BxHxWxC: UInt8[Array, "B H W C"], dtype: jnp.dtype) -> Float[Array, "B H W C"]:
    """x_visual = image / 255 (paper, section 3.1)."""
    return image_BxHxWxC.astype(dtype) / jnp.asarray(255.0, dtype)


def embed(table_VxE: Float[Array, "V E"], text_BxT: Int[Array, "B T"], dtype: jnp.dtype) -> Float[Array, "B T E"]:
    """Word vectors; padding is exactly zero whatever the table's first row holds."""
    vector_BxTxE = jnp.take(table_VxE, text_BxT.astype(jnp.int32), axis=0).astype(dtype)
    return vector_BxTxE * (text_BxT != PADDING)[..., None].astype(dtype)


def presence(batch: Batch, modalities: tuple[str, ...], name: str) -> Float[Array, "B 1"]:
    """1 where the row has the modality, 0 where it is absent."""
    return batch["present"][:, modalities.index(name), None].astype(jnp.float32)
