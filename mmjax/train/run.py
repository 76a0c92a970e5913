"""A run: its settings, folder, data and folds; opened once, then shared by every part."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import jax
import numpy as np

from mmjax import registry
from mmjax.config import Settings
from mmjax.data.arrays import Allocate, host_memory, in_files, in_memory
from mmjax.data.data_report import DataReport
from mmjax.data.loader import evaluation_batch_size
from mmjax.datasets.dataset import Dataset, open_dataset
from mmjax.datasets.encoders import FoldEncoders
from mmjax.datasets.fingerprint import DataFingerprint
from mmjax.datasets.locations import cache_dir
from mmjax.datasets.splits import inner_split, load_folds, make_folds, report_folds, save_folds
from mmjax.errors import DataError
from mmjax.io import checkpoint
from mmjax.io.metrics_log import MetricsLog, Progress
from mmjax.io.processes import is_primary
from mmjax.io.workdir import Workdir, atomic_write_json, environment
from mmjax.modalities.base import InputSpec
from mmjax.schema import Schema
from mmjax.shapes import blank_rows, modality_constants, shared_arrays, tree_bytes
from mmjax.tasks.base import Task, make_task, phases
from mmjax.train.execution.compile import Ahead
from mmjax.train.execution.parallel import Executor
from mmjax.train.execution.plan import Plan
from mmjax.train.fold_data import FoldRows

_EVALUATED, _CACHED = 256, 32
_RESIDENT = 0.25
"""Share of the host's memory that all folds' encoded rows may take."""
FOLDS, DIGEST, SPEC = "folds.csv", "data_digest.json", "spec.json"

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
    most_valid: int = 0
    """Validation rows of the largest fold, trained or not."""
    most_test: int = 0
    """Held-out rows of the largest fold."""
    tasks: dict[str, Task] = field(default_factory=dict)
    executors: dict[Plan, Executor] = field(default_factory=dict)
    codes: dict[int, np.ndarray] = field(default_factory=dict)
    ahead: Ahead = field(default_factory=Ahead)
    allocate: Allocate = in_memory
    """Makes the arrays that are as long as the table."""

    def task(self, name: str) -> Task:
        """The task for the padded sizes, one object a run: jit knows a task by identity."""
        assert self.spec is not None
        return self.tasks.setdefault(name, make_task(name, self.settings, self.spec))

    def valid_batch(self, name: str) -> int:
        """Rows of a task's validation batch, the same for every fold, so that a program fits all."""
        return evaluation_batch(self.settings, name, self.most_valid)

    def model_dir(self, fold: int, task: str) -> Path:
        """Where a fold's finished module lies; "search" holds what early stopping found before a refit."""
        return self.workdir.path / f"fold_{fold}" / task


task_names = phases


def evaluation_batch(settings: Settings, name: str, rows: int) -> int:
    """B, of the batches in which a task goes through `rows` rows without training: `train.eval_batch_size` at most.

    The rule is 256, but 32 for a classifier with convolutions on a CPU: the activations of more need memory (a sixth to a third
    of a process's) and leave the caches (photos take a tenth longer; docs/RESULTS.md, Speed).
    """
    kinds = registry.modalities()
    convolutions = registry.tasks()[name].stream and any(
        m not in kinds or kinds[m].convolves for m in settings.model.modalities
    )
    rule = _CACHED if convolutions and jax.default_backend() == "cpu" else _EVALUATED
    return evaluation_batch_size(rows, settings.train.eval_batch_size or rule)


def run_fingerprint(settings: Settings, schema: Schema) -> str:
    """What every checkpoint of a run carries: a digest of all that decides its numbers."""
    return checkpoint.config_fingerprint(settings.to_dict() | {"cv": None} | {"schema": schema.dumps()})


def open_run(settings: Settings, workdir: Workdir, say: Say, stop: Callable[[], bool]) -> Run:
    """Reads the data, and makes or loads the folds; writes nothing (see `record`).

    Raises:
      MmjaxError: bad data, or a work folder of another config or other data.
    """
    report = DataReport(strict=settings.data.strict)
    task = registry.tasks()[settings.task]
    dataset = open_dataset(
        settings.data,
        settings.model.modalities,
        group=settings.cv.group,
        task=settings.task,
        report=report,
        progress=partial(Progress(say).reach, "reading photos"),
        log=say,
    )
    workdir.compare(settings, dataset.schema.dumps())
    fold_file = workdir.path / FOLDS
    label_N, path = np.where(dataset.usable, task.stratify_by(dataset), -1), str(dataset.table.path)
    if fold_file.exists():
        fold_N = load_folds(fold_file, dataset.table.ids)
        if before := DataFingerprint.load(workdir.path / DIGEST):  # an older version wrote none
            DataFingerprint.of(dataset, settings).check(before, dataset, workdir.path)
    else:
        group_N = dataset.table.group_N if settings.cv.group else None
        fold_N = make_folds(
            label_N,
            folds=settings.cv.folds,
            seed=settings.cv.seed,
            group_N=group_N,
            path=path,
        )
    # Also of loaded folds: a resumed run's data_report.json is an uninterrupted one's.
    report_folds(label_N, fold_N, settings.cv.folds, report, path, dataset.classes)
    for line in report.summary_lines():
        say(line)
    fingerprint = run_fingerprint(settings, dataset.schema)
    log = MetricsLog(workdir.path)
    say(
        f"{dataset.name}: {len(fold_N)} rows, {int(np.sum(fold_N >= 0))} of them in {settings.cv.folds} folds; "
        f"work folder {workdir.path}"
    )
    return Run(settings, workdir, dataset, fold_N, fingerprint, log, say, stop)


def record(run: Run) -> None:
    """Writes down what runs: from here on the folder belongs to this config.

    Called once everything that can refuse a config for its data has been asked, since the config a person then corrects is
    another.

    Raises:
      WorkdirError: the folder cannot be written.
    """
    folder = run.workdir.path
    run.workdir.open_run(run.settings, run.dataset.schema.dumps(), environment())
    if run.spec is not None:
        atomic_write_json(folder / SPEC, asdict(run.spec))
    if is_primary() and not (folder / FOLDS).exists():
        DataFingerprint.of(run.dataset, run.settings).save(folder / DIGEST)  # first, since folds.csv says that it is there
        save_folds(folder / FOLDS, run.dataset.table.ids, run.fold_N)


def fit_folds(run: Run, numbers: Sequence[int]) -> None:
    """Fits every fold's encoders and keeps the chosen folds, not yet encoded; from here on the padded sizes are known."""
    dataset, settings = run.dataset, run.settings
    label_N = registry.tasks()[settings.task].stratify_by(dataset)
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
        encoders.append(FoldEncoders.fit(dataset, rows))
        group_N = dataset.table.group_N if settings.cv.group else None
        inner = inner_split(rows, label_N, fraction=settings.cv.valid_fraction, seed=settings.cv.seed + number, group=group_N)
        splits.append((*inner, test))
    for modality in dataset.modalities:
        modality.check_settings(settings)
    run.most_valid, run.most_test = (max(len(s[i]) for s in splits) for i in (1, 2))
    run.spec = encoders[0].spec.padded([e.spec for e in encoders])
    for number in numbers:
        fitted, (train, valid, test) = encoders[number], splits[number]
        last = run.task(phases(settings)[-1])
        constant = modality_constants(run.spec, fitted.spec) | last.fold_constants(dataset.label, train)
        run.folds.append(FoldRows(number, fitted, {}, train, valid, test, constant))


def encode_folds(run: Run) -> None:
    """Encodes the whole table by each chosen fold's encoders, and saves them.

    What all folds' rows need beyond a share of the memory lies in files that are mapped: training reads them where they are.
    """
    assert run.spec is not None
    own = {k: v for k, v in blank_rows(run.spec, 1).items() if k not in shared_arrays(run.spec)}
    needed = len(run.folds) * len(run.fold_N) * tree_bytes(own)
    if needed > _RESIDENT * host_memory():
        folder = cache_dir(run.settings.data) / "tables"
        run.allocate = in_files(folder)
        run.say(f"encoded rows: {needed / 1e9:.1f} GB, too much for this machine's memory; they go to files in {folder}.")
    for fold in run.folds:
        if is_primary():
            fold.encoders.save(run.workdir.path / f"fold_{fold.number}" / "encoders.json")
        fold.arrays = fold.encoders.encode(run.dataset, run.allocate)
        for note in fold.encoders.notes() if fold is run.folds[0] else ():
            run.say(f"fold {fold.number}: {note}")
