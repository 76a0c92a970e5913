"""Compiling is what tiny programs cost: XLA without its slow optimisations, and each program compiled once a session.

Processes that tests start compile as a user's do, unless they are given these flags.
"""

import os
import threading
from pathlib import Path

FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
"""Without the emitters that fuse loops by way of MLIR a program compiles four times as fast."""

_replace = os.replace  # some tests count its calls, or let them fail


def share_programs(folder: Path) -> None:
    """Keeps every program in a folder that several processes read and write at once.

    jax writes an entry in place, where another process would read half of it: here it is written under another name first.
    """
    import jax
    from jax._src import lru_cache

    def put(self: lru_cache.LRUCache, key: str, value: bytes) -> None:
        entry = Path(str(self.path)) / f"{key}{lru_cache._CACHE_SUFFIX}"
        if not entry.exists():
            part = entry.with_name(f"{os.getpid()}.{threading.get_ident()}")
            part.write_bytes(value)
            _replace(part, entry)

    lru_cache.LRUCache.put = put
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)  # or a command would turn to the user's own
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
