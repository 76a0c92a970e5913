"""Concurrent jobs in threads of one process: how several folds share a CPU's cores.

XLA's programs run without Python's lock, so one thread a core keeps every core at work where one fold's program would leave
some idle between its small operations. Each fold computes what it computes alone, bit for bit.
"""

import os
import queue
import threading
from collections.abc import Callable, Sequence

from mmjax.errors import Interrupted

Job = Callable[[Callable[[], bool]], Callable[[], None] | None]
"""What a thread does; it asks its argument between dispatches whether to save and stop. It may return what is left to do."""

THREADS = "mmjax-"
"""All our threads' names begin so (see `compile.leave`)."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_concurrently(jobs: Sequence[Job], width: int, stop: Callable[[], bool], *, behind: bool = True) -> None:
    """Runs every job, `width` at a time, begun in order; after an error or a signal the others save and stop.

    Args:
      jobs: independent of each other.
      width: threads.
      stop: whether the run was asked to stop.
      behind: with one job at a time, what it leaves to do (its model is saved, its rows are predicted) is done while the next
        one runs.

    Raises:
      Exception: what the first job (in order) that failed raised.
      Interrupted: `stop` became true; whatever a job had done is saved.
    """
    if width == 1 or len(jobs) == 1:
        _one_by_one(jobs, stop, behind=behind)
    else:
        _in_threads(jobs, width, stop)


def _in_threads(jobs: Sequence[Job], width: int, stop: Callable[[], bool]) -> None:
    waiting: queue.SimpleQueue[tuple[int, Job]] = queue.SimpleQueue()
    for item in enumerate(jobs):
        waiting.put(item)
    failed, errors = threading.Event(), {}

    def asked() -> bool:
        return failed.is_set() or stop()

    def work() -> None:
        while not asked():
            try:
                number, job = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                if rest := job(asked):
                    rest()
            except Exception as error:
                errors[number] = error
                failed.set()

    # Daemons: a second Ctrl-C must not wait for them.
    threads = [threading.Thread(target=work, daemon=True, name=f"{THREADS}fold-{i}") for i in range(width)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise _first([errors[number] for number in sorted(errors)])
    if not waiting.empty():
        raise Interrupted("Stopped by a signal between two folds; what is finished is saved; the same command goes on.")


def _one_by_one(jobs: Sequence[Job], stop: Callable[[], bool], *, behind: bool) -> None:
    errors: list[Exception] = []
    thread = threading.Thread()

    def caught(rest: Callable[[], None]) -> None:
        try:
            rest()
        except Exception as error:
            errors.append(error)

    try:
        for job in jobs:
            rest = job(lambda: bool(errors) or stop())
            if thread.ident:
                thread.join()
            if errors:
                break
            if rest and behind:
                thread = threading.Thread(target=caught, args=(rest,), daemon=True, name=f"{THREADS}behind")
                thread.start()
            elif rest:
                rest()
    except Interrupted as error:
        errors.append(error)  # what was left to do may fail yet
    finally:
        if thread.ident:
            thread.join()
    if errors:
        raise _first(errors)


def _first(errors: Sequence[Exception]) -> Exception:
    """What to show: an error before an interruption, and of these one that saved something; else the first."""
    return min(errors, key=lambda e: (isinstance(e, Interrupted), not getattr(e, "saved", False)))
