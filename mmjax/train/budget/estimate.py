"""How long a run takes on this machine: ten steps of every phase are timed, with as many folds at work as training would have.

Nothing is kept: the steps are taken in a temporary workdir, and their results thrown away.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np

from mmjax.config import Settings
from mmjax.datasets.dataset import leave_out_lacking
from mmjax.datasets.locations import find_files
from mmjax.io.progress import RunLog, duration, silent
from mmjax.io.workdir import Workdir
from mmjax.tasks.base import phases
from mmjax.train.execution.compile import STEPS
from mmjax.train.execution.concurrent_folds import run_concurrently
from mmjax.train.fold_data import FoldData
from mmjax.train.fold_training import compile_ahead, group_trainer, plan_of
from mmjax.train.run import Run, encode_folds, fit_folds, open_run
from mmjax.train.trainer import Callback, Trainer

_STEPS, _SECONDS, _PATIENCE = 10, 20.0, 120.0
"""Dispatches that are timed, or as many as fit into these seconds; seconds that one fold waits for the others."""
_VALIDATION = 1 / 3
"""Cost of a row that is only predicted, of one that is trained on."""
LONG = 3600.0
"""Seconds above which a run on a CPU is told what would make it shorter."""


@dataclass(frozen=True)
class PhaseTime:
    """One phase of a run.

    Attributes:
      title: of the phase.
      step_seconds: of a training step of one fold, while the others of its plan are at work, too.
      steps: of all folds, if none stops early.
      concurrent: groups of folds at work at the same time.
      folds: of a group.
      at_most: whether a fold may stop early.
    """

    title: str
    step_seconds: float
    steps: int
    concurrent: int
    folds: int
    at_most: bool

    @property
    def seconds(self) -> float:
        """Of the whole phase."""
        return self.step_seconds * self.steps / (self.concurrent * self.folds)


@dataclass(frozen=True)
class TimeEstimate:
    """A run: what comes before its first step, and its phases.

    Attributes:
      preparing: seconds of reading, encoding and compiling, as long as it took here.
      phases: in order.
    """

    preparing: float
    phases: tuple[PhaseTime, ...]

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.preparing + sum(phase.seconds for phase in self.phases)

    def lines(self) -> list[str]:
        """For people."""
        shown = [
            f"{p.title}: {'at most' if p.at_most else 'about'} {duration(p.seconds)} ({p.steps} steps of "
            f"{1000 * p.step_seconds:.0f} ms, {p.concurrent * p.folds} folds at a time)"
            for p in self.phases
        ]
        return [
            *shown,
            f"In all about {duration(self.seconds)} on this machine, of which {duration(self.preparing)} to get ready.",
        ]


def estimate_time(settings: Settings, log: Callable[[str], None] = silent) -> TimeEstimate:
    """Times ten steps of every phase.

    Args:
      settings: of the run.
      log: told what is read.

    Raises:
      MmjaxError: as a run would.
    """
    begun = time.monotonic()
    if settings.model.lacking == "leave_out":
        settings = leave_out_lacking(settings, find_files(settings.data).schema, silent)
    with tempfile.TemporaryDirectory(prefix="mmjax-time-") as folder:
        run = open_run(settings, Workdir(folder), RunLog(log, verbose=False), lambda: False)
        fit_folds(run, settings.cv.only or range(settings.cv.folds))
        try:
            compile_ahead(run)
            encode_folds(run)
            names = phases(settings)
            for name in names:
                run.ahead.wait((name, STEPS), run.stop)
            preparing = time.monotonic() - begun
            return TimeEstimate(preparing, tuple(_time_phase(run, name, Path(folder)) for name in names))
        finally:
            run.ahead.stop()


def _time_phase(run: Run, name: str, folder: Path) -> PhaseTime:
    task = run.task(name)
    if task.code_width:  # any code takes as long as a trained one
        for fold in run.folds:
            fold.codes = np.zeros((len(run.fold_N), task.code_width), np.float32)
    plan = plan_of(run, name, run.folds)
    groups = [run.folds[at : at + plan.folds] for at in range(0, len(run.folds), plan.folds)]
    together = threading.Barrier(min(plan.concurrent, len(groups)))
    timers = [_Timer(together) for _ in groups[: plan.concurrent]]

    def job(group: Sequence[FoldData], timer: _Timer, stop: Callable[[], bool]) -> Callable[[], None]:
        trainer = group_trainer(run, name, run.executor(plan), group, folder / f"{name}_{group[0].number}", stop, [timer])
        with suppress(_EnoughError):
            trainer.run()
        return lambda: None

    jobs = [partial(job, group, timer) for group, timer in zip(groups, timers, strict=False)]
    run_concurrently(jobs, plan.concurrent, run.stop, behind=False)
    steps = sum(timer.steps * len(group) for timer, group in zip(timers, groups, strict=False)) * len(groups) // len(timers)
    seconds = float(np.mean([timer.step_seconds for timer in timers]))
    at_most = task.patience < task.max_epochs and not task.refits
    twice = 2 if task.refits else 1
    return PhaseTime(task.title(run.settings), seconds, twice * steps, min(plan.concurrent, len(groups)), plan.folds, at_most)


class _EnoughError(Exception):
    """Ends a training that was only to be timed."""


class _Timer(Callback):
    """Takes the time of steps after the first, which waits for the compiler; all folds of a plan begin together."""

    def __init__(self, together: threading.Barrier) -> None:
        self.steps, self.step_seconds, self._together = 0, 0.0, together
        self._sent, self._begun = 0, 0.0

    def on_start(self, trainer: Trainer) -> None:
        """Counts the steps of the whole training."""
        self.steps = int(np.max(jax.device_get(trainer.state.max_epochs))) * max(trainer.training.steps)

    def after_dispatch(self, trainer: Trainer) -> None:
        """Waits for the dispatch, and ends once enough are timed."""
        jax.block_until_ready(trainer.state.step)
        if self._sent == 0:
            with suppress(threading.BrokenBarrierError):  # the others have failed, or wait too long for the compiler
                self._together.wait(_PATIENCE)
        now = time.monotonic()
        if self._sent == 0:
            self._begun = now
        self._sent += 1
        timed = self._sent - 1
        if timed and (timed >= _STEPS or now - self._begun > _SECONDS or trainer.dispatch + 1 == trainer.training.dispatches):
            training = trainer.training
            rows = max(len(r) for r in training.train_rows)
            valid = 1 + _VALIDATION * max(len(r) for r in training.valid_rows) / max(1, rows)
            self.step_seconds = valid * (now - self._begun) / (timed * training.executor.plan.steps)
            raise _EnoughError
