"""A run: its settings, folder, data and folds; opened once, then shared by every part."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from mmjax.config import Settings, TrainSettings
from mmjax.data.arrays import Allocate, host_memory, in_files, in_memory
from mmjax.data.data_report import DataReport
from mmjax.datasets.dataset import Dataset, group_column, open_dataset
from mmjax.datasets.duplicates import find_copies, report_copies
from mmjax.datasets.encoders import FoldEncoders, saved_reading, training_labels
from mmjax.datasets.fingerprint import DataFingerprint
from mmjax.datasets.locations import cache_dir
from mmjax.datasets.splits import FOLDS, load_folds, make_folds, report_folds, save_folds
from mmjax.errors import ConfigError, DataError
from mmjax.io.atomic import write_json
from mmjax.io.checkpoint import config_fingerprint
from mmjax.io.environment import environment
from mmjax.io.metrics_log import MetricsLog
from mmjax.io.processes import is_primary
from mmjax.io.progress import Progress, RunLog
from mmjax.io.workdir import Workdir
from mmjax.modalities.base import InputSpec
from mmjax.modalities.shapes import blank_rows, shared_arrays, tree_bytes
from mmjax.tasks.base import Task, make_task, phases, task_class
from mmjax.train.execution.compile import AheadOfTime
from mmjax.train.execution.concurrent_folds import cores
from mmjax.train.execution.parallel import Executor
from mmjax.train.execution.plan import Plan, Plans
from mmjax.train.fold_data import FoldData, FoldParameters, evaluation_batch, fold_constants
from mmjax.train.fold_rows import divide
from mmjax.train.run_tables import data_table

_IN_MEMORY = 0.25
"""Share of the host's memory that all folds' encoded rows may take."""
FINGERPRINT, SPEC, PLANS = "data_fingerprint.json", "spec.json", "plan.json"


@dataclass
class Run:
    """What every part of a run needs to know.

    Attributes:
      settings: of the run.
      workdir: its folder.
      dataset: all rows.
      fold_N: fold of each row, -1 for rows in none.
      fingerprint: of the config; checkpoints carry it.
      metrics: the log of epochs.
      log: shows lines.
      stop: whether a signal asked to stop.
      plans: of its tasks.
      spec: padded sizes, once `fit_folds` knows them.
      folds: those to train.
      most_valid: validation rows of the largest fold, trained or not.
      most_test: held-out rows of the largest fold.
      ahead: compiles programs before they are needed.
      allocate: makes the arrays that are as long as the table.
    """

    settings: Settings
    workdir: Workdir
    dataset: Dataset
    fold_N: np.ndarray
    fingerprint: str
    metrics: MetricsLog
    log: RunLog
    stop: Callable[[], bool]
    plans: Plans
    spec: InputSpec | None = None
    folds: list[FoldData] = field(default_factory=list)
    most_valid: int = 0
    most_test: int = 0
    ahead: AheadOfTime = field(default_factory=AheadOfTime)
    allocate: Allocate = in_memory
    _tasks: dict[tuple[str, str | None], Task] = field(default_factory=dict)
    _executors: dict[Plan, Executor] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def group_column(self) -> str:
        """Column whose values never straddle two folds, or ''."""
        return group_column(self.settings.cv.group, self.dataset.schema)

    def task(self, name: str, axis_name: str | None = None) -> Task:
        """The task for the padded sizes, one object a run: jit knows a task by identity.

        Args:
          name: of the task.
          axis_name: device axis that a batch is shared over, or None.
        """
        assert self.spec is not None
        with self._lock:
            if (name, axis_name) not in self._tasks:
                self._tasks[name, axis_name] = make_task(name, self.settings, self.spec, axis_name)
            return self._tasks[name, axis_name]

    def executor(self, plan: Plan) -> Executor:
        """The plan's executor, one object a run, so that each program compiles once."""
        with self._lock:
            return self._executors.setdefault(plan, Executor(plan))

    def valid_batch(self, name: str) -> int:
        """Rows of a task's validation batch, the same for every fold, so that a program fits all."""
        return evaluation_batch(self.task(name), self.most_valid)

    def predict_batch(self, name: str) -> int:
        """Rows of a batch in which a task's models predict: held-out rows by the last, all rows where their codes are read.

        0 if nothing is asked of them.
        """
        names = phases(self.settings)
        if name == names[-1]:
            return evaluation_batch(self.task(name), self.most_test)
        reader = self.task(names[names.index(name) + 1])
        return evaluation_batch(self.task(name), len(self.fold_N)) if reader.code_width else 0

    def model_dir(self, fold: int, target: str) -> Path:
        """Where a fold's finished parameters lie."""
        return self.workdir.path / f"fold_{fold}" / target

    def load(self, fold: int, name: str) -> FoldParameters:
        """A fold's finished parameters of a task.

        Raises:
          CheckpointError: missing, damaged, or of another config.
        """
        return FoldParameters.load(self.task(name), self.model_dir(fold, name), self.fingerprint)


def open_run(settings: Settings, workdir: Workdir, log: Callable[[str], None], stop: Callable[[], bool]) -> Run:
    """Reads the data, and makes or loads the folds; writes nothing (see `record`).

    Raises:
      MmjaxError: bad data, or a workdir of another config or other data.
    """
    report, log = DataReport(strict=settings.data.strict), RunLog.of(log)
    task = task_class(phases(settings)[-1])
    dataset = open_dataset(
        settings.data,
        settings.model.modalities,
        group=settings.cv.group,
        task=task.name,
        report=report,
        reading=saved_reading(workdir.path),
        progress=partial(Progress(log).reach, "reading photos"),
        log=log,
    )
    workdir.compare(settings, dataset.schema.dumps())
    fold_file = workdir.path / FOLDS
    label_N, path = np.where(dataset.in_folds, task.labels(dataset), -1), str(dataset.table.path)
    if fold_file.exists():
        fold_N = load_folds(fold_file, dataset.table.ids)
        if before := DataFingerprint.load(workdir.path / FINGERPRINT):  # an older version wrote none
            DataFingerprint.of(dataset, settings).check(before, dataset, workdir.path)
    else:
        group_N = dataset.table.group_N if settings.cv.group else None
        fold_N = make_folds(label_N, folds=settings.cv.folds, seed=settings.cv.seed, group_N=group_N, path=path)
    # Also of loaded folds: a resumed run's data_report.json is an uninterrupted one's.
    report_folds(label_N, fold_N, settings.cv.folds, report, path, dataset.classes)
    task.report(dataset)
    report_copies(find_copies(dataset.columns), fold_N, report, path)
    found = report.to_dict()
    if table := data_table(found, most=len(found["counts"])) if log.verbose else data_table(found):
        log(table)
    fingerprint = config_fingerprint(settings.record() | {"schema": dataset.schema.dumps()})
    log(
        f"{dataset.name}: {len(fold_N)} rows, {int(np.sum(fold_N >= 0))} of them in {settings.cv.folds} folds; "
        f"workdir {workdir.path}"
    )
    if (group := dataset.schema.group) and not settings.cv.group:
        log(
            f"Folds are random: rows of one {group} lie in several, so the scores are those of rows whose {group} is known; "
            "config.cv.group=schema scores rows of a new one."
        )
    plans = Plans(workdir.path / PLANS)
    return Run(settings, workdir, dataset, fold_N, fingerprint, MetricsLog(workdir.path), log, stop, plans)


def record(run: Run) -> None:
    """Writes down what runs: from here on the folder belongs to this config.

    Called once everything that can refuse a config for its data has been asked, since the config a person then corrects is
    another.

    Raises:
      WorkdirError: the folder cannot be written.
    """
    folder = run.workdir.path
    run.workdir.record(run.settings, run.dataset.schema.dumps(), environment())
    if is_primary() and run.spec is not None:
        write_json(folder / SPEC, asdict(run.spec))
    if is_primary() and not (folder / FOLDS).exists():
        DataFingerprint.of(run.dataset, run.settings).save(folder / FINGERPRINT)  # first, since folds.csv says that it is there
        save_folds(folder / FOLDS, run.dataset.table.ids, run.fold_N)


def fit_folds(run: Run, numbers: Sequence[int]) -> None:
    """Fits every fold's encoders and keeps the chosen folds, not yet encoded; from here on the padded sizes are known."""
    dataset, settings = run.dataset, run.settings
    last = phases(settings)[-1]
    label_N = task_class(last).labels(dataset)
    for number in numbers:
        test, rows = int(np.sum(run.fold_N == number)), int(np.sum((run.fold_N >= 0) & (run.fold_N != number)))
        if not test or rows < 2:
            raise DataError(
                f"{dataset.table.path}: fold {number} has {test} rows to hold out and {rows} to train on; use fewer folds."
            )
    splits = divide(dataset, run.fold_N, label_N, settings)
    if len(splits[0].unlabelled):
        learners = ["encoders", *(name for name in phases(settings) if task_class(name).trains_on_every_row)]
        run.log(f"{len(splits[0].unlabelled)} rows without a label teach what needs none: {', '.join(learners)}.")
    _check_batch(settings.train, min(len(rows.train) for rows in splits), run.log)
    # Every fold's encoders are fitted, chosen or not, so that the padded sizes do not depend on config.cv.only.
    encoders = _by_fold(lambda rows: FoldEncoders.fit(dataset, rows.labelled, run.group_column, rows.unlabelled), splits)
    for modality in dataset.modalities:
        modality.check_settings(settings)
    run.most_valid, run.most_test = max(len(s.valid) for s in splits), max(len(s.test) for s in splits)
    run.spec = replace(encoders[0].spec.padded([e.spec for e in encoders]), ordered=task_class(last).ordered(dataset))
    for number in numbers:
        fitted, rows = encoders[number], splits[number]
        constant = fold_constants(run.task(last), fitted, label_N, rows.train)
        run.folds.append(FoldData(number, fitted, {}, rows, constant))


def _check_batch(train: TrainSettings, rows: int, log: RunLog) -> None:
    """A batch is cut to a small table's rows where nobody chose its size, and refused where somebody did."""
    if train.batch_share < 1 or train.batch_size <= rows:
        return
    if train.batch_size > TrainSettings().batch_size:
        raise ConfigError(
            f"config.train.batch_size is {train.batch_size}, but a fold has {rows} training rows; set it to at most {rows}."
        )
    log(f"config.train.batch_size={train.batch_size} is cut to the {rows} training rows of a fold.")


def encode_folds(run: Run) -> None:
    """Encodes the whole table by each chosen fold's encoders, and saves them.

    What all folds' rows need beyond a share of the memory lies in files that are mapped: training reads them where they are.
    """
    assert run.spec is not None
    own = {k: v for k, v in blank_rows(run.spec, 1).items() if k not in shared_arrays(run.spec)}
    needed = len(run.folds) * len(run.fold_N) * tree_bytes(own)
    if needed > _IN_MEMORY * host_memory():
        folder = cache_dir(run.settings.data) / "tables"
        run.allocate = in_files(folder)
        run.log(f"encoded rows: {needed / 1e9:.1f} GB, too much for this machine's memory; they go to files in {folder}.")

    def encode(fold: FoldData) -> dict[str, np.ndarray]:
        if is_primary():
            fold.encoders.save(run.workdir.path / f"fold_{fold.number}" / "encoders.json")
        # A union: where there is one group alone, its rows train and validate. No row may be cross-fitted on itself.
        known = training_labels(run.dataset, fold.parts.labelled, run.group_column)
        return fold.encoders.encode(run.dataset, run.allocate, known)

    for fold, arrays in zip(run.folds, _by_fold(encode, run.folds), strict=True):
        fold.arrays = arrays
        for note in fold.encoders.notes() if fold is run.folds[0] else ():
            run.log.detail(f"fold {fold.number}: {note}")


def _by_fold(work: Callable[[Any], Any], folds: Sequence[Any]) -> list[Any]:
    """`work` of each fold, as many at once as there are cores: most of it is in libraries that let other threads run.

    BLAS has one thread meanwhile: its own would wait for each other, spinning, on cores that other folds use. So what a fold
    computes does not depend on the number of cores either.
    """
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(work, folds))
