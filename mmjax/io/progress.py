"""Progress on a terminal or in plain lines."""

import atexit
import sys
import threading
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Display

_PLAIN_SECONDS = 5.0


class Bars:
    """The terminal's one live display, shared by folds that train at the same time.

    Attributes:
      shown: whether there is a terminal.
    """

    def __init__(self, console: Console):
        self.shown = console.is_terminal and not console.is_dumb_terminal
        what = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        when = (TimeElapsedColumn(), TextColumn("at most"), TimeRemainingColumn())
        self._display = Display(*what, *when, console=console, transient=True)
        self._lock = threading.RLock()

    def add(self, title: str, total: int, done: int) -> TaskID:
        """A bar more; with the first comes the display."""
        with self._lock:
            if not self._display.task_ids:
                self._display.start()
                atexit.register(self._display.stop)  # an error must not leave the cursor hidden
            return self._display.add_task(title, total=total, completed=done)

    def advance(self, task: TaskID, by: int) -> None:
        """Moves a bar."""
        self._display.advance(task, by)

    def remove(self, task: TaskID) -> None:
        """Takes a bar away, and with the last the display."""
        with self._lock:
            if self._display.task_ids == [task]:
                self._display.stop()
                atexit.unregister(self._display.stop)
            self._display.remove_task(task)


_TERMINAL = Bars(Console(file=sys.stdout))


def silent(line: str) -> None:
    """A log that shows nothing; `Progress` draws no bar beside it."""
    del line


class Progress:
    """Progress of one phase with an estimate of the time left.

    On a terminal a bar; elsewhere a line at most every five seconds, plus each `note`. Early stopping may end a phase sooner
    than the estimate says.
    """

    def __init__(self, log: Callable[[str], None] = print, *, bars: Bars = _TERMINAL):
        self._log, self._bars = log, bars
        self._task: TaskID | None = None
        self._title, self._total, self._done = "", 0, 0
        self._first: int | None = None  # done when the clock started
        self._started = self._logged = 0.0

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Begins at `done` of `total` dispatches; what was done before this session does not enter the estimate."""
        self.finish()
        self._title, self._total, self._done, self._first = title, total, done, None
        self._started = self._logged = time.monotonic()
        self._task = self._bars.add(title, total, done) if self._bars.shown and self._log is not silent else None

    def advance(self, by: int = 1) -> None:
        """Counts dispatches."""
        self._done += by
        if self._task is not None:
            self._bars.advance(self._task, by)
            return
        if self._first is None:  # this one waited for the compiler, which says nothing of the next
            self._first, self._started = self._done, time.monotonic()
            return
        now = time.monotonic()
        if now - self._logged >= _PLAIN_SECONDS:
            self._logged = now
            self._log(f"{self._title}: {100 * self._done // max(self._total, 1)} %, at most {self._left(now)} left")

    def reach(self, title: str, done: int, total: int) -> None:
        """Starts at its first call, moves to `done` of `total`, and finishes there."""
        if title != self._title:
            self.start(title, total)
        self.advance(done - self._done)
        if done >= total:
            self.finish()

    def note(self, line: str) -> None:
        """Prints a line, the end of an epoch for one; above the bar where there is one."""
        self._logged = time.monotonic()
        self._log(line)

    def finish(self) -> None:
        """Takes the bar away; calling it again, or before `start`, does no harm."""
        if self._task is not None:
            self._bars.remove(self._task)
            self._task = None

    def _left(self, now: float) -> str:
        seconds = (now - self._started) / max(self._done - (self._first or 0), 1) * (self._total - self._done)
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
