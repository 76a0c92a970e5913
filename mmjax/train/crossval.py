"""All folds: data -> folds -> encoders -> autoencoder -> classifier -> held-out predictions -> summary.

Everything is done only where the work folder does not hold it yet, so the same command goes on after a kill.
"""

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.batch import InputSpec
from mmjax.data.dataset import Dataset, open_dataset
from mmjax.data.encode import FoldEncoders
from mmjax.data.folds import inner_split, load_folds, make_folds, save_folds
from mmjax.data.loader import evaluation_batches, gather_rows
from mmjax.data.report import DataReport
from mmjax.errors import DataError
from mmjax.settings import Settings
from mmjax.train import checkpoint, folds, state
from mmjax.train.folds import FoldRows
from mmjax.train.log import MetricsLog, Progress
from mmjax.train.loop import HOST_BATCHES, Fit, Phase, make_programs, pad_batches
from mmjax.train.parallel import Executor, Plan, make_plan
from mmjax.train.results import summarise_run, write_fold
from mmjax.train.steps import Rows, predict
from mmjax.train.tasks import Task, make_task
from mmjax.train.workdir import Workdir, atomic_write_json, environment

Say = Callable[[str], None]


@dataclass
class Run:
    """What every part of a run needs to know."""

    settings: Settings
    workdir: Workdir
    dataset: Dataset
    fold_N: np.ndarray
    fingerprint: str
    log: MetricsLog
    say: Say
    stop: Callable[[], bool]
    spec: InputSpec | None = None
    folds: list[FoldRows] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)
    executors: dict[Plan, Executor] = field(default_factory=dict)

    def task(self, name: str) -> Task:
        """The task for the padded sizes, one object a run: jit knows a task by identity."""
        assert self.spec is not None
        return self.tasks.setdefault(name, make_task(name, self.settings, self.spec))

    def model_dir(self, fold: int, task: str) -> Path:
        """Where a fold's finished module lies; "search" holds what early stopping found before a refit."""
        return self.workdir.path / f"fold_{fold}" / task


def crossval(settings: Settings, path: str | Path, say: Say = print) -> dict[str, Any]:
    """Cross-validates a config in a work folder and returns its summary (also written to summary.json).

    Args:
      settings: the run's settings.
      path: work folder; an existing one goes on where it stands.
      say: prints a line.

    Raises:
      MmjaxError: bad data, config, work folder or checkpoint; see mmjax/errors.py.
    """
    workdir = Workdir(path)
    with workdir.lock(), _signals() as stop:
        run = _open(settings, workdir, say, stop)
        tasks = task_names(settings)
        chosen = settings.cv.only or tuple(range(settings.cv.folds))
        left = [f for f in chosen if not (workdir.path / f"fold_{f}" / "done.json").exists()]
        if left:
            _prepare(run, left)
            for name in tasks:
                train_task(run, name)
            for fold in run.folds:
                _finish_fold(run, fold, tasks[-1])
        if len(left) < len(chosen):
            say(f"Folds finished before and not trained again: {', '.join(str(f) for f in chosen if f not in left)}.")
        run.dataset.report.write(workdir.path / "data_report.json")
        return summarise_run(settings, workdir.path, run.dataset)


def task_names(settings: Settings) -> tuple[str, ...]:
    """The phases of a run, in order."""
    if settings.task == "autoencoder":
        return ("autoencoder",)
    auto = settings.model.autoencoder
    return ("autoencoder", "classifier") if auto.kind != "none" and auto.mode != "joint" else ("classifier",)


def _open(settings: Settings, workdir: Workdir, say: Say, stop: Callable[[], bool]) -> Run:
    report = DataReport(strict=settings.data.strict)
    needs_label = settings.task == "classifier"
    dataset = open_dataset(
        settings.data, settings.model.modalities, group=settings.cv.group, require_label=needs_label, report=report, say=say
    )
    workdir.open_run(settings, dataset.schema.dumps(), environment())
    fold_file = workdir.path / "folds.csv"
    if fold_file.exists():
        fold_N = load_folds(fold_file, dataset.table.ids)
    else:
        label_N = np.where(dataset.usable, dataset.label if needs_label else 0, -1)
        group_N = dataset.group if settings.cv.group else None
        fold_N = make_folds(label_N, folds=settings.cv.folds, seed=settings.cv.seed, group_N=group_N, report=report)
        save_folds(fold_file, dataset.table.ids, fold_N)
    for line in report.summary_lines():
        say(line)
    fingerprint = checkpoint.config_fingerprint(settings.to_dict() | {"cv": None} | {"schema": dataset.schema.dumps()})
    log = MetricsLog(workdir.path)
    say(
        f"{dataset.name}: {len(fold_N)} rows, {int(np.sum(fold_N >= 0))} of them in {settings.cv.folds} folds; "
        f"work folder {workdir.path}"
    )
    return Run(settings, workdir, dataset, fold_N, fingerprint, log, say, stop)


def _prepare(run: Run, numbers: Sequence[int]) -> None:
    """Fits (or loads) every unfinished fold's encoders and encodes the table."""
    dataset, settings = run.dataset, run.settings
    label_N = dataset.label if settings.task == "classifier" else np.zeros(len(run.fold_N), np.int32)
    encoders, splits = [], []
    for number in range(settings.cv.folds):
        rows = np.flatnonzero((run.fold_N >= 0) & (run.fold_N != number))
        test = np.flatnonzero(run.fold_N == number)
        if number in numbers and (not len(test) or len(rows) < 2):
            raise DataError(
                f"{dataset.table.path}: fold {number} has {len(test)} rows to hold out and {len(rows)} to train on; "
                "use fewer folds."
            )
        # Every fold's encoders are fitted, chosen or not, so that the padded sizes do not depend on config.cv.only.
        fitted = FoldEncoders.fit(dataset, rows, settings)
        encoders.append(fitted)
        group_N = dataset.group if settings.cv.group else None
        inner = inner_split(rows, label_N, fraction=settings.cv.valid_fraction, seed=settings.cv.seed + number, group=group_N)
        splits.append((*inner, test))
    run.spec = folds.padded_spec([e.spec for e in encoders])
    atomic_write_json(run.workdir.path / "spec.json", asdict(run.spec))
    for number in numbers:
        fitted, (train, valid, test) = encoders[number], splits[number]
        fitted.save(run.workdir.path / f"fold_{number}" / "encoders.json")
        constant = folds.constants(settings, run.spec, fitted.spec, label_N, train)
        arrays = fitted.encode(dataset)
        run.folds.append(FoldRows(number, fitted, arrays, train, valid, test, constant))
        for note in fitted.notes() if number == numbers[0] else ():
            run.say(f"fold {number}: {note}")


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
    key = f"{name}:{','.join(str(f.number) for f in left)}:{jax.local_device_count()}"
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


def load_module(run: Run, fold: int, name: str, target: str = "") -> tuple[Any, Any, dict[str, Any]]:
    """Parameters, BatchNorm statistics and facts of a fold's finished module."""
    assert run.spec is not None
    return load_fold_module(run.settings, run.spec, run.folds, run.model_dir(fold, target or name), name, run.fingerprint)


def load_fold_module(
    settings: Settings, spec: InputSpec, ready: Sequence[FoldRows], directory: Path, name: str, fingerprint: str
) -> tuple[Any, Any, dict[str, Any]]:
    """Restores a module whose shapes are those of `spec`; refused by fingerprint otherwise."""
    task = make_task(name, settings, spec)
    width = folds.code_width(settings, spec) if name == "classifier" else 0
    shapes = jax.eval_shape(task.init, jax.random.key(0), folds.example_batch(ready[0], spec, width))
    tree, meta = checkpoint.load_model(directory, {"params": shapes[0], "batch_stats": shapes[1]}, fingerprint)
    return tree["params"], tree["batch_stats"], meta


def frozen_codes(run: Run, group: Sequence[FoldRows]) -> list[np.ndarray]:
    """h_mm of every row of the table by each fold's own autoencoder, N x Mk; empty unless codes are frozen inputs."""
    assert run.spec is not None
    if not folds.code_width(run.settings, run.spec):
        return []
    codes = []
    for fold in group:
        params, _, _ = load_module(run, fold.number, "autoencoder")
        task = run.task("autoencoder")
        rows = np.arange(len(run.fold_N))
        codes.append(sweep(run.settings, task, fold, params, {}, rows)["h_mm"])
    return codes


def sweep(
    settings: Settings,
    task: Task,
    fold: FoldRows,
    params: Any,
    batch_stats: Any,
    rows: np.ndarray,
    codes: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """`Task.outputs` of the given rows, each once and in order; batches are gathered on the host."""
    index_ExB, _ = evaluation_batches(rows, settings.train.eval_batch_size)
    gather = gather_rows(fold.arrays | ({} if codes is None else {"codes": codes}))
    constant = Rows(shared={}, fold={}, constant=fold.constant)
    compiled = _predictor(task)
    parts: list[dict[str, np.ndarray]] = []
    for at in range(0, len(index_ExB), HOST_BATCHES):
        part, _ = pad_batches(
            index_ExB[None, at : at + HOST_BATCHES], np.zeros((1, *index_ExB[at : at + HOST_BATCHES].shape)), HOST_BATCHES
        )
        out = compiled(params, batch_stats, constant, gather(part[0]))
        parts.append({k: np.asarray(v).reshape(-1, *v.shape[2:]) for k, v in out.items()})
    return {k: np.concatenate([p[k] for p in parts])[: len(rows)] for k in parts[0]}


_PREDICTORS: dict[Task, Callable] = {}


def _predictor(task: Task) -> Callable:
    """One compiled program a task, however many folds use it."""
    if task not in _PREDICTORS:
        _PREDICTORS[task] = jax.jit(partial(predict, task))
    return _PREDICTORS[task]


def _finish_fold(run: Run, fold: FoldRows, name: str) -> None:
    """Predicts the held-out fold and writes it; done.json is written last."""
    task = run.task(name)
    params, batch_stats, meta = load_module(run, fold.number, name)
    codes = frozen_codes(run, [fold]) if name == "classifier" else []
    out = sweep(run.settings, task, fold, params, batch_stats, fold.test_rows, codes[0] if codes else None)
    write_fold(run.workdir.path, run.settings, run.dataset, fold, out, meta)


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """SIGTERM and SIGINT ask the loop to save and stop; a second SIGINT ends at once."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        del frame
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
