"""Pure steps of one fold: train a chunk of batches, evaluate, end an epoch, predict. No I/O, no placement (see parallel.py)."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float

from mmjax.modalities.base import Batch
from mmjax.ops import prng
from mmjax.tasks.base import Task
from mmjax.train.optim import learning_rate, moving_average
from mmjax.train.state import TrainState, either, end_epoch

Sums = dict[str, Float[Array, ""]]


class FoldArrays(struct.PyTreeNode):
    """Encoded rows of a fold on the device.

    Attributes:
      shared: arrays N x ... that are the same in every fold (image, image features' presence, label).
      fold: arrays N x ... of this fold's own encoders (table, text, codes).
      constant: arrays without a row axis (class weights, column weights).
    """

    shared: dict[str, Any]
    fold: dict[str, Any]
    constant: dict[str, Any]

    def batch(self, index: Any) -> Batch:
        """The batch of the rows in `index` (int32 B); a dict is a batch gathered on the host already."""
        rows = index if isinstance(index, dict) else {k: v[index] for k, v in (self.shared | self.fold).items()}
        return {"weight": jnp.ones(rows["label"].shape, jnp.float32)} | rows | self.constant


def train_chunk(
    task: Task,
    optimizer: optax.GradientTransformation,
    axis_name: str | None,
    state: TrainState,
    rows: FoldArrays,
    index_SxB: Any,
    active_S: Bool[Array, " S"],
) -> tuple[TrainState, Sums]:
    """S steps in one dispatch.

    Args:
      task: what is trained.
      optimizer: see `make_optimizer`.
      axis_name: device axis the batch is sharded over, or None.
      state: state before the chunk.
      rows: the fold's rows.
      index_SxB: row numbers of each step's batch, or a dict of gathered batches with leading axes S, B.
      active_S: False for the steps that only fill up the chunk.

    Returns:
      The state after the chunk and the metrics' sums over its active steps.
    """

    def body(state: TrainState, xs: tuple[Any, Bool[Array, ""]]) -> tuple[TrainState, Sums]:
        index, active = xs
        return _train_step(task, optimizer, axis_name, state, rows.batch(index), active)

    if len(active_S) == 1:  # without a loop: see `Plan.scan`
        return body(state, jax.tree.map(lambda x: x[0], (index_SxB, active_S)))
    names: list[str] = []

    def stacked(state: TrainState, xs: tuple[Any, Bool[Array, ""]]) -> tuple[TrainState, Array]:
        state, sums = body(state, xs)
        names[:] = sums
        return state, jnp.stack(list(sums.values()))  # one array: XLA compiles a kernel or three to keep and sum each

    state, sums_SxK = jax.lax.scan(stacked, state, (index_SxB, active_S))
    return state, dict(zip(names, jnp.sum(sums_SxK, axis=0), strict=True))


def _train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    axis_name: str | None,
    state: TrainState,
    batch: Batch,
    active: Bool[Array, ""],
) -> tuple[TrainState, Sums]:
    settings, key = task.settings, jax.random.fold_in(prng.wrap(state.key), state.step)
    everywhere = (lambda x: jax.lax.psum(x, axis_name)) if axis_name else (lambda x: x)

    def loss_fn(params: Any) -> tuple[Array, tuple[Any, Sums]]:
        terms, sums, batch_stats = task.losses(params, state.batch_stats, batch, key)
        # Local sum over global count: summed over devices (below) this is the gradient of the global batch, exactly.
        loss = sum(t.weight * t.sum / jnp.maximum(everywhere(jax.lax.stop_gradient(t.count)), 1e-12) for t in terms.values())
        return jnp.asarray(loss), (batch_stats, sums)

    (loss, (batch_stats, sums)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    loss, grads, sums = everywhere(loss), everywhere(grads), everywhere(sums)
    # A sum is finite only if its terms are, and needs one pass where a norm needs two.
    finite = jnp.isfinite(sum((jnp.sum(x) for x in jax.tree.leaves(grads)), loss))
    alive = active & ~state.done & (state.halted_step < 0)
    apply = alive & finite

    rate = learning_rate(settings.optim, task.learning_rate, state.step, state.total_steps)

    def updated(params: Any, opt_state: Any, average: Any) -> tuple[Any, Any, Any, Any]:
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = jax.tree.map(lambda p, u: (p + rate * u).astype(p.dtype), params, updates)
        if settings.optim.average:
            average = moving_average(average, params, settings.optim.average)
        return params, opt_state, average, batch_stats

    def kept(params: Any, opt_state: Any, average: Any) -> tuple[Any, Any, Any, Any]:
        return params, opt_state, average, state.batch_stats

    params, opt_state, average, batch_stats = either(apply, updated, kept, state.params, state.opt_state, state.average)
    bad = alive & ~finite
    stop = settings.train.on_nonfinite == "stop"
    state = state.replace(
        step=state.step + (apply if stop else alive),
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        average=average,
        halted_step=jnp.where(bad & stop, state.step, state.halted_step),
        skipped=state.skipped + (bad if not stop else 0),
    )
    return state, jax.tree.map(lambda x: jnp.where(apply, x, 0.0), sums)


def evaluate(task: Task, params: Any, batch_stats: Any, rows: FoldArrays, index_B: Any, weight_B: Float[Array, " B"]) -> Sums:
    """Sums of the task's metrics over a batch; a row of weight 0 counts nowhere."""
    return task.losses(params, batch_stats, rows.batch(index_B) | {"weight": weight_B}, None)[1]


def predict(task: Task, params: Any, batch_stats: Any, rows: FoldArrays, index_B: Any) -> dict[str, Array]:
    """The task's outputs (`Task.outputs`) for a batch."""
    return task.outputs(params, batch_stats, rows.batch(index_B))


@functools.cache
def predictor(task: Task) -> Callable:
    """`predict`, one compiled program a task, however many folds use it."""
    return jax.jit(partial(predict, task))


def finish_epoch(task: Task, patience: int, state: TrainState, sums: Sums) -> TrainState:
    """Early stopping by validation `sums`; a refit has none and nothing to choose: its last epoch is its best."""
    return end_epoch(state, task.monitored(sums) if sums else state.epoch.astype(jnp.float32), patience=patience)


@jax.jit
def add_sums(a: Sums, b: Sums) -> Sums:
    """Sums of two sets of batches."""
    return jax.tree.map(jnp.add, a, b)
