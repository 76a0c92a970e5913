"""Timing that two frameworks can share: warm up, take turns, wait for the device, keep medians and spreads.

Times of different runs are never compared: contenders take turns, round by round (A B A B); a ratio is formed within a round.
Measure on a quiet machine: PyTorch's threads wait for each other in busy loops, and another program at work slows it tenfold.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from benchmarks.machine import say

Run = Callable[[int], int]
"""Does that many repeats, waits for the device and returns how many steps they were."""


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
        contender.failed = reason(error)
        say(f"    {contender.name}: left out, {contender.failed}")


class WorkerError(RuntimeError):
    """A worker's failure in its own words: the reason, then the end of what it wrote."""


def reason(error: Exception) -> str:
    """One line."""
    said = str(error) if isinstance(error, WorkerError) else f"{type(error).__name__}: {error}"
    return said.strip().splitlines()[0][:200]


def ratio(ours: Entrant, theirs: Entrant) -> dict[str, float] | None:
    """How many times faster ours is, formed within each round; None where one could not run."""
    if ours.failed or theirs.failed:
        return None
    return spread([b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True)])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
