"""One thread that plans and compiles every phase ahead: while rows are encoded, and while the phases before train.

It also leaves the main thread free to answer a signal, which a compilation would keep waiting.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from mmjax.errors import Interrupted
from mmjax.train.beside import THREADS

PLAN, STEPS, SWEEP = "plan", "steps", "sweep"
"""Keys of a run's jobs, each with the name of its task: plan it, compile its steps, compile what its modules predict with."""

_NAME = f"{THREADS}compile"


@dataclass
class Ahead:
    """Jobs, done in order by one thread."""

    _done: dict[Hashable, threading.Event] = field(default_factory=dict)
    _stopped: bool = False

    def start(self, jobs: dict[Hashable, Callable[[], object]]) -> None:
        """Starts the thread; called once."""
        self._done = {key: threading.Event() for key in jobs}
        threading.Thread(target=self._work, args=(jobs,), daemon=True, name=_NAME).start()

    def wait(self, key: Hashable, stop: Callable[[], bool] = lambda: False) -> None:
        """Returns once that job is done; at once where there is none.

        Raises:
          Interrupted: `stop` became true meanwhile.
        """
        done = self._done.get(key)
        while done is not None and not done.wait(0.1):
            if stop():
                raise Interrupted("Stopped by a signal while steps were compiled; the same command goes on from here.")

    def stop(self) -> None:
        """Begins no further job."""
        self._stopped = True

    def _work(self, jobs: dict[Hashable, Callable[[], object]]) -> None:
        for key, job in jobs.items():
            try:
                if not self._stopped:
                    job()
            except Exception as error:
                logging.getLogger(__name__).info("not compiled ahead: %s", error)
            finally:
                self._done[key].set()


def leave(code: int) -> int:
    """The exit code; ends the process here and now where XLA is at work, since it can be neither stopped nor torn down."""
    if any(thread.name.startswith(THREADS) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
