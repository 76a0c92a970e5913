"""What one training step of a task costs, from shapes alone: operations, and memory kept for the way back."""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr

from mmjax.modalities.shapes import blank_batch, tree_bytes
from mmjax.ops import prng
from mmjax.tasks.base import Task


class StepCost(NamedTuple):
    """One training step of one fold.

    Attributes:
      flops: floating-point operations, see `flops`.
      saved_bytes: what the forward pass keeps for the backward one. XLA may keep less (it computes some of it again) or, in
        passing, more.
    """

    flops: float
    saved_bytes: int


@functools.cache
def step_cost(task: Task, batch_size: int) -> StepCost:
    """Traces a step forward and backward, once a task: what `jax.vjp` saves and was not an argument, and both's operations."""
    batch = blank_batch(task.spec, batch_size, task.code_width)

    def step(params: Any, batch_stats: Any, batch: Any, key: Any) -> tuple[Any, Any]:
        def loss(p: Any) -> Any:
            terms, *_ = task.losses(p, batch_stats, batch, key)
            return jnp.asarray(sum(t.weight * t.sum for t in terms.values()))

        value, backward = jax.vjp(loss, params)
        return jax.tree.leaves(backward), backward(jnp.ones_like(value))

    traced, (saved, _) = jax.make_jaxpr(step, return_shape=True)(*task.variables, batch, prng.KEY)
    given = {id(v) for v in traced.jaxpr.invars}
    kept = {id(v): v.aval for v in traced.jaxpr.outvars[: len(saved)] if id(v) not in given}
    return StepCost(flops(traced.jaxpr), tree_bytes(list(kept.values())))


def flops(jaxpr: Jaxpr) -> float:
    """Operations of a traced function's matrix products and convolutions: a multiplication and an addition each, padding too.

    Not XLA's own count (`Lowered.cost_analysis`): plugins, CUDA's among them, have none.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        name, inner = equation.primitive.name, [flops(j) for j in _inner(equation.params)]
        shapes: list[tuple[int, ...]] = [v.aval.shape for v in (*equation.invars, *equation.outvars)]  # type: ignore[attr-defined]
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            terms = math.prod(shapes[0][axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = shapes[1]
            terms = math.prod(kernel) / kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        else:  # the dearest branch; a loop's body as often as it runs
            total += max(inner, default=0.0) if name == "cond" else sum(inner) * equation.params.get("length", 1)
            continue
        total += 2.0 * terms * math.prod(shapes[-1])
    return total


def _inner(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, ClosedJaxpr | Jaxpr):
                yield part.jaxpr if isinstance(part, ClosedJaxpr) else part
