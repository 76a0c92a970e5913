"""Process-wide settings of jax and the log, made once by a command before anything is compiled."""

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from mmjax.batch import IMAGE, TEXT

_MALLOPT = {-1: 2**31 - 1, -2: 256 << 20, -4: 0, -8: 1}
"""M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX and M_ARENA_MAX of malloc.h."""


def set_up(modalities: Sequence[str] = (TEXT, IMAGE)) -> None:
    """Keeps freed memory, turns the persistent compilation cache on and silences the libraries' chatter.

    The cache lies in the user's cache folder, or where JAX_COMPILATION_CACHE_DIR says; programs that compile in under 50 ms are
    not worth the disk. What the imports made is taken out of Python's garbage collection, which would look through it again
    and again, 0.1 s each time.

    Args:
      modalities: see `keep_memory`.
    """
    from platformdirs import user_cache_dir  # noqa: PLC0415 - the GPU benchmark does without

    keep_memory(modalities)
    gc.freeze()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = Path(user_cache_dir("mmjax")) / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    for name in ("orbax", "absl", "jax", "grain"):
        logging.getLogger(name).setLevel(logging.ERROR)


def keep_memory(modalities: Sequence[str] = (TEXT, IMAGE)) -> None:
    """Lets glibc keep what is freed for the next allocation, instead of giving it back to the kernel; elsewhere, nothing.

    XLA's CPU backend takes a program's scratch memory anew at every call. Given back each time, its pages are zeroed by the
    kernel again and again: a fifth of a step with photos or of the autoencoder's (docs/RESULTS.md, Speed). One arena, because
    the others cannot grow past 64 MiB. Settings of the environment win (mallopt(3)).

    Args:
      modalities: of the run, where they are known. Steps on a table alone have little scratch memory, and the threads of their
        folds would wait for each other at the one arena: nothing is changed for them.
    """
    if not {TEXT, IMAGE} & set(modalities):
        return
    if not sys.platform.startswith("linux") or any(v.startswith(("MALLOC_", "GLIBC_TUNABLES")) for v in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for option, value in _MALLOPT.items():
            mallopt(option, value)


def say(line: str) -> None:
    """Prints a line at once, so that a log file shows it before the next long step; with several processes the first speaks."""
    if jax.process_index() == 0:
        print(line, flush=True)
