"""SIGTERM and SIGINT, turned into a question the loop asks between dispatches, and answered for it where it asks too late."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmjax.errors import Interrupted

PATIENCE = 6.0
"""Seconds the loop has to notice a signal: a scheduler that sends SIGTERM kills soon after."""


@contextmanager
def stop_requests(where: str | Path = "the workdir") -> Iterator[Callable[[], bool]]:
    """SIGTERM and SIGINT ask the loop to save and stop; a second SIGINT ends at once.

    While photos are read, rows are predicted, or XLA compiles and no Python runs, nobody asks. The process then ends by itself
    after `PATIENCE` seconds, from a thread: whatever is on the disk is whole at every moment, as after a SIGKILL, and goes on
    from there.

    Args:
      where: what the message names.
    """
    asked: list[threading.Timer] = []

    def ask(number: int, frame: Any) -> None:
        del frame
        if not asked:
            asked.append(threading.Timer(PATIENCE, _leave, (where,)))
            asked[0].daemon = True
            asked[0].start()
        elif number == signal.SIGINT:
            raise Interrupted(f"Stopped by a second signal; {_kept(where)}")

    def stop() -> bool:
        for timer in asked:
            timer.cancel()  # the loop has noticed and saves now, however long that takes
        return bool(asked)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def _kept(where: str | Path) -> str:
    return f"what was saved before is in {where}; the same command goes on from there."


def _leave(where: str | Path) -> None:
    show_cursor = "\x1b[?25h" if sys.stdout.isatty() else ""
    message = (
        f"{show_cursor}mmjax: Stopped by a signal while data were read, a program compiled or rows predicted; {_kept(where)}\n"
    )
    os.write(2, message.encode())  # not print: the main thread may hold its lock
    os._exit(Interrupted.exit_code)
