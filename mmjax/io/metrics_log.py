"""metrics.jsonl, TensorBoard files made from it, and progress on a terminal or in plain lines."""

import atexit
import errno
import io
import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
from rich.progress import Progress as Bar

from mmjax.io.atomic import write_error
from mmjax.io.processes import is_primary
from mmjax.io.workdir import atomic_write_text

METRICS, TENSORBOARD = "metrics.jsonl", "tb"
_EVENTS = "events.out.tfevents.0.mmjax"
_PLAIN_SECONDS = 5.0

Event = dict[str, Any]


class MetricsLog:
    """One JSON line an event. Wall-clock values stand under the key "time" alone, so that runs can be compared without it.

    Folds that train side by side share it: every method is one at a time.

    Attributes:
      path: metrics.jsonl.
    """

    def __init__(self, workdir: Path, *, tensorboard: bool = True):
        """Opens the log of a work folder; a last line that a kill cut short is dropped.

        Args:
          workdir: the work folder.
          tensorboard: also write tb/fold_<k>/<phase>; left out where tensorboard is not installed.
        """
        self.path, self._tensorboard = workdir / METRICS, tensorboard
        self._started, self._lock = time.time(), threading.RLock()
        if self.path.exists() and not self.path.read_bytes().endswith(b"\n"):
            self._rewrite(self.events())

    def write(self, *, fold: int, phase: str, epoch: int, step: int, **values: Any) -> None:
        """Appends an event; numbers that are not finite become null.

        Raises:
          WorkdirError: the disk is full or the folder cannot be written; no part of a line is left behind.
        """
        if not is_primary():
            return
        now = time.time()
        event = {"fold": fold, "phase": phase, "epoch": epoch, "step": step, **_plain(values)}
        event["time"] = {"at": round(now, 3), "session_seconds": round(now - self._started, 3)}
        line = (json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n").encode()
        with self._lock:
            _append(self.path, line)
            if self._tensorboard:
                self._write_tensorboard([event])

    def load_writers(self) -> None:
        """Imports TensorBoard's writers, a fifth of a second, where the caller has nothing better to do."""
        if not (is_primary() and self._tensorboard):
            return
        with self._lock:
            self._write_tensorboard([])

    def truncate(self, fold: int, phase: str, step: int, epoch: int | None = None) -> None:
        """Forgets what a checkpoint does not know: events of this fold and phase after `step` (or `epoch`).

        The fold's TensorBoard file is made anew from what is left.
        """
        if not is_primary():
            return

        def known(event: Event) -> bool:
            if (event["fold"], event["phase"]) != (fold, phase):
                return True
            return event["step"] <= step and (epoch is None or event["epoch"] <= epoch)

        with self._lock:
            events = list(self.events())
            kept = [e for e in events if known(e)]
            if len(kept) < len(events):
                self._rewrite(kept)
            # Always, because a kill may have cut its last record short, and readers stop there.
            shutil.rmtree(self._folder(fold, phase), ignore_errors=True)
            if self._tensorboard:
                self._write_tensorboard([e for e in kept if (e["fold"], e["phase"]) == (fold, phase)])

    def sort(self) -> None:
        """Puts each phase's events in order of folds and epochs: folds that trained side by side mixed theirs."""
        with self._lock:
            events = list(self.events())
            phases = list(dict.fromkeys(e["phase"] for e in events))
            ordered = sorted(events, key=lambda e: (phases.index(e["phase"]), e["fold"], e["epoch"]))
            if is_primary() and ordered != events:
                self._rewrite(ordered)

    def events(self) -> Iterator[Event]:
        """Every whole event, oldest first."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(event, dict) and event.keys() >= {"fold", "phase", "epoch", "step"}:
                yield event

    def _rewrite(self, events: Iterator[Event] | list[Event]) -> None:
        atomic_write_text(self.path, "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in events))

    def _folder(self, fold: int, phase: str) -> Path:
        return self.path.parent / TENSORBOARD / f"fold_{fold}" / phase

    def _write_tensorboard(self, events: list[Event]) -> None:
        try:
            # Paid once there is something to log, or in `load_writers`.
            from tensorboard.compat.proto import event_pb2, summary_pb2  # noqa: PLC0415
            from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415
        except (ImportError, TypeError):  # TypeError: protobuf refuses its generated code
            self._tensorboard = False
            return
        record_of, summary_of = (vars(m)[n] for m, n in ((event_pb2, "Event"), (summary_pb2, "Summary")))
        for event in events:
            at, content = event["time"]["at"], io.BytesIO()  # framed in memory: no writer thread, no file left open
            writer = RecordWriter(content)
            file = self._folder(event["fold"], event["phase"]) / _EVENTS
            if not file.exists():
                writer.write(record_of(wall_time=at, file_version="brain.Event:2").SerializeToString())
            for name, value in _scalars(event):
                summary = summary_of(value=[summary_of.Value(tag=name, simple_value=value)])
                writer.write(record_of(wall_time=at, step=event["step"], summary=summary).SerializeToString())
            _append(file, content.getvalue())


def _scalars(event: Event, prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in event.items():
        if isinstance(value, dict) and name != "time":
            yield from _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and (prefix or name not in ("fold", "step")):
            yield prefix + name, float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _append(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            before = os.fstat(handle).st_size
            if os.write(handle, content) != len(content):
                os.ftruncate(handle, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)
    except OSError as error:
        raise write_error(path, error, len(content)) from error


class Bars:
    """The terminal's one live display, shared by phases that run side by side; nothing where there is no terminal."""

    def __init__(self, console: Console):
        self.console = console
        self._bar: Bar | None = None
        self._lock = threading.RLock()

    def add(self, title: str, total: int, done: int) -> TaskID | None:
        """A bar more; None where there is no terminal."""
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            return None
        with self._lock:
            if self._bar is None:
                what = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
                when = (TimeElapsedColumn(), TextColumn("at most"), TimeRemainingColumn())
                self._bar = Bar(*what, *when, console=self.console, transient=True)
                self._bar.start()
                atexit.register(self.close)  # an error must not leave the cursor hidden
            return self._bar.add_task(title, total=total, completed=done)

    def advance(self, task: TaskID, by: int) -> None:
        """Moves a bar."""
        with self._lock:
            if self._bar is not None:
                self._bar.advance(task, by)

    def remove(self, task: TaskID) -> None:
        """Takes a bar away, and with the last the display."""
        with self._lock:
            if self._bar is not None:
                if self._bar.task_ids == [task]:
                    self.close()
                else:
                    self._bar.remove_task(task)

    def close(self) -> None:
        """Takes the display away."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
                atexit.unregister(self.close)


_TERMINAL = Bars(Console(file=sys.stdout))


class Progress:
    """Progress of one phase with an estimate of the time left.

    On a terminal a bar; elsewhere a line at most every five seconds, plus each `note`. Early stopping may end a phase sooner
    than the estimate says.
    """

    def __init__(self, say: Callable[[str], None] = print, *, bars: Bars = _TERMINAL):
        self._say, self._bars = say, bars
        self._task: TaskID | None = None
        self._title, self._total, self._done, self._first = "", 0, 0, 0
        self._started = self._said = 0.0

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Begins at `done` of `total` dispatches; what was done before this session does not enter the estimate."""
        self.finish()
        self._title, self._total, self._done, self._first = title, total, done, done
        self._started = self._said = time.monotonic()
        self._task = self._bars.add(title, total, done)

    def advance(self, by: int = 1) -> None:
        """Counts dispatches."""
        self._done += by
        if self._task is not None:
            self._bars.advance(self._task, by)
            return
        now = time.monotonic()
        if now - self._said >= _PLAIN_SECONDS:
            self._said = now
            self._say(f"{self._title}: {100 * self._done // max(self._total, 1)} %, at most {self._left(now)} left")

    def reach(self, title: str, done: int, total: int) -> None:
        """Starts at its first call, moves to `done` of `total`, and finishes there."""
        if title != self._title:
            self.start(title, total)
        self.advance(done - self._done)
        if done >= total:
            self.finish()

    def note(self, line: str) -> None:
        """Prints a line, the end of an epoch for one; above the bar where there is one."""
        self._said = time.monotonic()
        self._say(line)

    def finish(self) -> None:
        """Takes the bar away; calling it again, or before `start`, does no harm."""
        if self._task is not None:
            self._bars.remove(self._task)
            self._task = None

    def _left(self, now: float) -> str:
        seconds = (now - self._started) / max(self._done - self._first, 1) * (self._total - self._done)
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
