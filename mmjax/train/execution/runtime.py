"""Process-wide settings of jax and the log, made once by a command before anything is compiled."""

import ctypes
import gc
import logging
import os
import sys
from pathlib import Path

import jax

from mmjax import registry
from mmjax.config import Settings

_MALLOPT = {-1: -1, -2: 256 << 20, -4: 0, -8: 1}
"""M_TRIM_THRESHOLD (-1: never), M_TOP_PAD, M_MMAP_MAX and M_ARENA_MAX of malloc.h."""
_KEPT_BYTES = 2**30


def set_up(*runs: Settings) -> None:
    """Keeps freed memory, turns the persistent compilation cache on and silences the libraries' chatter.

    The cache lies in the user's cache folder, or where JAX_COMPILATION_CACHE_DIR says; programs that compile in under 50 ms are
    not worth the disk. What the imports made is taken out of Python's garbage collection, which would look through it again
    and again, 0.1 s each time.

    Args:
      runs: what this process will train or predict with.
    """
    from platformdirs import user_cache_dir  # noqa: PLC0415 - the GPU benchmark does without

    if worth_keeping(*runs):
        keep_memory()
    gc.freeze()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = Path(user_cache_dir("mmjax")) / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    for name in ("orbax", "absl", "jax", "grain"):
        logging.getLogger(name).setLevel(logging.ERROR)


def keep_memory() -> None:
    """Lets glibc keep what is freed for the next allocation, instead of giving it back to the kernel; elsewhere, nothing.

    XLA's CPU backend takes a program's scratch memory anew at every call. Given back each time, its pages are zeroed by the
    kernel again and again (docs/PERFORMANCE.md, has what PyTorch gains by the same). One arena, because the
    others cannot grow past 64 MiB. Settings of the environment win (mallopt(3)).
    """
    if not sys.platform.startswith("linux") or any(v.startswith(("MALLOC_", "GLIBC_TUNABLES")) for v in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for option, value in _MALLOPT.items():
            mallopt(option, value)


def worth_keeping(*runs: Settings) -> bool:
    """Whether `keep_memory` is a gain for all of these runs.

    Steps on a table alone have little scratch memory, and their folds' threads would wait for each other at the one arena.
    Large photos lose: other arrays come to lie in the hole that the scratch memory of a step leaves, and the next step takes
    new memory: far more in all, and more time at 512 px (docs/PERFORMANCE.md).
    """
    kinds = registry.modalities()
    wanted = any(m not in kinds or kinds[m].convolves for run in runs for m in run.model.modalities)
    return wanted and all(photo_scratch_bytes(run) <= _KEPT_BYTES for run in runs)


def photo_scratch_bytes(run: Settings) -> int:
    """About what towers keep of a batch for their way back: `cost.step_cost`, before there is anything to trace."""
    chosen = [cls for kind, cls in registry.modalities().items() if kind in run.model.modalities]
    return sum(cls.scratch_bytes(run.data, run.model, run.train.batch_size) for cls in chosen)


def log(line: str) -> None:
    """Prints a line at once, so that a log file shows it before the next long step; with several processes the first speaks."""
    if jax.process_index() == 0:
        print(f"{line}\n", end="", flush=True)  # one write: lines of concurrent folds stay lines
