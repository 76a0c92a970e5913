"""Kills runs and compares what is left with an uninterrupted run, byte for byte."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests import forked as forking

ROOT = Path(__file__).parents[1]

TINY = [
    "--config.data.synthetic_rows=160",
    "--config.cv.folds=2",
    "--config.train.max_epochs=3",
    "--config.train.autoencoder_max_epochs=2",
    "--config.train.steps_per_dispatch=2",
    "--config.train.checkpoint_seconds=0.0",
    "--config.train.devices=1",
    "--config.model.autoencoder.hidden=16",
    "--config.model.autoencoder.code=4",
    "--config.model.image.layers=(1,)",
    "--config.model.image.growth=4",
    "--config.model.image.stem=8",
    "--config.model.text.maps=8",
    "--config.model.text.widths=(3,)",
    "--config.model.text.embed_dim=16",
]
"""A run of seconds that saves at every dispatch."""

VMAP = [*TINY, "--config.train.fold_parallel=vmap", "--config.model.modalities=('tabular','text')"]
"""The same with both folds in one batched program."""

SEQUENTIAL = [*TINY, "--config.train.fold_parallel=sequential"]
"""The same, one fold after the other: each is saved while the next one trains."""


def environment(compiled: Path) -> dict[str, str]:
    """The test's own, with a compilation cache shared by all runs so that a restart costs seconds."""
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "",
        "PYTHONPATH": str(ROOT),
    }


def digest(workdir: Path) -> dict[str, str]:
    """What must be equal: predictions, summary, folds, every fold's encoders, modules and numbers, metrics without time."""
    names = [workdir / n for n in ("predictions.csv", "summary.json", "folds.csv", "data_report.json")]
    # The report names files of the data, which lie in a run's cache: another run's may be elsewhere.
    read = {f.name: re.sub(rb'"/[^"]*/cache/', b'"', f.read_bytes()) for f in names}
    prints = {name: hashlib.sha256(content).hexdigest() for name, content in read.items()}
    for file in sorted(workdir.glob("fold_*/*.*")):
        prints[str(file.relative_to(workdir))] = hashlib.sha256(file.read_bytes()).hexdigest()
    for name, leaf in leaves(workdir).items():
        prints[name] = hashlib.sha256(leaf).hexdigest()
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    prints["metrics.jsonl"] = json.dumps([{k: v for k, v in line.items() if k != "time"} for line in lines])
    return prints


def differing(expected: dict[str, str], workdir: Path) -> list[str]:
    """Names of what is not as in an uninterrupted run."""
    found = digest(workdir)
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def leaves(workdir: Path) -> dict[str, bytes]:
    """Every parameter and BatchNorm statistic of every fold, bit for bit."""
    import jax

    from mmjax.inference import Ensemble

    named = {}
    for member in Ensemble.load(workdir).members:
        for path, leaf in jax.tree_util.tree_leaves_with_path(member.parameters):
            named[f"{member.number}{jax.tree_util.keystr(path)}"] = memoryview(jax.device_get(leaf)).tobytes()
    return named


def forked(options: list[str], workdir: Path, compiled: Path, place: int | str = 0, command: Sequence[str] = ()) -> int:
    """Runs to the end, or to a `place` of its durable calls (see kill_at.py); the exit code, -9 where it was killed."""
    process = forking.start([*(command or ["--verbose"]), f"--workdir={workdir}", *options], compiled, output(workdir), place)
    process.join(600)
    assert process.exitcode in ((0, -signal.SIGKILL) if place else (0,)), output(workdir).read_text()
    return process.exitcode


def kill_at_random(
    workdir: Path, options: list[str], compiled: Path, kills: int, rng: random.Random, seconds: float
) -> Counter[str]:
    """Starts the same command again and again, killing it at a random moment, until it has ended.

    Args:
      workdir: of the run.
      options: of the command.
      compiled: compilation cache.
      kills: after so many it is left to end.
      rng: draws the moments: any of `seconds`, or, as often, just after one of its first lines, where most files are written.
      seconds: an uninterrupted run takes.

    Returns:
      How often it was killed, by what it was doing.
    """
    killed, out = Counter(), output(workdir)
    while killed.total() < kills:
        process = forking.start([f"--workdir={workdir}", *options], compiled, out)
        if rng.random() < 0.5:
            process.join(rng.uniform(0.0, seconds))
        else:
            _join_line(process, out, rng.randint(1, 12))
            process.join(rng.uniform(0.0, 0.4))
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        if process.exitcode == 0:
            return killed
        assert process.exitcode == -signal.SIGKILL, out.read_text()
        killed[_doing(workdir, out)] += 1
    forked(options, workdir, compiled)
    return killed


def output(workdir: Path) -> Path:
    """What the run in that folder printed last."""
    workdir.parent.mkdir(parents=True, exist_ok=True)
    return workdir.with_name(f"{workdir.name}.out")


def _join_line(process: BaseProcess, out: Path, line: int) -> None:
    """Waits until the output has so many lines, or the process has ended."""
    while process.exitcode is None and not (out.exists() and out.read_bytes().count(b"\n") >= line):
        process.join(0.02)


def _doing(workdir: Path, out: Path) -> str:
    """What a killed run was at, by what it left."""
    done = len(list(workdir.glob("fold_*/done.json")))
    last = (out.read_text().splitlines() if out.exists() else [""])[-1:]
    if last in ([], [""]):
        return "start-up"
    if any(workdir.parent.glob("cache/images-*.partial")):
        return "photos"
    if any(workdir.rglob("*.tmp")) or any(workdir.rglob("*.old")):
        return "a checkpoint"
    if (workdir / "predictions.csv").exists():
        return "the report"
    return "between folds" if done else "training"


def record(test: str, **counts: object) -> None:
    """Prints an outcome, and appends it as a line of JSON to the file that MMJAX_FAULTS_LOG names."""
    line = json.dumps({"test": test, "date": time.strftime("%Y-%m-%d"), **counts})
    print(line, flush=True)
    if log := os.environ.get("MMJAX_FAULTS_LOG"):
        with Path(log).open("a") as handle:
            handle.write(f"{line}\n")


def terminate_after(workdir: Path, options: list[str], compiled: Path, wait_for: str, number: int) -> tuple[int, float, str]:
    """Sends a signal to `train.py` once a line holds `wait_for`; exit code, seconds until it ended, output."""
    command = [sys.executable, "-u", "train.py", "--verbose", "--no-report", f"--workdir={workdir}", *options]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, env=environment(compiled), start_new_session=True, **pipes)
    seen = []
    assert process.stdout is not None
    for line in process.stdout:
        seen.append(line)
        if wait_for in line:
            break
    sent = time.monotonic()
    process.send_signal(number)
    rest, _ = process.communicate(timeout=120)
    return process.returncode, time.monotonic() - sent, "".join(seen) + rest
