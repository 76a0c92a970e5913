"""Trains a task of the folds that lack it, group by group, as the plan says."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np

from mmjax.errors import WorkdirError
from mmjax.io import checkpoint
from mmjax.io.metrics_log import Progress
from mmjax.io.workdir import atomic_write_json
from mmjax.shapes import blank_rows, tree_bytes
from mmjax.tasks.base import Task, make_task
from mmjax.train import fold_data as folds
from mmjax.train import state
from mmjax.train.execution.compile import EPOCH, PLAN, STEPS
from mmjax.train.execution.concurrent_folds import run_beside
from mmjax.train.execution.cost import step_cost
from mmjax.train.execution.parallel import Executor
from mmjax.train.execution.plan import Plan, make_plan
from mmjax.train.fold_data import FoldRows
from mmjax.train.outputs import Module, frozen_codes, load_module
from mmjax.train.phase import Phase, make_programs
from mmjax.train.run import Run, task_names
from mmjax.train.state import TrainState
from mmjax.train.trainer import Fit

PLANS = "plan.json"


def train_task(run: Run, name: str, then: Callable[[FoldRows, Module], None]) -> None:
    """Trains one task of the folds that lack it; with `train.refit` the classifier twice: for its epochs, then on all rows.

    Args:
      run: the run.
      name: the task.
      then: what is done with a fold and its module as soon as they are trained and saved, in a thread of its own.
    """
    refit = name == "classifier" and run.settings.train.refit
    if refit:
        _train_folds(run, name, "search", lambda fold, module: None)
    _train_folds(run, name, name, then, refit=refit)


def folds_left(run: Run, name: str, target: str) -> list[FoldRows]:
    """The run's folds that have no finished module yet.

    A group that was killed while its modules were saved is trained together again: alone, a fold's last bits could differ.

    Args:
      run: the run.
      name: the task.
      target: the module's name, "search" for the task before its refit.
    """
    left = {f.number for f in run.folds if not checkpoint.has_model(run.model_dir(f.number, target))}
    for key, plan in (_saved_plans(run) if left else {}).items():
        task, numbers, _ = key.split(":")
        group = set(map(int, numbers.split(",")))
        if task == name and plan.folds > 1 and left & group and group <= {f.number for f in run.folds}:
            left |= group
    return [f for f in run.folds if f.number in left]


def _saved_plans(run: Run) -> dict[str, Plan]:
    """Plans of the sessions before, by task, folds and number of devices.

    Raises:
      WorkdirError: plan.json is damaged, or of a version of mmjax that planned otherwise.
    """
    file = run.workdir.path / PLANS
    try:
        return {key: Plan(**plan) for key, plan in json.loads(file.read_text()).items()} if file.exists() else {}
    except (ValueError, TypeError, AttributeError) as error:
        raise WorkdirError(
            f"{file}: is damaged or of another version of mmjax ({error}); go on with the commit in environment.json, or start "
            "again in another work folder."
        ) from error


def _train_folds(run: Run, name: str, target: str, then: Callable[[FoldRows, Module], None], *, refit: bool = False) -> None:
    left = folds_left(run, name, target)
    if not left:
        return
    run.ahead.wait((name, PLAN), run.stop)
    plan = plan_folds(run, name, left)
    run.say(plan.why)
    executor, task = executor_of(run, name, plan)
    run.ahead.wait((name, STEPS), run.stop)
    executor.once(task, lambda: make_programs(task, executor))  # before threads could make it twice
    groups = [left[at : at + plan.folds] for at in range(0, len(left), plan.folds)]

    def train(group: list[FoldRows], stop: Callable[[], bool]) -> Callable[[], None]:
        phase, modules = _train_group(run, task, executor, group, target, stop, refit=refit)
        return partial(finish, group, modules, phase.directory)

    def finish(group: list[FoldRows], modules: list[Module], checkpoints: Path) -> None:
        for fold, (params, batch_stats, meta) in zip(group, modules, strict=True):
            tree = {"params": params, "batch_stats": batch_stats}
            checkpoint.save_model(run.model_dir(fold.number, target), tree, meta, run.fingerprint)
        checkpoint.remove(checkpoints)
        for fold, module in zip(group, modules, strict=True):
            then(fold, module)

    # Several processes save together, so they must come to it in one order: each in its only thread.
    run_beside([partial(train, group) for group in groups], plan.beside, run.stop, behind=jax.process_count() == 1)


def executor_of(run: Run, name: str, plan: Plan) -> tuple[Executor, Task]:
    """The plan's executor and the task it trains, one object each a run, so that each program compiles once."""
    assert run.spec is not None
    executor = run.executors.setdefault(plan, Executor(plan))
    axis = executor.axis_name
    task = executor.once(name, lambda: make_task(name, run.settings, run.spec, axis)) if axis else run.task(name)  # type: ignore[arg-type]
    return executor, task


def plan_folds(run: Run, name: str, left: Sequence[FoldRows]) -> Plan:
    """The saved plan of a resumed run, or the rule's."""
    saved = _saved_plans(run)
    key = f"{name}:{','.join(str(f.number) for f in left)}:{jax.device_count()}"
    if key in saved:
        return saved[key]
    trained = max(len(f.train_rows) for f in left)
    plan = rule_of(run.task(name), folds=len(left), train_rows=trained, rows=len(run.fold_N))
    atomic_write_json(run.workdir.path / PLANS, {k: p.to_dict() for k, p in (saved | {key: plan}).items()})
    return plan


def rule_of(task: Task, *, folds: int, train_rows: int, rows: int) -> Plan:
    """`make_plan` for a task's sizes.

    Args:
      task: what is to be trained.
      folds: how many of them.
      train_rows: of the largest.
      rows: of the whole table.
    """
    batch = task.settings.train.batch_size
    one_row = tree_bytes(blank_rows(task.spec, 1, task.code_width))
    cost = step_cost(task, batch)
    return make_plan(
        task,
        folds=folds,
        steps_per_epoch=max(1, train_rows // batch),
        step_flops=cost.flops,
        row_bytes=rows * one_row,
        batch_bytes=batch * one_row,
        state_bytes=4 * tree_bytes(task.variables[0]),  # parameters, gradient, running square, best so far
        scratch_bytes=cost.saved_bytes,
    )


def _train_group(
    run: Run,
    task: Task,
    executor: Executor,
    group: Sequence[FoldRows],
    target: str,
    stop: Callable[[], bool],
    *,
    refit: bool,
) -> tuple[Phase, list[Module]]:
    settings, plan, name = run.settings, executor.plan, task.name
    numbers = tuple(f.number for f in group)
    programs = executor.once(task, lambda: make_programs(task, executor))
    codes = frozen_codes(run, group) if name == "classifier" else []
    rows = folds.stack_rows(task.spec, group, resident=plan.resident, width=executor.width, codes=codes)
    padded = [group[min(i, len(group) - 1)] for i in range(executor.width)]
    host = None if plan.resident else group[0].arrays | ({"codes": codes[0]} if codes else {})
    phase = Phase(
        task=task,
        programs=programs,
        settings=settings,
        executor=executor,
        folds=numbers,
        state=_initial_state(run, task, executor, padded, refit=refit),
        rows=executor.put_rows(rows),
        host=host,
        train_rows=[np.sort(np.concatenate([f.train_rows, f.valid_rows])) if refit else f.train_rows for f in padded],
        valid_rows=[f.valid_rows for f in padded],
        valid_batch=run.valid_batch(name),
        ids=run.dataset.table.ids,
        directory=run.workdir.path / "checkpoints" / f"{target}-{'-'.join(map(str, numbers))}{'-refit' if refit else ''}",
        fingerprint=run.fingerprint,
        refit=refit,
    )
    compiled = partial(run.ahead.wait, (name, EPOCH))
    final = Fit(phase, log=run.log, progress=Progress(run.say), stop=stop, say=run.say, compiled=compiled).run()
    best = jax.device_get((final.best_params, final.best_batch_stats, final.best_epoch, final.step, final.skipped))
    modules: list[Module] = []
    for i in range(len(numbers)):
        params, batch_stats, epoch, step, skipped = jax.tree.map(lambda x, i=i: x[i], best)
        meta = {"best_epoch": int(epoch) + 1, "steps": int(step), "skipped": int(skipped)}
        modules.append((params, batch_stats, meta))
    return phase, modules


def _initial_state(run: Run, task: Task, executor: Executor, group: Sequence[FoldRows], *, refit: bool) -> TrainState:
    """Fresh states of a group padded to the executor's width, placed; what they were made from is given back on return."""
    settings, name = run.settings, task.name
    copied = "autoencoder" in task_names(settings)[:-1] and "autoencoder" in task.variables[0]
    optimizer = executor.once(task, lambda: make_programs(task, executor)).optimizer
    states: list[TrainState] = []
    for i, fold in enumerate(group):
        pretrained = load_module(run, fold.number, "autoencoder")[0] if copied else None
        params, batch_stats = folds.init_variables(task, fold, pretrained)
        epochs = load_module(run, fold.number, name, "search")[2]["best_epoch"] if refit else task.max_epochs
        steps = max(1, len(fold.train_rows) // settings.train.batch_size)
        key = folds.phase_key(settings, fold.number, name)
        one = state.create(params, batch_stats, optimizer, key, steps_per_epoch=steps, max_epochs=epochs)
        filler = i > 0 and fold is group[i - 1]
        states.append(one.replace(done=np.ones((), bool)) if filler else one)
    return executor.put(jax.tree.map(lambda *x: np.stack([np.asarray(v) for v in x]), *states), by_fold=True)
