"""Kills runs and compares what is left with an uninterrupted run, byte for byte."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

TINY = [
    "--config.data.planted_rows=160",
    "--config.cv.folds=2",
    "--config.train.max_epochs=3",
    "--config.train.autoencoder_max_epochs=2",
    "--config.train.steps_per_dispatch=2",
    "--config.train.checkpoint_seconds=0.0",
    "--config.train.devices=1",
    "--config.model.autoencoder.hidden=16",
    "--config.model.autoencoder.code=4",
    "--config.model.image.layers=(1,1)",
]
"""A run of seconds that saves at every dispatch."""


def environment(compiled: Path) -> dict[str, str]:
    """The test's own, with a compilation cache shared by all runs so that a restart costs seconds."""
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "",
        "PYTHONPATH": str(ROOT),
    }


def start(script: list[str], workdir: Path, options: list[str], compiled: Path) -> subprocess.Popen:
    """A training process in a group of its own."""
    command = [sys.executable, *script, f"--workdir={workdir}", *options]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(compiled),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(script: list[str], workdir: Path, options: list[str], compiled: Path) -> str:
    """Runs to the end; the output."""
    process = start(script, workdir, options, compiled)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    return out


def digest(workdir: Path) -> dict[str, str]:
    """What must be equal: predictions, summary, folds, every fold's encoders, modules and numbers, metrics without time."""
    names = [workdir / n for n in ("predictions.csv", "summary.json", "folds.csv", "data_report.json")]
    prints = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in names}
    for file in sorted(workdir.glob("fold_*/*.*")):
        prints[str(file.relative_to(workdir))] = hashlib.sha256(file.read_bytes()).hexdigest()
    for name, leaf in leaves(workdir).items():
        prints[name] = hashlib.sha256(leaf).hexdigest()
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    prints["metrics.jsonl"] = json.dumps([{k: v for k, v in line.items() if k != "time"} for line in lines])
    return prints


def leaves(workdir: Path) -> dict[str, bytes]:
    """Every parameter and BatchNorm statistic of every fold, bit for bit."""
    import jax

    from mmjax.ensemble import Ensemble

    named = {}
    for member in Ensemble.load(workdir).members:
        for path, leaf in jax.tree_util.tree_leaves_with_path(member.modules):
            named[f"{member.number}{jax.tree_util.keystr(path)}"] = memoryview(jax.device_get(leaf)).tobytes()
    return named


def kill_at_random(workdir: Path, options: list[str], compiled: Path, kills: int, seed: int, longest: float) -> int:
    """Starts the same command again and again, killing it after a random time, until it has been killed `kills` times or ends.

    Returns:
      How often it was killed while still running.
    """
    rng, killed = random.Random(seed), 0
    while killed < kills:
        process = start(["train.py"], workdir, options, compiled)
        try:
            process.wait(timeout=rng.uniform(0.0, longest))
            out = process.communicate()[0]
            assert process.returncode == 0, out
            return killed
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            killed += 1
    return killed


def terminate_after(workdir: Path, options: list[str], compiled: Path, wait_for: str, number: int) -> tuple[int, float, str]:
    """Sends a signal once a line holds `wait_for`; exit code, seconds until it ended, output."""
    process = start(["-u", "train.py"], workdir, options, compiled)
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
