"""What the device can do at most, measured: a large matrix product and a large copy."""

import time
from typing import Any

import jax
import jax.numpy as jnp


def peaks() -> dict[str, float]:
    """FLOP/s of a square product in float32 (TF32 on GPUs that have it) and bfloat16; bytes/s of a copy, read and written."""
    cpu = jax.default_backend() == "cpu"
    size, count = (1024, 2**24) if cpu else (8192, 2**29)
    found = {}
    for dtype in (jnp.float32,) if cpu else (jnp.float32, jnp.bfloat16):
        a, b = (jax.random.normal(jax.random.key(i), (size, size), dtype) for i in range(2))
        found[f"matmul_{jnp.dtype(dtype).name}"] = 2.0 * size**3 / _seconds(lambda a, b: a @ b, a, b)
    x = jnp.arange(count, dtype=jnp.float32)
    found["copy_bytes"] = 8.0 * count / _seconds(lambda x: x + 1, x)
    return found


def _seconds(function: Any, *args: Any) -> float:
    """Least of ten."""
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*args))
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        best = min(best, time.perf_counter() - start)
    return best
