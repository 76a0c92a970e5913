"""A profiler's trace of a few training steps of a user's own run (`config.train.profile`)."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import jax

from mmjax.errors import Interrupted
from mmjax.io.atomic import write_json
from mmjax.io.processes import is_primary
from mmjax.train.trainer import Callback, Trainer

PROFILE = "profile"
"""Folder of a workdir with a folder a task, each in TensorBoard's layout."""
STEPS = "steps.json"
"""Beside a whole trace: how many steps it holds, which a trace itself does not say."""


class Profiler(Callback):
    """Traces dispatches of the first group of folds that trains, until they hold the steps asked for or their epoch ends.

    A session's first dispatch is warm-up. The trace begins after it if the epoch has the steps left, else with the next epoch,
    so that neither validation nor compilation is in it. A workdir that has the task's trace gets no other. Whatever goes wrong
    is logged, and the training goes on.

    One object serves all groups of a task, which may train in threads: a process has one profiler. What other threads do
    meanwhile is in the trace, too.
    """

    def __init__(self, folder: Path, steps: int, log: Callable[[str], None], wait_for_compilation: Callable[[], None]):
        """Traces at least `steps` steps into `folder`; 0: none.

        Args:
          folder: of the task.
          steps: at most an epoch's are traced.
          log: prints a line.
          wait_for_compilation: returns once nothing is compiled any more: on a GPU that runs kernels of its own. Raises
            Interrupted if asked to stop.
        """
        self._folder, self._log, self._wait = folder, log, wait_for_compilation
        self._wanted = 0 if (folder / STEPS).exists() or not is_primary() else steps
        self._taken = threading.Lock()  # by the first group, for good
        self._group: Trainer | None = None
        self._tracing, self._failed, self._traced = False, False, 0

    def before_dispatch(self, trainer: Trainer) -> None:
        """The first group to come is the one that is traced; a checkpoint that was due is saved by now."""
        if self._wanted and self._taken.acquire(blocking=False):
            self._group = trainer  # and this dispatch its warm-up
        elif trainer is self._group and not (self._tracing or self._traced or self._failed) and self._due(trainer):
            self._begin(trainer)

    def after_dispatch(self, trainer: Trainer) -> None:
        """Counts, and ends."""
        if trainer is self._group and self._tracing:
            self._traced += trainer.training.executor.plan.steps  # with those that only fill up a dispatch: they run, too
            if self._traced >= self._wanted or trainer.dispatch + 1 == trainer.training.dispatches:
                self._end(trainer)

    def on_end(self, trainer: Trainer) -> None:
        """Ends a trace that an error or a signal cut short."""
        if trainer is not self._group:
            return
        if self._tracing:
            self._end(trainer)
        elif not (self._traced or self._failed):
            self._fail(f"{trainer.training.title} ended too soon after its first dispatch, which is warm-up")
        self._group = None  # a trainer holds its state's memory

    def _due(self, trainer: Trainer) -> bool:
        training = trainer.training
        left = training.dispatches - trainer.dispatch
        whole, last = left == training.dispatches, trainer.epoch + 1 == training.epochs
        return whole or last or left * training.executor.plan.steps >= self._wanted

    def _begin(self, trainer: Trainer) -> None:
        try:
            self._wait()
            shutil.rmtree(self._folder, ignore_errors=True)  # a killed session's
            self._folder.mkdir(parents=True, exist_ok=True)
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # every call of Python's: large, and slows down what is traced
            jax.block_until_ready(trainer.state)
            jax.profiler.start_trace(self._folder, profiler_options=options)
            self._tracing = True
        except Interrupted:
            return  # the loop asks before the next dispatch, and saves first
        except Exception as error:
            self._fail(error)

    def _end(self, trainer: Trainer) -> None:
        self._tracing, training = False, trainer.training
        try:
            try:
                jax.block_until_ready(trainer.state)
            finally:
                jax.profiler.stop_trace()
            if not self._traced:
                raise RuntimeError("the training ended within the first dispatch that was traced")
            trace = next(self._folder.rglob("*.trace.json.gz"))
            facts = {"steps": self._traced, "folds": list(training.folds), "epoch": trainer.epoch + 1}
            write_json(self._folder / STEPS, facts)
        except Exception as error:
            self._fail(error)
            return
        self._log(
            f"Profile of {self._traced} training steps ({training.title}, {training.name}, epoch {trainer.epoch + 1}) in "
            f"{self._folder}: `pip install xprof`, then `tensorboard --logdir={self._folder.parent}`; or open {trace} on "
            "https://ui.perfetto.dev."
        )

    def _fail(self, reason: object) -> None:
        self._failed = True
        first, *_ = str(reason).splitlines() or [type(reason).__name__]
        self._log(f"No profile in {self._folder} ({first.rstrip('.')}); the training is not affected.")
