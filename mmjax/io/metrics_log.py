"""metrics.jsonl, and TensorBoard files made from it."""

import errno
import io
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmjax.io.atomic import write_error, write_text
from mmjax.io.processes import is_primary

METRICS, TENSORBOARD = "metrics.jsonl", "tb"
_EVENTS = "events.out.tfevents.0.mmjax"

Event = dict[str, Any]


class MetricsLog:
    """One JSON line an event. Wall-clock values stand under the key "time" alone, so that runs can be compared without it.

    Folds that train at the same time share it: every method is one at a time.

    Attributes:
      path: metrics.jsonl.
    """

    def __init__(self, workdir: Path, *, tensorboard: bool = True):
        """Opens the log of a workdir; a last line that a kill cut short is dropped.

        Args:
          workdir: the workdir.
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
        """Puts each phase's events in order of folds and epochs: folds that trained at the same time mixed theirs."""
        with self._lock:
            events = list(self.events())
            phases = list(dict.fromkeys(e["phase"] for e in events))
            ordered = sorted(events, key=lambda e: (phases.index(e["phase"]), e["fold"], e["epoch"]))
            if ordered != events:
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

    def _rewrite(self, events: Iterable[Event]) -> None:
        if is_primary():
            write_text(self.path, "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in events))

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
