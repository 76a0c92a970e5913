"""Runs forked from a process that has imported everything, so that a start costs a second instead of five.

Each is a process of its own with its own jax, started like a command and killed like one; only the imports are shared.
"""

import atexit
import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType

from tests import kill_at

ROOT = Path(__file__).parents[1]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.preloaded"])
NOTHING: Mapping[str, str] = MappingProxyType({})


def start(
    arguments: list[str], compiled: Path, out: Path, place: int | str = 0, environment: Mapping[str, str] = NOTHING
) -> BaseProcess:
    """A run in a group of its own, its output in the file `out`; killed at a `place` of its durable calls (see kill_at.py)."""
    process = CONTEXT.Process(target=_run, args=(arguments, compiled, out, str(place), dict(environment)))
    process.start()
    return process


def _run(arguments: list[str], compiled: Path, out: Path, place: str, environment: dict[str, str]) -> None:
    os.setsid()
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.chdir(ROOT)
    # XLA reads its flags when the first device is asked for, which is in this process.
    os.environ.update({"JAX_COMPILATION_CACHE_DIR": str(compiled), "XLA_FLAGS": ""} | environment)
    import jax

    from mmjax.train.execution.compile import leave

    jax.config.update("jax_compilation_cache_dir", str(compiled))
    code = leave(kill_at.run(place, arguments))
    atexit._run_exitfuncs()  # a forked process would not, and there jax parts from the other processes of a run
    sys.exit(code)
