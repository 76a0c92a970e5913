"""Trains a task of the folds that lack it, group by group, as the plan says."""

import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mmjax.train import checkpoint, folds, state
from mmjax.train.folds import FoldRows
from mmjax.train.log import Progress
from mmjax.train.loop import Fit
from mmjax.train.outputs import frozen_codes, load_module
from mmjax.train.parallel import Executor, Plan, make_plan
from mmjax.train.phase import Phase, make_programs
from mmjax.train.run import Run, task_names
from mmjax.train.tasks import Task, make_task
from mmjax.train.workdir import atomic_write_json


def train_task(run: Run, name: str) -> None:
    """Trains one task of the folds that lack it; with `train.refit` the classifier twice: for its epochs, then on all rows."""
    if name == "classifier" and run.settings.train.refit:
        _train_folds(run, name, "search")
        _train_folds(run, name, name, refit=True)
    else:
        _train_folds(run, name, name)


def _train_folds(run: Run, name: str, target: str, *, refit: bool = False) -> None:
    left = [f for f in run.folds if not checkpoint.has_model(run.model_dir(f.number, target))]
    if not left:
        return
    assert run.spec is not None
    plan = _plan(run, name, left)
    run.say(plan.why)
    executor = run.executors.setdefault(plan, Executor(plan))
    task = make_task(name, run.settings, run.spec, executor.axis_name) if executor.axis_name else run.task(name)
    for at in range(0, len(left), plan.folds):
        _train_group(run, task, executor, left[at : at + plan.folds], target, refit=refit)


def _plan(run: Run, name: str, left: Sequence[FoldRows]) -> Plan:
    """The saved plan of a resumed run, or the rule's."""
    assert run.spec is not None
    file = run.workdir.path / "plan.json"
    saved = json.loads(file.read_text()) if file.exists() else {}
    key = f"{name}:{','.join(str(f.number) for f in left)}:{jax.device_count()}"
    if key in saved:
        return Plan(**saved[key])
    settings, task = run.settings, run.task(name)
    batch = settings.train.batch_size
    width = folds.code_width(settings, run.spec) if name == "classifier" else 0
    example = folds.example_batch(left[0], run.spec, width)
    shapes = jax.eval_shape(task.init, jax.random.key(0), example)
    parameters = sum(x.size for x in jax.tree.leaves(shapes[0]))
    plan = make_plan(
        settings,
        phase=name,
        folds=len(left),
        steps_per_epoch=max(1, max(len(f.train_rows) for f in left) // batch),
        step_flops=step_flops(task, shapes, example, batch),
        row_bytes=left[0].bytes,
        state_bytes=parameters * 4 * 4,  # parameters, gradient, running square, best so far
    )
    atomic_write_json(file, saved | {key: plan.to_dict()})
    return plan


def step_flops(task: Task, shapes: Any, example: Any, batch_size: int) -> float:
    """Floating-point operations of one training step: XLA's count of a forward pass, three times (forward and two backward)."""
    constant = ("class_weight", "tabular_column_weight")
    like = {
        k: jax.ShapeDtypeStruct(v.shape if k in constant else (batch_size, *v.shape[1:]), v.dtype) for k, v in example.items()
    }
    lowered = jax.jit(lambda p, s, b: task.losses(p, s, b, None)[1]).lower(*shapes, like)
    cost = lowered.cost_analysis() or {}
    return 3.0 * float(cost.get("flops", 0.0))


def _train_group(run: Run, task: Task, executor: Executor, group: Sequence[FoldRows], target: str, *, refit: bool) -> None:
    settings, plan, name = run.settings, executor.plan, task.name
    numbers = tuple(f.number for f in group)
    programs = executor.once((task, refit), lambda: make_programs(task, executor, settings, refit=refit))
    codes = frozen_codes(run, group) if name == "classifier" else []
    rows = folds.stack_rows(group, resident=plan.resident, width=executor.width, codes=codes)
    padded = [group[min(i, len(group) - 1)] for i in range(executor.width)]
    states = []
    for i, fold in enumerate(padded):
        pretrained = (
            load_module(run, fold.number, "autoencoder")[0]
            if "autoencoder" in task_names(settings)[:-1] and name == "classifier"
            else None
        )
        params, batch_stats = folds.init_variables(task, fold, pretrained)
        epochs = load_module(run, fold.number, name, "search")[2]["best_epoch"] if refit else task.max_epochs
        steps = max(1, len(fold.train_rows) // settings.train.batch_size)
        key = folds.phase_key(settings, fold.number, name)
        one = state.create(params, batch_stats, programs.optimizer, key, steps_per_epoch=steps, max_epochs=epochs)
        states.append(one if i < len(group) else one.replace(done=np.ones((), bool)))
    stacked = jax.tree.map(lambda *x: np.stack([np.asarray(v) for v in x]), *states)
    host = None if plan.resident else group[0].arrays | ({"codes": codes[0]} if codes else {})
    phase = Phase(
        task=task,
        programs=programs,
        settings=settings,
        executor=executor,
        folds=numbers,
        state=executor.put(stacked, by_fold=True),
        rows=executor.put_rows(rows),
        host=host,
        train_rows=[np.sort(np.concatenate([f.train_rows, f.valid_rows])) if refit else f.train_rows for f in padded],
        valid_rows=[f.valid_rows for f in padded],
        ids=run.dataset.table.ids.tolist(),
        directory=run.workdir.path / "checkpoints" / f"{target}-{'-'.join(map(str, numbers))}{'-refit' if refit else ''}",
        fingerprint=run.fingerprint,
        refit=refit,
    )
    final = Fit(phase, log=run.log, progress=Progress(run.say), stop=run.stop, say=run.say).run()
    best = jax.device_get((final.best_params, final.best_batch_stats, final.best_epoch, final.step, final.skipped))
    for i, number in enumerate(numbers):
        params, batch_stats, epoch, step, skipped = jax.tree.map(lambda x, i=i: x[i], best)
        meta = {"best_epoch": int(epoch) + 1, "steps": int(step), "skipped": int(skipped)}
        tree = {"params": params, "batch_stats": batch_stats}
        checkpoint.save_model(run.model_dir(number, target), tree, meta, run.fingerprint)
    checkpoint.remove(phase.directory)
