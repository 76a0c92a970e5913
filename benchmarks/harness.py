"""Timing that two frameworks can share: warm up, take turns, wait for the device, keep medians and spreads, write JSON.

Times of different runs are never compared: contenders take turns, round by round (A B A B); a ratio is formed within a round.
Measure on a quiet machine: PyTorch's threads wait for each other in busy loops, and another program at work slows it tenfold.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import facts, say, use_cores

Run = Callable[[int], int]
"""Does that many repeats, waits for the device and returns how many steps they were."""


@dataclass
class Contender:
    """One way to do the work.

    Attributes:
      name: in the results.
      prepare: builds and compiles; returns the run and seconds of compilation, None where nothing is compiled ahead (the first
        run's extra time then counts as compilation).
      optional: a failure is recorded as the reason instead of ending the benchmark.
      compile_seconds: time to the first usable step, apart from building the model.
      seconds: of one step, by round.
      failed: why it could not run.
    """

    name: str
    prepare: Callable[[], tuple[Run, float | None]]
    optional: bool = False
    compile_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)
    failed: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Results for JSON."""
        if self.failed:
            return {"failed": self.failed}
        return {"compile_s": self.compile_seconds, "step_s": spread(self.seconds), "rounds_s": self.seconds}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def interleave(contenders: Sequence[Contender], *, rounds: int, seconds: float) -> None:
    """Times the contenders in turns; fills in their results.

    Args:
      contenders: first to last within a round.
      rounds: how often each is measured.
      seconds: a measurement takes at least one run, and about this long.
    """
    ready: list[tuple[Contender, Run, int]] = []
    for contender in contenders:
        with _allowed_to_fail(contender):
            ready.append((contender, *_warm(contender, seconds)))
    gc.collect()
    for _ in range(rounds):
        for contender, run, repeats in ready:
            if not contender.failed:
                with _allowed_to_fail(contender):
                    contender.seconds.append(_time(run, repeats))


@contextmanager
def _allowed_to_fail(contender: Contender) -> Iterator[None]:
    """Notes an optional contender's failure: no compiler, no memory beside the others."""
    try:
        yield
    except Exception as error:
        if not contender.optional:
            raise
        contender.failed = f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]
        say(f"    {contender.name}: left out, {contender.failed}")


def _warm(contender: Contender, seconds: float) -> tuple[Run, int]:
    run, compiled = contender.prepare()
    first = _seconds(run, 1)
    steady = _seconds(run, 1)
    contender.compile_seconds = max(0.0, first - steady) if compiled is None else compiled
    return run, max(1, round(seconds / max(steady, 1e-6)))


def _seconds(run: Run, repeats: int) -> float:
    start = time.perf_counter()
    run(repeats)
    return time.perf_counter() - start


def _time(run: Run, repeats: int) -> float:
    start = time.perf_counter()
    steps = run(repeats)
    return (time.perf_counter() - start) / steps


def ratio(ours: Contender, theirs: Contender) -> dict[str, float] | None:
    """How many times faster ours is, formed within each round; None where one could not run."""
    if ours.failed or theirs.failed:
        return None
    return spread([b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True)])


def arguments(description: str, name: str) -> argparse.ArgumentParser:
    """The options all scripts share; `name` is the JSON file's."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help=f"folder for {name}.json")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each contender")
    parser.add_argument("--minutes", type=float, default=0.0, help="start no further case after this long; 0: no limit")
    parser.add_argument("--threads", type=int, default=0, help="cores for both frameworks; 0: all")
    parser.add_argument("--no-torch", action="store_true", help="measure ours alone")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    return parser


class Report:
    """The JSON file of one script: rewritten after every case, so that a run cut short leaves what it has."""

    def __init__(self, options: argparse.Namespace, name: str):
        self.options, self.path = options, options.out / f"{name}.json"
        self.start, self.limit = time.monotonic(), options.minutes * 60
        shown = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items() if k != "worker"}
        self.content: dict[str, Any] = {"benchmark": name, "facts": facts(), "options": shown}
        self.content |= {"cases": {}, "left_out": [], "failed": {}}

    @property
    def in_time(self) -> bool:
        """Whether a further case may start."""
        return not self.limit or time.monotonic() - self.start < self.limit

    def write(self) -> None:
        """Writes the file."""
        self.content["seconds"] = time.monotonic() - self.start
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.content, indent=1, default=str) + "\n", encoding="utf-8")


Cases = Callable[[Report], Iterator[tuple[str, Callable[[], dict[str, Any]]]]]
"""Yields the cases' names and what measures them; may add to the report's content first."""


def run_cases(
    options: argparse.Namespace, name: str, cases: Cases, work: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> None:
    """What every script does: measures its cases one by one and writes their JSON; a process it started does one job.

    Args:
      options: see `arguments`.
      name: of the script and its JSON file.
      cases: in order; those for which the time of --minutes is used up are named as left out.
      work: does a job of `run_apart`.

    Raises:
      SystemExit: a case failed; the others were measured all the same.
    """
    use_cores(options.threads)
    if options.worker:
        assert work is not None
        print(json.dumps(work(json.loads(options.worker))), flush=True)
        return
    report = Report(options, name)
    for label, measure in cases(report):
        if not report.in_time:
            report.content["left_out"].append(label)
            say(f"  {label}: left out, the time of --minutes is used up")
            continue
        try:
            report.content["cases"][label] = measure()
        except Exception as error:
            report.content["failed"][label] = f"{type(error).__name__}: {error}".strip()[-500:]
            traceback.print_exc()
        report.write()
    report.write()
    say(f"{report.path}")
    if report.content["failed"]:
        raise SystemExit(1)


def run_apart(name: str, job: dict[str, Any], options: argparse.Namespace, env: dict[str, str] | None = None) -> dict[str, Any]:
    """What `work` of a script returns for a job, in a process of its own with more environment variables.

    Raises:
      RuntimeError: the process failed; the end of what it wrote.
    """
    command = [sys.executable, "-m", f"benchmarks.{name}", "--threads", str(options.threads), "--worker", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | (env or {}))
    if done.returncode:
        raise RuntimeError(f"{job} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])
