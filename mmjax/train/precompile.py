"""Which programs a run will need, and for which arguments: compiled in a thread (ahead.py) before the rows are there.

`jit(f).lower(shapes).compile()` leaves the program where a later call of `jit(f)` with such arguments finds it, so nothing else
changes; a wrong guess of a shape costs time alone (tests/test_precompile.py counts compilations).
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from mmjax.shapes import blank_constants, blank_rows
from mmjax.train import folds, state
from mmjax.train.ahead import PLAN, STEPS, SWEEP
from mmjax.train.fitting import executor_of, folds_left, plan_folds
from mmjax.train.folds import FoldRows
from mmjax.train.outputs import compile_sweep, sweep_batch
from mmjax.train.parallel import Executor
from mmjax.train.phase import make_programs
from mmjax.train.plan import Plan
from mmjax.train.run import Run, task_names
from mmjax.train.steps import Rows
from mmjax.train.tasks import Task


def compile_ahead(run: Run) -> None:
    """Starts planning and compiling every phase that has folds left, and what modules predict with, in the order of need."""
    jobs: dict[Hashable, Callable[[], object]] = {}
    for name in task_names(run.settings):
        refit = name == "classifier" and run.settings.train.refit
        left = [folds_left(run, name, target) for target in (("search", name) if refit else (name,))]
        if any(left):
            jobs[name, PLAN] = partial(_plan, run, name, left)
            jobs[name, STEPS] = partial(_compile_plans, run, name, left)
        if sweeps := sweep_batch(run, name):
            jobs[name, SWEEP] = partial(compile_sweep, run.task(name), sweeps)
    run.ahead.start(jobs)


def _plan(run: Run, name: str, left: Sequence[Sequence[FoldRows]]) -> dict[Plan, Sequence[FoldRows]]:
    return {plan_folds(run, name, group): group for group in left if group}


def _compile_plans(run: Run, name: str, left: Sequence[Sequence[FoldRows]]) -> None:
    for plan, group in _plan(run, name, left).items():  # made before, and read from plan.json
        executor, task = executor_of(run, name, plan)
        if plan.placement in ("one", "vmap"):  # pmap has programs of its own, which `lower` does not reach
            batch = min(run.settings.train.batch_size, *(len(f.train_rows) for f in group))
            _compile(task, executor, rows=len(run.fold_N), batch_size=batch, valid_batch=run.valid_batch)


def _compile(task: Task, executor: Executor, *, rows: int, batch_size: int, valid_batch: int) -> None:
    """Compiles the start, the steps and the end of an epoch for arguments as `Fit` passes them.

    Args:
      task: what is trained.
      executor: of a plan on one device.
      rows: N, rows of the table.
      batch_size: B.
      valid_batch: rows of a validation batch.
    """
    programs, plan = executor.once(task, lambda: make_programs(task, executor)), executor.plan

    def placed(tree: Any, *leading: int) -> Any:
        def place(x: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((*leading, *x.shape), x.dtype, sharding=executor.sharding)

        return jax.tree.map(place, tree)

    def gathered(*leading: int) -> dict[str, Any]:  # batches of rows that live on the host
        one = blank_rows(task.spec, 1, task.code_width)
        return {k: jax.ShapeDtypeStruct((*leading, *v.shape[1:]), v.dtype) for k, v in one.items()}

    everything = blank_rows(task.spec, rows, task.code_width) if plan.resident else {}
    known = Rows(
        shared=placed({k: v for k, v in everything.items() if k in folds.SHARED}),
        fold=placed({k: v for k, v in everything.items() if k not in folds.SHARED}, plan.folds),
        constant=placed(blank_constants(task.spec), plan.folds),
    )
    own = placed(state.shapes(*task.variables, programs.optimizer), plan.folds)
    active = jax.ShapeDtypeStruct((plan.folds, plan.steps), bool)
    size, each = valid_batch, (plan.folds, plan.steps, batch_size)
    if plan.resident:
        index = jax.ShapeDtypeStruct(each, np.int32)
        valid, weight = (placed(jax.ShapeDtypeStruct((size,), d), plan.folds) for d in (np.int32, np.float32))
    else:
        index, valid = gathered(*each), gathered(plan.folds, size)
        weight = jax.ShapeDtypeStruct((plan.folds, size), np.float32)
    folds.initialiser(task).lower(jax.ShapeDtypeStruct((2,), np.uint32)).compile()
    programs.train.lower(own, known, index, active).compile()
    validate = (own.params, own.batch_stats, known, valid, weight)
    programs.evaluate.lower(*validate).compile()
    programs.end_epoch.lower(own, placed(jax.eval_shape(programs.evaluate, *validate))).compile()
