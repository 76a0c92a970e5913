"""Which programs a run will need, and for which arguments: traced and compiled in threads (ahead.py) before rows are there.

`jit(f).lower(shapes).compile()` leaves the program where a later call of `jit(f)` with such arguments finds it, so nothing else
changes; a wrong guess of a shape costs time alone (tests/test_precompile.py counts compilations).
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.stages import Lowered

from mmjax.shapes import blank_constants, blank_rows, placed, shared_arrays
from mmjax.tasks.base import Task
from mmjax.train import fold_data as folds
from mmjax.train import state
from mmjax.train.execution.compile import EPOCH, PLAN, STEPS, SWEEP, Job
from mmjax.train.execution.parallel import Executor
from mmjax.train.fold_data import FoldRows
from mmjax.train.fold_training import executor_of, folds_left, plan_folds
from mmjax.train.outputs import lower_sweep, sweep_batch
from mmjax.train.phase import Programs, make_programs
from mmjax.train.run import Run, task_names
from mmjax.train.state import TrainState
from mmjax.train.step import Rows, add_sums


def compile_ahead(run: Run) -> None:
    """Starts planning and compiling every phase that has folds left, and what modules predict with, in the order of need."""
    jobs: dict[Hashable, Job] = {}
    for name in task_names(run.settings):
        refit = name == "classifier" and run.settings.train.refit
        targets = ("search", name) if refit else (name,)
        if groups := [left for target in targets if (left := folds_left(run, name, target))]:
            jobs[name, PLAN] = partial(_plan, run, name, groups)
            jobs[name, STEPS] = partial(_lower_plans, run, name, groups, Arguments.lower_steps)
            jobs[name, EPOCH] = partial(_lower_plans, run, name, groups, Arguments.lower_epoch)
        if sweeps := sweep_batch(run, name):
            jobs[name, SWEEP] = partial(lower_sweep, run.task(name), sweeps)
    run.ahead.start(jobs)


def _plan(run: Run, name: str, groups: Sequence[Sequence[FoldRows]]) -> None:
    for group in groups:
        plan_folds(run, name, group)


def _lower_plans(
    run: Run, name: str, groups: Sequence[Sequence[FoldRows]], lower: Callable[["Arguments"], Iterator[Lowered]]
) -> Iterator[Lowered]:
    # Plans were made before, and are read from plan.json; two groups of one plan share its programs.
    for plan, group in {plan_folds(run, name, group): group for group in groups}.items():
        executor, task = executor_of(run, name, plan)
        if jax.process_count() == 1:  # else pmap lowers for arrays of all processes, which shapes cannot stand for
            batch = min(run.settings.train.batch_size, *(len(f.train_rows) for f in group))
            rows, valid_batch = len(run.fold_N), run.valid_batch(name)
            yield from lower(Arguments(task, executor, rows=rows, batch=batch, valid_batch=valid_batch))


@dataclass(frozen=True)
class Arguments:
    """Shapes of the arguments `Fit` passes to a phase's programs.

    Attributes:
      task: what is trained.
      executor: of a plan in one process.
      rows: N, rows of the table.
      batch: B.
      valid_batch: rows of a validation batch.
    """

    task: Task
    executor: Executor
    rows: int
    batch: int
    valid_batch: int

    @property
    def programs(self) -> Programs:
        """The phase's own."""
        return self.executor.once(self.task, lambda: make_programs(self.task, self.executor))

    @property
    def state(self) -> TrainState:
        """Of all folds of a group."""
        return self._by_fold(state.shapes(*self.task.variables, self.programs.optimizer))

    @property
    def known(self) -> Rows:
        """What lies on the device."""
        task = self.task
        rows = blank_rows(task.spec, self.rows, task.code_width) if self.executor.plan.resident else {}
        return Rows(
            shared=self._placed({k: v for k, v in rows.items() if k in shared_arrays(task.spec)}, by_fold=False),
            fold=self._by_fold({k: v for k, v in rows.items() if k not in shared_arrays(task.spec)}),
            constant=self._by_fold(blank_constants(task.spec)),
        )

    def lower_steps(self) -> Iterator[Lowered]:
        """Initial values and the steps."""
        plan = self.executor.plan
        yield folds.initialiser(self.task).lower(jax.ShapeDtypeStruct((2,), np.uint32))
        each = (self.executor.width, plan.steps, self.batch)
        index = jax.ShapeDtypeStruct(each, np.int32) if plan.resident else self._gathered(*each)
        active = jax.ShapeDtypeStruct(each[:2], bool)
        yield self.programs.train.lower(self.state, self.known, index, active)

    def lower_epoch(self) -> Iterator[Lowered]:
        """Validation and early stopping."""
        own, size = self.state, self.valid_batch
        if self.executor.plan.resident:
            index, weight = (self._by_fold(jax.ShapeDtypeStruct((size,), d)) for d in (np.int32, np.float32))
        else:
            each = (self.executor.width, size)
            index, weight = self._gathered(*each), jax.ShapeDtypeStruct(each, np.float32)
        evaluate = self.programs.evaluate.lower(own.params, own.batch_stats, self.known, index, weight)
        yield evaluate
        sums = self._placed(evaluate.out_info, by_fold=True)
        yield add_sums.lower(sums, sums)
        yield self.programs.end_epoch.lower(own, sums)

    def _placed(self, tree: Any, *, by_fold: bool) -> Any:
        return placed(tree, self.executor.sharding(by_fold=by_fold))

    def _by_fold(self, tree: Any) -> Any:
        """Stacked, with a leading fold axis."""
        width = self.executor.width
        return self._placed(jax.tree.map(lambda x: jax.ShapeDtypeStruct((width, *x.shape), x.dtype), tree), by_fold=True)

    def _gathered(self, *leading: int) -> dict[str, Any]:
        """Batches of rows that live on the host."""
        one = blank_rows(self.task.spec, 1, self.task.code_width)
        return {k: jax.ShapeDtypeStruct((*leading, *v.shape[1:]), v.dtype) for k, v in one.items()}
