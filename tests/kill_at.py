"""Runs a command and kills itself (SIGKILL) at its n-th rename or sync: `kill_at.py N [reproduce] arguments...`.

Every durable write of a run ends in one of these calls, so walking N over all of them is killing it in every place where a
file could be torn: in a checkpoint, between folds, while photos are cached, while the summary is written. N = 0 never kills and
prints how many such calls there were.
"""

import os
import signal
import sys

limit, arguments = int(sys.argv[1]), sys.argv[2:]
calls = 0


def counted(function):
    def run(*args, **kwargs):
        global calls
        calls += 1
        if calls == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return run


for name in ("rename", "replace", "fsync", "ftruncate"):
    setattr(os, name, counted(getattr(os, name)))

from mmjax.cli import main

code = main(arguments if arguments[0] == "reproduce" else ["train", *arguments])
print(f"durable calls: {calls}")
sys.exit(code)
