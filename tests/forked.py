"""Runs forked from a process that has imported everything, so that a start costs a second instead of five.

Each is a process of its own with its own jax, started like a command and killed like one; only the imports are shared.
"""

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests import kill_at

ROOT = Path(__file__).parents[1]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.preloaded"])


def start(arguments: list[str], compiled: Path, out: Path, limit: int = 0) -> BaseProcess:
    """A training run in a group of its own, its output in the file `out`; killed at its `limit`-th durable call."""
    process = CONTEXT.Process(target=_run, args=(arguments, compiled, out, limit))
    process.start()
    return process


def _run(arguments: list[str], compiled: Path, out: Path, limit: int) -> None:
    os.setsid()
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.chdir(ROOT)
    # XLA reads its flags when the first device is asked for, which is in this process.
    os.environ.update(JAX_COMPILATION_CACHE_DIR=str(compiled), XLA_FLAGS="")
    import jax

    jax.config.update("jax_compilation_cache_dir", str(compiled))
    sys.exit(kill_at.run(str(limit), arguments))
