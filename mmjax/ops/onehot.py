"""A table's input vector: numbers, then one-hot columns, D = S + onehot (paper, section 3.1).

Numbers come first so that folds with different category lists are padded at the end. A value not seen in training (-1) is all
zeros.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mmjax.ops import on_cpu
from mmjax.ops.cpu.lookup import look_up

DotGeneral = Callable[..., Array]
"""What `nn.Dense` takes for its product."""


def onehot_vector(number_BxS: Float[Array, "B S"], id_BxC: Int[Array, "B C"], onehot: int, dtype: Any) -> Float[Array, "B D"]:
    """The vector of each row."""
    # Groups have columns of their own, so writing each group's one leaves the concatenation of their one-hot vectors. A scatter
    # of C ones a row: summing C one-hot vectors would write B x C x O numbers first, a fifth of a tabular step.
    column_BxC = _columns(id_BxC, onehot)
    row_Bx1 = jnp.arange(column_BxC.shape[0])[:, None]
    onehot_BxO = jnp.zeros((column_BxC.shape[0], onehot), dtype).at[row_Bx1, column_BxC].set(1, mode="drop")
    return jnp.concatenate([number_BxS.astype(dtype), onehot_BxO], axis=-1)


def onehot_product(number_BxS: Float[Array, "B S"], id_BxC: Int[Array, "B C"], onehot: int) -> DotGeneral:
    """`lax.dot_general` for the first layer over `onehot_vector`, as fast as the backend can.

    On a CPU the kernel's rows of the ones are looked up and summed, and the gradient is added to those rows: a half and a third
    of the time of multiplying all the zeros too. It wins from about ten one-hot columns a group on.
    """
    if not on_cpu() or onehot < 16 * id_BxC.shape[1]:
        return jax.lax.dot_general
    return lambda x, kernel, *_, **__: look_up(kernel, number_BxS, _columns(id_BxC, onehot))


def group_log_sum(logit_BxO: Float[Array, "B O"], group_O: Int[Array, " O"], groups: int) -> Float[Array, "B C"]:
    """Log of the sum of exponentials over each group's columns; a column of group C or beyond is of none.

    An empty group has a number far below any.
    """
    inside_O = group_O < groups
    most_CxB = jnp.maximum(jax.ops.segment_max(jax.lax.stop_gradient(logit_BxO).T, group_O, groups + 1), -1e9)
    shifted_OxB = jnp.where(inside_O[:, None], logit_BxO.T - most_CxB[group_O], -jnp.inf)
    sum_CxB = jax.ops.segment_sum(jnp.exp(shifted_OxB), group_O, groups + 1)
    return (jnp.log(jnp.maximum(sum_CxB, 1e-30)) + most_CxB)[:groups].T


def _columns(id_BxC: Int[Array, "B C"], onehot: int) -> Int[Array, "B C"]:
    """One-hot column of each group; past the end, where it is dropped, for a value not seen in training."""
    id_BxC = id_BxC.astype(jnp.int32)
    return jnp.where(id_BxC < 0, onehot, id_BxC)
