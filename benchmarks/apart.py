"""Contenders in processes of their own (`Apart`), which sleep while the others take their turns; and jobs (`run_apart`)."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any

from benchmarks.contenders import Contender, Entrant, WorkerError, reason
from benchmarks.machine import memory

PAUSE = 0.3
"""Seconds between turns of processes: threads of the one that is done still wait in busy loops for a while."""


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
            answer = {"failed": reason(error)}
        answer["memory"] = memory()
        print(json.dumps(answer, default=str), file=answers, flush=True)


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
