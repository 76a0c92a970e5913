"""Two threads that plan, trace and compile every phase ahead: while rows are encoded, and while the phases before train.

One traces, which is Python; the other compiles what was traced, which is XLA and needs no lock of Python's. They also leave the
main thread free to answer a signal, which a compilation would keep waiting.
"""

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

import jax

from mmjax.errors import Interrupted
from mmjax.train.execution.concurrent_folds import THREADS

PLAN, STEPS, EPOCH, SWEEP = "plan", "steps", "epoch", "sweep"
"""Keys of a run's jobs, each with the name of its task: plan it, compile its start and steps, compile the end of its epochs,
compile what its modules predict with."""

_WAITED_FOR = {
    PLAN: "the run was planned",
    STEPS: "training steps were compiled",
    EPOCH: "the end of an epoch was compiled",
    SWEEP: "what trained models predict with was compiled",
}

Job = Callable[[], Iterable[jax.stages.Lowered] | None]
"""Traces programs that are to be compiled; None: it has none, and is done when it returns."""


@dataclass
class Ahead:
    """Jobs, done in order."""

    _done: dict[Hashable, threading.Event] = field(default_factory=dict)
    # Short, so that tracing a later phase does not take a core from compiling the one that is waited for.
    _traced: queue.Queue[tuple[Hashable, jax.stages.Lowered | None]] = field(default_factory=lambda: queue.Queue(maxsize=2))
    _stopped: bool = False

    def start(self, jobs: dict[Hashable, Job]) -> None:
        """Starts the threads; called once."""
        self._done = {key: threading.Event() for key in jobs}
        for name, work, argument in (("trace", self._trace, jobs), ("compile", self._compile, len(jobs))):
            threading.Thread(target=work, args=(argument,), daemon=True, name=THREADS + name).start()

    def wait(self, key: tuple[str, str], stop: Callable[[], bool] = lambda: False) -> None:
        """Returns once that job is done; at once where there is none.

        Raises:
          Interrupted: `stop` became true meanwhile.
        """
        done = self._done.get(key)
        while done is not None and not done.wait(0.1):
            if stop():
                task, part = key
                raise Interrupted(
                    f"Stopped by a signal while {_WAITED_FOR.get(part, part)} ({task}); the same command goes on from the last "
                    "checkpoints and finished models in the work folder."
                )

    def stop(self) -> None:
        """Begins no further job."""
        self._stopped = True

    def _trace(self, jobs: dict[Hashable, Job]) -> None:
        for key, job in jobs.items():
            try:
                if not self._stopped:
                    programs = job()
                    if programs is None:  # nobody has to wait for what is compiled before
                        self._done[key].set()
                    for program in programs or ():
                        self._traced.put((key, program))
            except Exception as error:
                _left(error)
            self._traced.put((key, None))

    def _compile(self, jobs: int) -> None:
        while jobs:
            key, program = self._traced.get()
            if program is None:
                self._done[key].set()
                jobs -= 1
            elif not self._stopped:
                try:
                    program.compile()
                except Exception as error:
                    _left(error)


def _left(error: Exception) -> None:
    logging.getLogger(__name__).info("left to its phase: %s", error)


def leave(code: int) -> int:
    """The exit code; ends the process here and now where XLA is at work, since it can be neither stopped nor torn down."""
    if any(thread.name.startswith(THREADS) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
