"""Process-wide settings of jax and the log, made once by a command before anything is compiled."""

import logging
import os
from pathlib import Path

import jax
from platformdirs import user_cache_dir


def set_up() -> None:
    """Turns the persistent compilation cache on and silences the libraries' chatter.

    The cache lies in the user's cache folder, or where JAX_COMPILATION_CACHE_DIR says; programs that compile in under half a
    second are not worth the disk.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = Path(user_cache_dir("mmjax")) / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    for name in ("orbax", "absl", "jax", "grain"):
        logging.getLogger(name).setLevel(logging.ERROR)


def say(line: str) -> None:
    """Prints a line at once, so that a log file shows it before the next long step; with several processes the first speaks."""
    if jax.process_index() == 0:
        print(line, flush=True)
