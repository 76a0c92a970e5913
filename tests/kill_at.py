"""Runs a command and kills itself (SIGKILL) at its n-th rename or sync: `kill_at.py N [reproduce] arguments...`.

Every durable write of a run ends in one of these calls, so walking N over all of them is killing it in every place where a
file could be torn: in a checkpoint, between folds, while photos are cached, while the summary is written. N = 0 never kills and
prints how many such calls there were.
"""

import os
import signal
import sys

_calls = 0


def counted(function, limit: int):
    def run(*args, **kwargs):
        global _calls
        _calls += 1
        if _calls == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return run


def run(limit: int, arguments: list[str]) -> int:
    """The command's exit code, if it was not killed."""
    for name in ("rename", "replace", "fsync", "ftruncate"):
        setattr(os, name, counted(getattr(os, name), limit))
    from mmjax.cli import main

    code = main(arguments if arguments[0] == "reproduce" else ["train", *arguments])
    print(f"durable calls: {_calls}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), sys.argv[2:]))
