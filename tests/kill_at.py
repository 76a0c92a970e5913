"""Runs a command and kills itself (SIGKILL) at its n-th rename or sync: `kill_at.py N [reproduce] arguments...`.

Every durable write of a run ends in one of these calls, so walking N over all of them is killing it in every place where a
file could be torn: in a checkpoint, between folds, while photos are cached, while the summary is written. N = 0 never kills and
prints how many such calls there were. N@NAME counts from the call that names that file on: a whole run's calls vary with the
clock.
"""

import os
import signal
import sys

_calls = 0


def counted(function, limit: int, name: str):
    def run(*args, **kwargs):
        global _calls
        if _calls or not name or any(str(a).endswith(f"{os.sep}{name}") for a in args):
            _calls += 1
        if _calls == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return run


def run(place: str, arguments: list[str]) -> int:
    """The command's exit code, if it was not killed."""
    limit, _, of = place.partition("@")
    for name in ("rename", "replace", "fsync", "ftruncate"):
        setattr(os, name, counted(getattr(os, name), int(limit), of))
    from mmjax.cli.main import main

    code = main(arguments if arguments[0] == "reproduce" else ["train", "--no-report", *arguments])
    print(f"durable calls: {_calls}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
