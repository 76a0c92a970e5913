"""Jobs side by side in threads of one process: how several folds share a CPU's cores.

XLA's programs run without Python's lock, so one thread a core keeps every core at work where one fold's program would leave
some idle between its small operations. Each fold computes what it computes alone, bit for bit.
"""

import os
import queue
import threading
from collections.abc import Callable, Sequence

from mmjax.errors import Interrupted

Job = Callable[[Callable[[], bool]], None]
"""What a thread does; it asks its argument between dispatches whether to save and stop."""

THREADS = "mmjax-"
"""All our threads' names begin so (see `ahead.leave`)."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_beside(jobs: Sequence[Job], width: int, stop: Callable[[], bool]) -> None:
    """Runs every job, `width` at a time, begun in order; after an error or a signal the others save and stop.

    Args:
      jobs: independent of each other.
      width: threads.
      stop: whether the run was asked to stop.

    Raises:
      Exception: what the first job (in order) that failed raised.
      Interrupted: `stop` became true; whatever a job had done is saved.
    """
    if width == 1 or len(jobs) == 1:
        for job in jobs:
            job(stop)
        return
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
                job(asked)
            except Exception as error:
                errors[number] = error
                failed.set()

    # Daemons: a second Ctrl-C must not wait for them.
    threads = [threading.Thread(target=work, daemon=True, name=f"{THREADS}fold-{i}") for i in range(width)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in sorted(errors, key=lambda n: (isinstance(errors[n], Interrupted), n)):
        raise errors[number]
    if not waiting.empty():
        raise Interrupted("Stopped by a signal between two folds; what is finished is saved; the same command goes on.")
