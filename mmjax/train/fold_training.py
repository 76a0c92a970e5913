"""Trains a task of the folds that lack it, group by group, as the plan says."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.io import checkpoint
from mmjax.io.progress import PhaseProgress
from mmjax.ops import on_cpu
from mmjax.tasks.base import Task, phases
from mmjax.train import state
from mmjax.train.callbacks import Checkpoints, MetricsLogger, NonFiniteGuard, ProgressBar, StopSignals
from mmjax.train.execution.compile import EPOCH, PLAN, PREDICT, STEPS, Job, ProgramShapes, lower_predict
from mmjax.train.execution.concurrent_folds import run_concurrently
from mmjax.train.execution.parallel import Executor
from mmjax.train.execution.plan import Plan, Sizes, make_plan
from mmjax.train.fold_data import (
    FoldData,
    FoldParameters,
    init_variables,
    phase_key,
    stack_folds,
    training_batch,
    training_epochs,
)
from mmjax.train.profiling import PROFILE, Profiler
from mmjax.train.run import Run
from mmjax.train.shorter import advice
from mmjax.train.state import TrainState
from mmjax.train.trainer import Callback, GroupTraining, Trainer

SEARCH = "search"
"""Folder of what early stopping found, where a task is trained again on all its rows."""

Then = Callable[[FoldData, FoldParameters], None]
"""What is done with a fold as soon as its parameters are saved."""


def train_phase(run: Run, name: str, then: Then) -> set[int]:
    """Trains one task of the folds that lack it; one that refits twice: for its epochs, then on all rows.

    Args:
      run: the run.
      name: the task.
      then: see `Then`; in a thread of its own.

    Returns:
      Numbers of the folds that were trained now.
    """
    refit = run.task(name).refits
    if refit:
        _train_folds(run, name, SEARCH, lambda fold, parameters: None)
    return _train_folds(run, name, name, then, refit=refit)


def compile_ahead(run: Run) -> None:
    """Starts planning and compiling every phase that has folds left, and what models predict with, in the order of need."""
    jobs: dict[Hashable, Job] = {}
    for name in phases(run.settings):
        targets = (SEARCH, name) if run.task(name).refits else (name,)
        if groups := [left for target in targets if (left := _folds_left(run, name, target))]:
            jobs[name, PLAN] = partial(_plan_all, run, name, groups)
            jobs[name, STEPS] = partial(_lower, run, name, groups, ProgramShapes.lower_steps)
            jobs[name, EPOCH] = partial(_lower, run, name, groups, ProgramShapes.lower_epoch)
        if batch := run.predict_batch(name):
            jobs[name, PREDICT] = partial(lower_predict, run.task(name), batch)
    run.ahead.start(jobs)


def _plan_all(run: Run, name: str, groups: Sequence[Sequence[FoldData]]) -> None:
    for group in groups:
        plan_of(run, name, group)


def _lower(
    run: Run,
    name: str,
    groups: Sequence[Sequence[FoldData]],
    lower: Callable[[ProgramShapes], Iterator[jax.stages.Lowered]],
) -> Iterator[jax.stages.Lowered]:
    # Two groups of one plan share its programs.
    for plan, group in {plan_of(run, name, group): group for group in groups}.items():
        executor = run.executor(plan)
        if jax.process_count() == 1:  # else pmap lowers for arrays of all processes, which shapes cannot stand for
            task = run.task(name, executor.axis_name)
            batch = training_batch(task, min(len(f.parts.split(task)[0]) for f in group))
            shapes = ProgramShapes(task, executor, rows=len(run.fold_N), batch=batch, valid_batch=run.valid_batch(name))
            yield from lower(shapes)


def plan_of(run: Run, name: str, left: Sequence[FoldData]) -> Plan:
    """How a task of some folds trains here."""

    def make() -> Plan:
        task = run.task(name)
        trained = [len(f.parts.split(task)[0]) for f in left]
        batch = training_batch(task, min(trained))
        sizes = Sizes.of(task, folds=len(left), train_rows=max(trained), rows=len(run.fold_N), smallest_batch=batch)
        return make_plan(task, sizes)

    return run.plans.get(name, [f.number for f in left], make)


def _wait_for_all(run: Run) -> None:
    for name in phases(run.settings):
        for part in (STEPS, EPOCH, PREDICT):
            run.ahead.wait((name, part), run.stop)


def _folds_left(run: Run, name: str, target: str) -> list[FoldData]:
    """The run's folds that have no finished parameters in the folder `target` yet.

    A group that was killed while its parameters were saved is trained together again: alone, a fold's last bits could differ.
    """
    left = {f.number for f in run.folds if not checkpoint.has_model(run.model_dir(f.number, target))}
    for group in run.plans.groups(name) if left else ():
        if left & group and group <= {f.number for f in run.folds}:
            left |= group
    return [f for f in run.folds if f.number in left]


def _train_folds(run: Run, name: str, target: str, then: Then, *, refit: bool = False) -> set[int]:
    left = _folds_left(run, name, target)
    if not left:
        return set()
    run.ahead.wait((name, PLAN), run.stop)
    plan = plan_of(run, name, left)
    run.log.detail(plan.reason)
    run.ahead.wait((name, STEPS), run.stop)
    groups = [left[at : at + plan.folds] for at in range(0, len(left), plan.folds)]
    task = run.task(name)
    title = f"{task.title(run.settings)}{', on all training rows' * refit}"
    stops_early = not refit and task.patience < task.max_epochs
    long = advice(run.settings) if on_cpu() else ""
    progress = PhaseProgress(title, len(groups), task.watched, run.log, at_most=stops_early, if_long=long)
    profiler = Profiler(run.workdir.path / PROFILE / name, run.settings.train.profile, run.log, partial(_wait_for_all, run))

    watching = [ProgressBar(progress), profiler]

    def train(group: list[FoldData], stop: Callable[[], bool]) -> Callable[[], None]:
        checkpoints = run.workdir.path / "checkpoints" / "-".join([target, *(str(f.number) for f in group), *["refit"] * refit])
        trainer = group_trainer(run, name, run.executor(plan), group, checkpoints, stop, watching, refit=refit)
        found = _parameters(task, trainer.run(), len(group))
        if target == SEARCH:  # is asked for its epoch alone
            found = [FoldParameters({}, {}, parameters.facts) for parameters in found]
        return partial(finish, group, found, checkpoints)

    def finish(group: list[FoldData], found: list[FoldParameters], checkpoints: Path) -> None:
        for fold, parameters in zip(group, found, strict=True):
            parameters.save(run.model_dir(fold.number, target), run.fingerprint)
        checkpoint.remove(checkpoints)
        for fold, parameters in zip(group, found, strict=True):
            then(fold, parameters)

    # Several processes save together, so they must come to it in one order: each in its only thread.
    jobs = [partial(train, group) for group in groups]
    try:
        run_concurrently(jobs, plan.concurrent, run.stop, behind=jax.process_count() == 1)
    finally:
        progress.finish()
    return {f.number for f in left}


def group_trainer(
    run: Run,
    name: str,
    executor: Executor,
    group: Sequence[FoldData],
    directory: Path,
    stop: Callable[[], bool],
    watching: Sequence[Callback],
    *,
    refit: bool = False,
) -> Trainer:
    """What trains a group of folds.

    Args:
      run: the run.
      name: the task.
      executor: of the group's plan.
      group: the folds.
      directory: of checkpoints.
      stop: whether training is asked to stop.
      watching: further callbacks.
      refit: on all training rows.
    """
    task, plan, train = run.task(name, executor.axis_name), executor.plan, run.settings.train
    padded = [group[min(i, len(group) - 1)] for i in range(executor.width)]
    initial = _initial_state(run, task, executor, padded, refit=refit)
    training = GroupTraining(
        task=task,
        executor=executor,
        folds=tuple(f.number for f in group),
        state=initial,
        rows=executor.put_rows(stack_folds(padded, task, on_device=plan.on_device)),
        host=None if plan.on_device else group[0].rows(task),
        train_rows=[np.sort(np.concatenate(f.parts.split(task))) if refit else f.parts.split(task)[0] for f in padded],
        valid_rows=[f.parts.split(task)[1] for f in padded],
        valid_batch=run.valid_batch(name),
        epochs=int(np.max(jax.device_get(initial.max_epochs))),
        refit=refit,
    )
    checkpoints = Checkpoints(
        directory, run.fingerprint, seconds=train.checkpoint_seconds, keep=train.keep_checkpoints, log=run.log
    )
    callbacks = [
        checkpoints,
        StopSignals(stop, checkpoints),
        NonFiniteGuard(run.dataset.table.ids, directory, run.fingerprint),
        MetricsLogger(run.metrics),
        *watching,
    ]
    return Trainer(training, callbacks, partial(run.ahead.wait, (name, EPOCH)))


def _parameters(task: Task, final: TrainState, folds: int) -> list[FoldParameters]:
    """The best of each fold, as far as the task keeps them, on the host."""
    params, batch_stats = _part(final.best_params, task.kept[0]), _part(final.best_batch_stats, task.kept[1])
    best = jax.device_get((params, batch_stats, final.best_epoch, final.step, final.skipped))
    found = []
    for i in range(folds):
        params, batch_stats, epoch, step, skipped = jax.tree.map(lambda x, i=i: x[i], best)
        facts = {"best_epoch": int(epoch) + 1, "steps": int(step), "skipped": int(skipped)}
        found.append(FoldParameters(params, batch_stats, facts))
    return found


def _epochs_found(run: Run, fold: FoldData) -> int:
    """Epochs that early stopping has found before the refit."""
    return FoldParameters.load_facts(run.model_dir(fold.number, SEARCH), run.fingerprint)["best_epoch"]


def _part(tree: Any, like: Any) -> Any:
    return {key: _part(tree[key], value) for key, value in like.items()} if isinstance(like, Mapping) else tree


def _initial_state(run: Run, task: Task, executor: Executor, group: Sequence[FoldData], *, refit: bool) -> TrainState:
    """Fresh states of a group padded to the executor's width, placed; what they were made from is given back on return."""
    copied = [name for name in phases(run.settings) if name != task.name and name in task.variables[0]]
    optimizer = executor.programs(task).optimizer
    averaged, states = run.settings.optim.average > 0, []
    for i, fold in enumerate(group):
        pretrained = {name: run.load(fold.number, name).params for name in copied}
        start, rows = task.start(fold.rows(task), *fold.parts.split(task)), len(fold.parts.split(task)[0])
        params, batch_stats = init_variables(task, fold, pretrained, start)
        epochs = _epochs_found(run, fold) if refit else training_epochs(task, rows)
        steps = max(1, rows // training_batch(task, rows))
        key = phase_key(task, fold.number)
        one = state.create(
            params,
            batch_stats,
            optimizer,
            key,
            steps_per_epoch=steps,
            max_epochs=epochs,
            averaged=averaged,
            monitored=-np.inf if task.refits else start.monitored,
        )
        filler = i > 0 and fold is group[i - 1]
        states.append(one.replace(done=np.ones((), bool)) if filler else one)
    return executor.put(jax.tree.map(lambda *x: np.stack([np.asarray(v) for v in x]), *states), by_fold=True)
