"""Compiles and places pure steps as a plan says (plan.py): the only `pmap`.

Every function here takes and returns a leading fold axis F on state, `rows.fold`, `rows.constant` and indices.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from mmjax.modalities.shapes import placed
from mmjax.tasks.base import Task
from mmjax.train.execution.plan import Plan
from mmjax.train.optim import make_optimizer
from mmjax.train.step import FoldArrays, add_sums, evaluate, finish_epoch, train_chunk

DEVICE_AXIS = "device"
FOLD_AXES = FoldArrays(shared=None, fold=0, constant=0)  # type: ignore[arg-type]
_NEVER = 2**30
_NO_AXES = FoldArrays(shared=None, fold=None, constant=None)  # type: ignore[arg-type]


class Programs(NamedTuple):
    """A task's compiled steps, the same for every group of folds; a refit never stops early."""

    optimizer: optax.GradientTransformation
    train: Callable
    evaluate: Callable
    end_epoch: Callable
    end_refit_epoch: Callable


class Executor:
    """Compiles the pure steps for a plan and puts arrays where the plan wants them."""

    def __init__(self, plan: Plan):
        self.plan = plan
        devices = jax.local_devices()[: plan.devices // jax.process_count()]
        self._mesh = Mesh(np.array(devices), (DEVICE_AXIS,))
        self._devices = devices
        self._programs: dict[Task, Programs] = {}
        self._lock = threading.Lock()

    def programs(self, task: Task) -> Programs:
        """The task's steps on this plan, made once: folds train in threads."""
        with self._lock:
            if task not in self._programs:
                optimizer = make_optimizer(task.settings.optim)
                ends = (
                    self.map(partial(finish_epoch, task, patience), (0, 0), donate_argnums=0)
                    for patience in (task.patience, _NEVER)
                )
                train = self.train(partial(train_chunk, task, optimizer, self.axis_name))
                self._programs[task] = Programs(
                    optimizer, train, self.map(partial(evaluate, task), (0, 0, FOLD_AXES, 0, 0)), *ends
                )
            return self._programs[task]

    @property
    def axis_name(self) -> str | None:
        """Device axis a step must average over, or None."""
        return DEVICE_AXIS if self.plan.placement == "batch" else None

    def sharding(self, *, by_fold: bool) -> Sharding:
        """Where `put` places a stacked tree (`by_fold`) or what every fold shares."""
        if by_fold and self.plan.placement == "folds":
            return self._by_fold
        if self.plan.placement in ("one", "vmap"):
            return SingleDeviceSharding(self._devices[0])
        return NamedSharding(self._mesh, PartitionSpec())

    @property
    def width(self) -> int:
        """Leading axis of stacked arrays: the plan's folds, padded to a multiple of the devices they are placed on."""
        if self.plan.placement != "folds":
            return self.plan.folds
        return -(-self.plan.folds // self.plan.devices) * self.plan.devices

    @property
    def _by_fold(self) -> Sharding:
        """Folds on the devices they are placed on."""
        return NamedSharding(self._mesh, PartitionSpec(DEVICE_AXIS))

    def put(self, tree: Any, *, by_fold: bool) -> Any:
        """Places a stacked tree (`by_fold`) or a tree that every fold shares."""
        return jax.device_put(tree, self.sharding(by_fold=by_fold))

    def put_rows(self, rows: FoldArrays) -> FoldArrays:
        """Places a phase's rows."""
        return FoldArrays(
            shared=self.put(rows.shared, by_fold=False),
            fold=self.put(rows.fold, by_fold=True),
            constant=self.put(rows.constant, by_fold=True),
        )

    def train(self, chunk: Callable) -> Callable:
        """`chunk(state, rows, index, active) -> (state, sums)` over the fold axis; the state is donated."""
        local = _over_folds(chunk, (0, FOLD_AXES, 0, 0), self.plan)
        place = {"batch": self._shard_batch, "folds": self._place_folds}.get(self.plan.placement)
        placed = place(local) if place else jax.jit(local, donate_argnums=0)
        return placed if self.plan.scan else StepByStep(placed)

    def map(self, function: Callable, axes: tuple, **options: Any) -> Callable:
        """Any other function over the fold axis, with `jax.jit`'s options; XLA follows where its arguments lie."""
        if self.plan.placement == "folds":  # XLA would copy small results to every device
            options["out_shardings"] = self._by_fold
        return jax.jit(_over_folds(function, axes, self.plan), **options)

    def _shard_batch(self, local: Callable) -> Callable:
        devices = len(self._devices)
        # Over several processes pmap takes every device there is and each process hands over its own part of the batch.
        chosen = self._devices if jax.process_count() == 1 else None
        mapped = jax.pmap(
            local, DEVICE_AXIS, in_axes=(None, _NO_AXES, 2, None), out_axes=None, devices=chosen, donate_argnums=0
        )

        def split(x: Any) -> Any:  # F x S x B x ... -> F x S x P x B/P x ...
            return x.reshape(*x.shape[:2], devices, x.shape[2] // devices, *x.shape[3:])

        def run(state: Any, rows: FoldArrays, index: Any, active: Any) -> tuple[Any, Any]:
            return mapped(state, rows, jax.tree.map(split, index), active)

        def lower(state: Any, rows: FoldArrays, index: Any, active: Any) -> Any:
            return mapped.lower(state, rows, jax.eval_shape(partial(jax.tree.map, split), index), active)

        return _Mapped(run, lower)

    def _place_folds(self, local: Callable) -> Callable:
        devices = self.plan.devices
        mapped = jax.pmap(local, DEVICE_AXIS, in_axes=(0, FOLD_AXES, 0, 0), devices=self._devices, donate_argnums=0)

        def split(tree: Any) -> Any:  # F x ... -> P x F/P x ...
            return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), tree)

        def join(tree: Any) -> Any:
            return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)

        # Every array stays on its device; a state's old memory goes to the new one.
        place = jax.jit(split, out_shardings=self._by_fold)
        move, back = (jax.jit(f, out_shardings=self._by_fold, donate_argnums=0) for f in (split, join))
        known: list[FoldArrays] = []  # the rows of the call before, and as the devices take them

        def run(state: Any, rows: FoldArrays, index: Any, active: Any) -> tuple[Any, Any]:
            if not known or known[0] is not rows:
                known[:] = rows, FoldArrays(rows.shared, place(rows.fold), place(rows.constant))
            state, sums = mapped(move(state), known[1], split(index), split(active))
            return back(state), back(sums)

        def lower(state: Any, rows: FoldArrays, index: Any, active: Any) -> Any:
            state, fold, constant = placed(jax.eval_shape(split, (state, rows.fold, rows.constant)), self._by_fold)
            return mapped.lower(state, FoldArrays(rows.shared, fold, constant), *jax.eval_shape(split, (index, active)))

        return _Mapped(run, lower)


@dataclass(frozen=True)
class _Mapped:
    """A chunk under `pmap`, with what divides and joins its arrays; `lower` lowers it from shapes that say where they lie."""

    run: Callable
    lower: Callable

    def __call__(self, *args: Any) -> tuple[Any, Any]:
        return self.run(*args)


class StepByStep:
    """A chunk of S steps as S calls of the chunk of one step: the same arguments, the same results."""

    def __init__(self, chunk: Callable):
        self._chunk = chunk

    def __call__(self, state: Any, rows: FoldArrays, index: Any, active: Any) -> tuple[Any, Any]:
        """As the chunk: F x S x ... row numbers or batches, F x S active."""
        total = None
        for step in range(active.shape[1]):
            index_step, active_step = jax.tree.map(lambda x, s=step: x[:, s : s + 1], (index, active))
            state, sums = self._chunk(state, rows, index_step, active_step)
            total = sums if total is None else add_sums(total, sums)
        return state, total

    def lower(self, state: Any, rows: FoldArrays, index: Any, active: Any) -> Any:
        """Lowers the one step, from shapes."""

        def one(x: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((x.shape[0], 1, *x.shape[2:]), x.dtype)

        return self._chunk.lower(state, rows, *jax.tree.map(one, (index, active)))  # type: ignore[attr-defined]


def _over_folds(function: Callable, axes: tuple, plan: Plan) -> Callable:
    """Maps over the leading fold axis of what lies on one device."""

    def run(*args: Any) -> Any:
        folds = _fold_count(args, axes)
        if folds == 1:
            squeezed = [_take(a, axis, 0) for a, axis in zip(args, axes, strict=True)]
            return jax.tree.map(lambda x: x[None], function(*squeezed))
        if plan.vmap:
            return jax.vmap(function, in_axes=axes)(*args)
        parts = [function(*[_take(a, axis, f) for a, axis in zip(args, axes, strict=True)]) for f in range(folds)]
        return jax.tree.map(lambda *x: jnp.stack(x), *parts)

    run.__name__ = getattr(function, "func", function).__name__  # a partial's own: a profile then names the step
    return run


def _fold_count(args: tuple, axes: tuple) -> int:
    first = next(a for a, axis in zip(args, axes, strict=True) if axis == 0 and jax.tree.leaves(a))
    return jax.tree.leaves(first)[0].shape[0]


def _take(arg: Any, axis: Any, fold: int) -> Any:
    if isinstance(axis, FoldArrays):
        return FoldArrays(arg.shared, *(jax.tree.map(lambda x: x[fold], part) for part in (arg.fold, arg.constant)))
    return arg if axis is None else jax.tree.map(lambda x: x[fold], arg)
