"""Held-out scores and hyper-parameters for TensorBoard: its scalars, and its table that compares runs by their settings."""

import io
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmjax.io.atomic import write_bytes
from mmjax.io.metrics_log import TENSORBOARD

_FILE = "events.out.tfevents.0.mmjax"
MEAN, BY_FOLD = "held_out", "held_out_by_fold"
"""Tags: of a metric's mean over folds, and of each fold's, whose number is the step."""


def write_held_out(workdir: Path, settings: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Writes tb/held_out anew; nothing where tensorboard is not installed.

    Args:
      workdir: of the run.
      settings: nested; those that are numbers, strings or truth values become hyper-parameters.
      summary: summary.json.

    Raises:
      WorkdirError: the file cannot be written.
    """
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2  # noqa: PLC0415 - a fifth of a second
        from tensorboard.plugins.hparams import summary_v2  # noqa: PLC0415
        from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415
    except (ImportError, TypeError):  # TypeError: protobuf refuses its generated code
        return
    event_of, summary_of = event_pb2.Event, summary_pb2.Summary  # type: ignore[attr-defined]
    content, now = io.BytesIO(), time.time()
    writer = RecordWriter(content)

    def write(step: int, value: Any) -> None:
        writer.write(event_of(wall_time=now, step=step, summary=value).SerializeToString())

    writer.write(event_of(wall_time=now, file_version="brain.Event:2").SerializeToString())
    write(0, summary_v2.hparams_pb(dict(_flat(settings)), trial_id=str(workdir.absolute()), start_time_secs=now))
    for name, value in summary["mean"].items():
        write(0, summary_of(value=[summary_of.Value(tag=f"{MEAN}/{name}", simple_value=value)]))
    for fold, done in summary["by_fold"].items():
        for name, value in done["metrics"].items():
            write(int(fold), summary_of(value=[summary_of.Value(tag=f"{BY_FOLD}/{name}", simple_value=value)]))
    write_bytes(workdir / TENSORBOARD / "held_out" / _FILE, content.getvalue())


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float | str):
            yield prefix + name, value
        elif value is not None:
            yield prefix + name, str(value)
