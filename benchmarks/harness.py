"""Timing that two frameworks can share: warm up, take turns, wait for the device, keep medians and spreads, write JSON.

Times of different runs are never compared: contenders take turns, round by round (A B A B); a ratio is formed within a round.
Measure on a quiet machine: PyTorch's threads wait for each other in busy loops, and another program at work slows it tenfold.
"""

import argparse
import gc
import importlib.util
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Run = Callable[[int], int]
"""Does that many repeats, waits for the device and returns how many steps they were."""


def cores() -> int:
    """Cores this process may use; both frameworks are given all of them."""
    return len(os.sched_getaffinity(0))


def use_cores(count: int) -> None:
    """Leaves this process (and both frameworks, if not started yet) `count` cores; 0: all."""
    if count:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def busy_cores() -> float:
    """How many cores other programs keep busy just now, looked at for half a second."""

    def read() -> tuple[float, float]:
        values = [float(v) for v in Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:]]
        return sum(values), values[3] + values[4]

    if not Path("/proc/stat").exists():
        return 0.0
    before = read()
    time.sleep(0.5)
    after = read()
    total = max(after[0] - before[0], 1.0)
    return (os.cpu_count() or 1) * (1.0 - (after[1] - before[1]) / total)


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)


def facts() -> dict[str, Any]:
    """Machine, versions, commit, date, load and arguments."""
    from mmjax.train.environment import environment  # noqa: PLC0415 - starts jax, which a worker may still have to configure

    known = environment() | {"argv": sys.argv[1:]}
    known["cores"] = cores()
    known["processor"] = _processor()
    known["busy_cores_before"] = busy_cores()
    if known["busy_cores_before"] > 0.3:
        say(f"WARNING: other programs keep {known['busy_cores_before']:.1f} cores busy; these numbers will mean little.")
    if importlib.util.find_spec("torch"):
        import torch  # noqa: PLC0415

        known["versions"]["torch"] = torch.__version__
        known["torch_threads"] = torch.get_num_threads()
    return known


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would start at the memory of the process that started this one
        line = next(v for v in status.read_text(encoding="utf-8").splitlines() if v.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


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
    return parser


class Report:
    """The JSON file of one script: rewritten after every case, so that a run cut short leaves what it has."""

    def __init__(self, options: argparse.Namespace, name: str):
        use_cores(options.threads)
        self.path = options.out / f"{name}.json"
        self.start, self.limit = time.monotonic(), options.minutes * 60
        shown = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
        self.content: dict[str, Any] = {"benchmark": name, "facts": facts(), "options": shown, "cases": {}, "left_out": []}

    @property
    def in_time(self) -> bool:
        """Whether a further case may start."""
        return not self.limit or time.monotonic() - self.start < self.limit

    def add(self, case: str, result: dict[str, Any]) -> None:
        """Adds a case and writes the file."""
        self.content["cases"][case] = result
        self.write()

    def leave_out(self, case: str) -> None:
        """Notes a case for which there was no time."""
        self.content["left_out"].append(case)
        say(f"  {case}: left out, the time of --minutes is used up")
        self.write()

    def write(self) -> None:
        """Writes the file."""
        self.content["seconds"] = time.monotonic() - self.start
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.content, indent=1, default=str) + "\n", encoding="utf-8")
