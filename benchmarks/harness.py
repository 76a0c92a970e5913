"""Timing that two frameworks can share: warm up, take turns, wait for the device, keep medians and spreads, write JSON.

Times of different runs are never compared: contenders take turns, round by round (A B A B); a ratio is formed within a round.
Each may live in a process of its own (`Apart`), which sleeps while the others take their turns.
Measure on a quiet machine: PyTorch's threads wait for each other in busy loops, and another program at work slows it tenfold.
"""

import argparse
import gc
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks.machine import facts, memory, say, use_cores

Run = Callable[[int], int]
"""Does that many repeats, waits for the device and returns how many steps they were."""
PAUSE = 0.3
"""Seconds between turns of processes: threads of the one that is done still wait in busy loops for a while."""


@dataclass
class Entrant:
    """What takes turns with others: a `Contender` in this process, or one `Apart`.

    Attributes:
      name: in the results.
      optional: a failure is recorded as the reason instead of ending the benchmark.
      compile_seconds: time to the first usable step, apart from building the model.
      seconds: of one step, by round.
      failed: why it could not run.
      found: facts of its preparation.
      memory: its process's peaks, see `machine.memory`; empty where it shares this process.
    """

    name: str
    _: KW_ONLY
    optional: bool = False
    compile_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)
    failed: str = ""
    found: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    def warm(self, seconds: float) -> int:
        """Prepares, notes what compilation took and returns how many repeats take about so long."""
        raise NotImplementedError

    def measure(self, repeats: int) -> float:
        """One turn: seconds of a step."""
        raise NotImplementedError

    def close(self) -> None:
        """Gives back what it holds; its results stay."""

    def to_dict(self) -> dict[str, Any]:
        """Results for JSON."""
        if self.failed:
            return {"failed": self.failed}
        return {"compile_s": self.compile_seconds, "step_s": spread(self.seconds), "rounds_s": self.seconds} | self.memory


@dataclass
class Contender(Entrant):
    """One way to do the work.

    Attributes:
      prepare: builds and compiles; returns the run and seconds of compilation, None where nothing is compiled ahead (the first
        run's extra time then counts as compilation).
    """

    prepare: Callable[[], tuple[Run, float | None]]
    _run: Run | None = field(default=None, init=False, repr=False)

    def warm(self, seconds: float) -> int:
        """As `Entrant.warm`."""
        self._run, compiled = self.prepare()
        first, steady = self._time(1)[0], self._time(1)[0]
        self.compile_seconds = max(0.0, first - steady) if compiled is None else compiled
        gc.collect()
        return max(1, round(seconds / max(steady, 1e-6)))

    def measure(self, repeats: int) -> float:
        """As `Entrant.measure`."""
        seconds, steps = self._time(repeats)
        return seconds / steps

    def close(self) -> None:
        """Forgets the run."""
        self._run = None

    def _time(self, repeats: int) -> tuple[float, int]:
        assert self._run is not None
        start = time.perf_counter()
        steps = self._run(repeats)
        return time.perf_counter() - start, steps


class WorkerError(RuntimeError):
    """A worker's failure in its own words: the reason, then the end of what it wrote."""


@dataclass
class Apart(Entrant):
    """A contender in a process of its own, which lives from `warm` to `close` and answers a line of JSON with a line (`serve`).

    What a framework does to its process (malloc's options, its threads) then stays its own.

    Attributes:
      command: starts the worker; see `worker_command`.
      patience: seconds after which it is left out if it is not ready, counted from its making, so that a case's contenders
        share them; 0: any.
    """

    command: list[str]
    patience: float = 0.0
    _made: float = field(default_factory=time.monotonic, init=False, repr=False)
    _process: subprocess.Popen[str] | None = field(default=None, init=False, repr=False)
    _said: IO[bytes] = field(default_factory=tempfile.TemporaryFile, init=False, repr=False)

    def warm(self, seconds: float) -> int:
        """As `Entrant.warm`; starts the process."""
        # A file takes what it says: a pipe that nobody reads would fill up.
        self._process = subprocess.Popen(
            self.command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
        )
        with _killed_at(self._made + self.patience if self.patience else None, self._process):
            answer = self._ask({"prepare": seconds})
        self.compile_seconds = answer["compile_s"]
        self.found.update(answer["found"])
        return answer["repeats"]

    def measure(self, repeats: int) -> float:
        """As `Entrant.measure`, timed by the worker."""
        return self._ask({"run": repeats})["step_s"]

    def close(self) -> None:
        """Ends the process: it reads the end of its requests, or is killed."""
        self._said.close()
        if self._process is None:
            return
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process
        assert self._process.stdin
        assert self._process.stdout
        line = ""
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"failed": self._end()}
        if "failed" in answer:
            self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - 4000))
            said = self._said.read().decode(errors="replace").strip()
            self.close()
            why = answer["failed"] if line or not said else f"{answer['failed']}: {said.splitlines()[-1]}"
            raise WorkerError(f"{why}\n{said}")
        self.memory = answer["memory"]
        time.sleep(PAUSE)
        return answer

    def _end(self) -> str:
        """Why there was no answer."""
        assert self._process
        code, late = self._process.wait(), 0 < self.patience <= time.monotonic() - self._made
        return f"not ready in {self.patience:.0f} s" if late and code == -signal.SIGKILL else f"its process ended with {code}"


@contextmanager
def _killed_at(end: float | None, process: subprocess.Popen[str]) -> Iterator[None]:
    """Ends a process that is not done by a time of `time.monotonic`; None: never."""
    timer = threading.Timer(0 if end is None else max(0.0, end - time.monotonic()), process.kill)
    if end is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def serve(contender: Contender, answers: IO[str]) -> None:
    """The worker's side of `Apart`: answers requests until their end.

    `{"prepare": seconds}` gets compile_s, repeats and found; `{"run": repeats}` gets step_s; a failure gets failed, the reason.
    Each also gets memory, the peaks so far.
    """
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "prepare" in request:
                repeats = contender.warm(request["prepare"])
                answer = {"compile_s": contender.compile_seconds, "repeats": repeats, "found": contender.found}
            else:
                answer = {"step_s": contender.measure(request["run"])}
        except Exception as error:
            traceback.print_exc()
            answer = {"failed": _reason(error)}
        answer["memory"] = memory()
        print(json.dumps(answer, default=str), file=answers, flush=True)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def interleave(contenders: Sequence[Entrant], *, rounds: int, seconds: float) -> None:
    """Times the contenders in turns; fills in their results and closes them.

    Args:
      contenders: first to last within a round.
      rounds: how often each is measured.
      seconds: a measurement takes at least one run, and about this long.
    """
    ready: list[tuple[Entrant, int]] = []
    try:
        for contender in contenders:
            with _allowed_to_fail(contender):
                ready.append((contender, contender.warm(seconds)))
        for _ in range(rounds):
            for contender, repeats in ready:
                if not contender.failed:
                    with _allowed_to_fail(contender):
                        contender.seconds.append(contender.measure(repeats))
    finally:
        for contender in contenders:
            contender.close()


@contextmanager
def _allowed_to_fail(contender: Entrant) -> Iterator[None]:
    """Notes an optional contender's failure: no compiler, no memory beside the others."""
    try:
        yield
    except Exception as error:
        if not contender.optional:
            raise
        contender.failed = _reason(error)
        say(f"    {contender.name}: left out, {contender.failed}")


def _reason(error: Exception) -> str:
    """One line."""
    said = str(error) if isinstance(error, WorkerError) else f"{type(error).__name__}: {error}"
    return said.strip().splitlines()[0][:200]


def ratio(ours: Entrant, theirs: Entrant) -> dict[str, float] | None:
    """How many times faster ours is, formed within each round; None where one could not run."""
    if ours.failed or theirs.failed:
        return None
    return spread([b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True)])


def arguments(description: str, name: str) -> argparse.ArgumentParser:
    """The options all scripts share; `name` is the script's."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder for the JSON file")
    parser.add_argument(
        "--name", default=name, help="of the JSON file; the report reads those that begin with the script's name"
    )
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each contender")
    parser.add_argument("--minutes", type=float, default=0.0, help="start no further case after this long; 0: no limit")
    parser.add_argument("--threads", type=int, default=0, help="cores for both frameworks; 0: all")
    parser.add_argument("--no-torch", action="store_true", help="measure ours alone")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    return parser


class Report:
    """The JSON file of one script: rewritten after every case, so that a run cut short leaves what it has."""

    def __init__(self, options: argparse.Namespace, name: str):
        self.options, self.path = options, options.out / f"{options.name}.json"
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
        whole = self.path.with_suffix(".tmp")  # a script may be ended while it writes
        whole.write_text(json.dumps(self.content, indent=1, default=str) + "\n", encoding="utf-8")
        whole.replace(self.path)


Cases = Callable[[Report], Iterator[tuple[str, Callable[[], dict[str, Any]]]]]
"""Yields the cases' names and what measures them; may add to the report's content first."""


def run_cases(
    options: argparse.Namespace,
    name: str,
    cases: Cases,
    work: Callable[[dict[str, Any]], dict[str, Any] | Contender] | None = None,
) -> None:
    """What every script does: measures its cases one by one and writes their JSON; a process it started does one job.

    Args:
      options: see `arguments`.
      name: of the script.
      cases: in order; those for which the time of --minutes is used up are named as left out.
      work: does a job of `run_apart`, or makes the contender of an `Apart`.

    Raises:
      SystemExit: a case failed; the others were measured all the same.
    """
    use_cores(options.threads)
    if options.worker:
        assert work is not None
        with os.fdopen(os.dup(1), "w") as answers:
            os.dup2(2, 1)  # what libraries and compilers print is no answer
            done = work(json.loads(options.worker))
            if isinstance(done, Contender):
                serve(done, answers)
            else:
                print(json.dumps(done), file=answers)
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


def worker_command(name: str, job: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """Starts a process of a script for a job."""
    return [sys.executable, "-m", f"benchmarks.{name}", "--threads", str(options.threads), "--worker", json.dumps(job)]


def run_apart(name: str, job: dict[str, Any], options: argparse.Namespace, env: dict[str, str] | None = None) -> dict[str, Any]:
    """What `work` of a script returns for a job, in a process of its own with more environment variables.

    Raises:
      RuntimeError: the process failed; the end of what it wrote.
    """
    command = worker_command(name, job, options)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | (env or {}))
    if done.returncode:
        raise RuntimeError(f"{job} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])
