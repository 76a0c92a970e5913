"""What a run says while it runs: lines for a person, details on request, bars on a terminal."""

import atexit
import sys
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

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
_SAID_AT, _LEAST_SECONDS = (10, 25, 50, 75), 10.0
"""Per cent of a phase at which a line is printed where there is no bar, and the least time between two of them."""
_TIMED, _MINUTE, _HOUR = 10, 60.0, 3600.0
"""Dispatches after which a phase of more than a minute says how long it takes; seconds."""


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

    def move(self, task: TaskID, done: int, total: int, title: str) -> None:
        """Moves a bar whose length is not yet sure."""
        self._display.update(task, completed=done, total=total, description=title)

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


@dataclass(frozen=True)
class RunLog:
    """Where a run's lines go; calling it shows one.

    Attributes:
      show: prints a line.
      verbose: details are shown too: plans, epochs, what each column's encoder found.
      moves: lines of progress are shown as often as they change: whoever shows them draws a bar.
    """

    show: Callable[[str], None] = print
    verbose: bool = True
    moves: bool = False

    @classmethod
    def of(cls, log: Callable[[str], None]) -> "RunLog":
        """A plain function is shown everything."""
        return log if isinstance(log, cls) else cls(log)

    def __call__(self, line: str) -> None:
        """Shows a line."""
        self.show(line)

    def detail(self, line: str) -> None:
        """Shows a line to whoever wants details."""
        if self.verbose:
            self.show(line)


@dataclass
class _Part:
    total: int
    done: int = 0
    ended: bool = False
    best: float | None = None


@dataclass
class PhaseProgress:
    """All folds of a phase as one bar: how far, the best value so far, the time left. Folds may train at the same time.

    Early stopping may end a fold sooner than its total says; folds that have not begun are taken to be as long as those that
    have ended were.

    Attributes:
      title: of the phase.
      parts: groups of folds that train one after the other or at the same time.
      watched: name of the value that early stopping looks at.
      log: where lines go.
      at_most: whether a fold may end before its total.
      if_long: said once where the phase takes more than an hour; '': nothing.
    """

    title: str
    parts: int
    watched: str
    log: RunLog
    at_most: bool = True
    if_long: str = ""
    bars: "Bars" = field(default_factory=lambda: _TERMINAL)
    _known: dict[Hashable, _Part] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _task: TaskID | None = None
    _begun: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108 - a test's clock
    _clock: tuple[float, int] | None = None  # when the first dispatch, which waited for the compiler, was over; what was done
    _said: tuple[int, float] = (0, 0.0)  # per cent, and when

    def start(self, part: Hashable, total: int, done: int = 0) -> None:
        """A part of `total` dispatches begins, `done` of them in a session before, which do not enter the estimate."""
        with self._lock:
            self._known[part] = _Part(total, done)
            if self._clock:
                self._clock = self._clock[0], self._clock[1] + done
            if self._task is None and self.bars.shown and self.log.show is not silent:
                self._task = self.bars.add(self.title, 0, 0)
            self._show()

    def advance(self, part: Hashable) -> None:
        """One more dispatch."""
        with self._lock:
            self._known[part].done += 1
            if self._clock is None:
                self._clock = time.monotonic(), sum(p.done for p in self._known.values())
            self._show()

    def best(self, part: Hashable, value: float) -> None:
        """The best value that a part has reached."""
        with self._lock:
            self._known[part].best = value

    def end(self, part: Hashable) -> None:
        """A part is trained."""
        with self._lock:
            if part in self._known:
                self._known[part].ended = True
            self._show()

    def finish(self) -> None:
        """Takes the bar away and says how the phase ended, if it came to its end."""
        with self._lock:
            if self._task is not None:
                self.bars.remove(self._task)
                self._task = None
            if len(self._known) == self.parts and all(p.ended for p in self._known.values()):
                self.log(f"{self.title}: done in {duration(time.monotonic() - self._begun)}{self._best('; ')}")

    def _totals(self) -> tuple[int, int]:
        """Dispatches done, and of the whole phase, as far as it is known."""
        ended = [p.done for p in self._known.values() if p.ended]
        known = ended or [p.total for p in self._known.values()]
        done = sum(p.done for p in self._known.values())
        left = sum(p.total - p.done for p in self._known.values() if not p.ended)
        return done, done + left + round(sum(known) / max(len(known), 1) * (self.parts - len(self._known)))

    def _show(self) -> None:
        done, total = self._totals()
        if self._task is not None:
            self.bars.move(self._task, done, total, f"{self.title}{self._best(', ')}")
            return
        now, timed = time.monotonic(), 0 if self._clock is None else done - self._clock[1]
        if self._clock is None or not timed or done >= total:
            return
        percent, seconds = 100 * done // max(total, 1), (now - self._clock[0]) / timed * (total - done)
        if self._due(percent, timed, seconds, now):
            self._said = percent, now
            left = f"{'at most' if self.at_most else 'about'} {duration(seconds)} left"
            self.log(f"{self.title}: {percent} %, {left}{self._best('; ')}")
            if seconds > _HOUR and self.if_long:
                self.log(self.if_long)
                self.if_long = ""

    def _due(self, percent: int, timed: int, seconds: float, now: float) -> bool:
        """Whether a line is worth printing: in a notebook once a second, else after ten steps and at a few places."""
        if self.log.moves:
            return now - self._said[1] >= 1
        if not self._said[1]:
            return (timed >= _TIMED and seconds >= _MINUTE) or (percent >= _SAID_AT[0] and now - self._begun >= _LEAST_SECONDS)
        return now - self._said[1] >= _LEAST_SECONDS and any(self._said[0] < at <= percent for at in _SAID_AT)

    def _best(self, before: str) -> str:
        found = [p.best for p in self._known.values() if p.best is not None]
        mean = sum(found) / max(len(found), 1)
        return f"{before}best {self.watched} {mean:.4f}{f' (mean of {len(found)})' if len(found) > 1 else ''}" if found else ""


def duration(seconds: float) -> str:
    """Seconds as people say them: 48 s, 3 min, 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


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
        return duration((now - self._started) / max(self._done - (self._first or 0), 1) * (self._total - self._done))
