"""What every script is made of: its options, its JSON file, and the cases it measures one by one."""

import argparse
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.apart import serve
from benchmarks.contenders import Contender
from benchmarks.machine import facts, say, use_cores


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
