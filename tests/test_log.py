"""The metrics log: comparable, cut back to what a checkpoint knows, whole after a kill; progress in plain lines."""

import errno
import io
import json
import math
import os
import struct

import numpy as np
import pytest
from rich.console import Console

from mmjax.errors import WorkdirError
from mmjax.io import metrics_log as module
from mmjax.io import progress as progress_module
from mmjax.io.metrics_log import MetricsLog
from mmjax.io.progress import Bars, PhaseProgress, Progress, RunLog, silent


def fill(log, epochs=3, folds=(0, 1)):
    for epoch in range(1, epochs + 1):
        for fold in folds:
            log.write(fold=fold, phase="classifier", epoch=epoch, step=10 * epoch, train={"loss": 1 / epoch}, stale=0)


def without_time(path):
    return [{k: v for k, v in json.loads(line).items() if k != "time"} for line in path.read_text().splitlines()]


def records(path):
    """TensorBoard records of a file, lengths checked by walking them."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        found.append(data[at + 12 : at + 12 + size])
        at += 12 + size + 4
    assert at == len(data)
    return found


def scalars(path):
    from tensorboard.compat.proto.event_pb2 import Event

    events = [Event.FromString(r) for r in records(path)]
    assert events[0].file_version == "brain.Event:2"
    return [(v.tag, e.step, v.simple_value) for e in events for v in e.summary.value]


def test_resumed_log_equals_an_uninterrupted_one(tmp_path):
    """Breaks when truncate keeps a later line, drops another fold's, or wall-clock stands outside "time"."""
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    fill(MetricsLog(tmp_path / "whole"))
    fill(MetricsLog(tmp_path / "resumed"), epochs=2)
    resumed = MetricsLog(tmp_path / "resumed")
    for fold in (0, 1):  # the checkpoint was made after the first epoch
        resumed.truncate(fold, "classifier", 14, 1)
    for epoch in (2, 3):
        for fold in (0, 1):
            resumed.write(fold=fold, phase="classifier", epoch=epoch, step=10 * epoch, train={"loss": 1 / epoch}, stale=0)
    one, other = (without_time(tmp_path / n / "metrics.jsonl") for n in ("whole", "resumed"))
    assert one == other
    tb = "tb/fold_1/classifier/events.out.tfevents.0.mmjax"
    assert scalars(tmp_path / "whole" / tb) == scalars(tmp_path / "resumed" / tb)


def test_truncate_is_by_fold_and_phase(tmp_path):
    log = MetricsLog(tmp_path)
    fill(log, epochs=2)
    log.write(fold=0, phase="autoencoder", epoch=1, step=10)
    log.truncate(0, "classifier", 0)
    left = [(e["fold"], e["phase"], e["epoch"]) for e in log.events()]
    assert left == [(1, "classifier", 1), (1, "classifier", 2), (0, "autoencoder", 1)]
    assert not (tmp_path / "tb/fold_0/classifier").exists()


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path):
    """Breaks when the next line is glued to the torn one: both would be lost."""
    log = MetricsLog(tmp_path)
    fill(log, epochs=1)
    with (tmp_path / "metrics.jsonl").open("ab") as out:
        out.write(b'{"fold": 0, "pha')
    log = MetricsLog(tmp_path)
    log.write(fold=0, phase="classifier", epoch=2, step=20)
    assert [e["epoch"] for e in log.events()] == [1, 1, 2]
    assert all(json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())


def test_values_are_plain_json(tmp_path):
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(
        fold=0, phase="p", epoch=1, step=1, a=np.float32(0.5), b=math.nan, c=np.array(math.inf), d=[np.int64(2)], e="\u2028é"
    )
    (event,) = log.events()
    assert [event[k] for k in "abcde"] == [0.5, None, None, [2], "\u2028é"]
    assert not (tmp_path / "tb").exists()


def test_tensorboard_is_optional(tmp_path, monkeypatch):
    """Breaks when a missing tensorboard stops a run."""
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.compat.proto", None)
    log = MetricsLog(tmp_path)
    fill(log, epochs=1)
    assert len(list(log.events())) == 2
    assert not (tmp_path / "tb").exists()


def test_full_disk_leaves_no_part_of_a_line(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path, tensorboard=False)
    fill(log, epochs=1)
    before, write = (tmp_path / "metrics.jsonl").read_bytes(), os.write
    monkeypatch.setattr(module.os, "write", lambda handle, content: write(handle, content[:7]))
    with pytest.raises(WorkdirError, match=r"metrics\.jsonl: the disk or quota is full"):
        fill(log, epochs=1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(module.os, "open", refuse)
    with pytest.raises(WorkdirError, match="Read-only file system"):
        fill(log, epochs=1)


def test_plain_progress_speaks_at_most_every_five_seconds(monkeypatch):
    now, lines = [0.0], []
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    progress = Progress(lines.append, bars=Bars(Console(file=io.StringIO())))
    progress.start("fold 0 classifier", 120, 60)
    for _ in range(30):
        now[0] += 1.0
        progress.advance()
    assert len(lines) == 6
    # 60 were done before this session: 5 dispatches in 5 s leave 55 s, not 5 s.
    assert lines[0] == "fold 0 classifier: 54 %, at most 55 s left"
    progress.note("epoch 1")
    progress.finish()
    assert lines[-1] == "epoch 1"


def test_the_time_left_does_not_count_the_compiler(monkeypatch):
    """Broken if 20 s of compiling before the first of 100 quick steps read as half an hour left."""
    now, lines = [0.0], []
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    progress = Progress(lines.append, bars=Bars(Console(file=io.StringIO())))
    progress.start("fold 0 classifier", 100)
    for seconds in (20.0, 0.1, 0.1, 5.0):
        now[0] += seconds
        progress.advance()
    assert [line.split(", ")[1] for line in lines] == ["at most 10 s left", "at most 3 min left"]


def test_terminal_progress_is_a_bar_that_goes_away():
    lines, screen = [], io.StringIO()
    progress = Progress(lines.append, bars=Bars(Console(file=screen, force_terminal=True, width=100)))
    progress.start("fold 0", 10)
    progress.advance(10)
    progress.note("epoch 1")
    progress.finish()
    progress.finish()
    assert lines == ["epoch 1"]
    assert "10/10" in screen.getvalue()
    assert screen.getvalue().rfind("\x1b[?25h") > screen.getvalue().rfind("\x1b[?25l")  # the cursor is back


def test_a_silent_run_draws_no_bar_on_a_terminal():
    """`verbose=False` means nothing at all; breaks where the bar does not ask what the log shows."""
    screen = io.StringIO()
    progress = Progress(silent, bars=Bars(Console(file=screen, force_terminal=True, width=100)))
    progress.start("fold 0", 10)
    progress.advance(10)
    progress.finish()
    assert screen.getvalue() == ""


def plain(lines, monkeypatch, *, parts=1, **options):
    """A phase whose clock a test moves."""
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    log = RunLog(lines.append, verbose=False)
    return now, PhaseProgress("attention", parts, "validation loss", log, bars=Bars(Console(file=io.StringIO())), **options)


def test_a_phase_is_a_few_lines_with_a_time_left_that_holds(monkeypatch):
    """Five groups of 100 dispatches of a second, the first of which also waits 30 s: each estimate is within 1.5."""
    lines, said_at = [], []
    now, phase = plain(lines, monkeypatch, parts=5, at_most=False)
    for part in range(5):
        phase.start(part, 100)
        for step in range(100):
            now[0] += 31.0 if part == step == 0 else 1.0
            before = len(lines)
            phase.advance(part)
            said_at += [now[0]] * (len(lines) - before)
        phase.best(part, 1.0 + part)
        phase.end(part)
    phase.finish()
    assert [line.split(",")[0] for line in lines[:-1]] == [f"attention: {percent} %" for percent in (2, 10, 25, 50, 75)]
    for line, at in zip(lines[:-1], said_at, strict=True):
        number, unit = line.split(" left")[0].split("about ")[1].split()
        left = float(number) * {"s": 1, "min": 60}[unit]
        assert 1 / 1.5 < left / (now[0] - at) < 1.5
    assert lines[-1] == "attention: done in 9 min; best validation loss 3.0000 (mean of 5)"


def test_folds_yet_to_come_are_as_long_as_those_that_ended(monkeypatch):
    """Early stopping ended the first of two after 30 of 100 dispatches: what is left is about 30, not 100."""
    lines = []
    now, phase = plain(lines, monkeypatch, parts=2)
    phase.start(0, 100)
    for _ in range(30):
        now[0] += 10.0
        phase.advance(0)
    phase.end(0)
    assert lines[-1].startswith("attention: 50 %, at most 5 min left")


def test_what_a_session_before_has_done_is_no_speed(monkeypatch):
    lines = []
    now, phase = plain(lines, monkeypatch, at_most=False)
    phase.start(0, 100, 60)
    for _ in range(20):
        now[0] += 10.0
        phase.advance(0)
    assert lines[-1] == "attention: 75 %, about 4 min left"


def test_a_phase_that_takes_hours_says_once_what_would_make_it_shorter(monkeypatch):
    lines = []
    now, phase = plain(lines, monkeypatch, if_long="try less")
    phase.start(0, 10_000)
    for _ in range(2500):
        now[0] += 10.0
        phase.advance(0)
    assert lines[0] == "attention: 0 %, at most 27 h 45 min left"
    assert lines[1] == "try less"
    assert lines.count("try less") == 1


def test_a_phase_that_was_stopped_does_not_say_that_it_is_done(monkeypatch):
    lines = []
    _, phase = plain(lines, monkeypatch, parts=2)
    phase.start(0, 10)
    phase.end(0)
    phase.finish()
    assert lines == []


def test_details_are_for_who_asks():
    lines = []
    RunLog(lines.append, verbose=False).detail("a plan")
    RunLog.of(lines.append).detail("an epoch")  # a plain function is shown everything
    RunLog.of(RunLog(lines.append, verbose=False)).detail("a plan")
    assert lines == ["an epoch"]
