"""64 bits of values, to tell whether a table has changed: splitmix64 (Steele, Lea and Flood 2014) and BLAKE2."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt64

_BLOCK = 8192
"""Rows of words or vectors hashed at once: they stay in the cache."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def hash_numbers(number_N: Float[np.ndarray, " N"]) -> UInt64[np.ndarray, " N"]:
    """64 bits of each number; one bit pattern for all nan, and for both zeros."""
    return mix((np.where(np.isnan(number_N), np.nan, number_N) + 0.0).astype(np.float64).view(np.uint64))


def hash_texts(texts: Sequence[str]) -> UInt64[np.ndarray, " n"]:
    """64 bits of each text; few, since a column's values and words are numbered."""
    whole = b"".join(hashlib.blake2b(t.encode("utf-8", "surrogatepass"), digest_size=8).digest() for t in texts)
    return np.frombuffer(whole, "<u8").astype(np.uint64)


def hash_rows(value_NxT: np.ndarray, lookup: np.ndarray | None = None) -> UInt64[np.ndarray, " N"]:
    """64 bits of each row of float32 numbers, or of numbers that `lookup` has 64 bits of: a sum with odd factors by place."""
    factor_T = mix(np.arange(1, value_NxT.shape[1] + 1, dtype=np.uint64) * GOLDEN) | np.uint64(1)
    out_N = np.zeros(len(value_NxT), np.uint64)
    for at in range(0, len(out_N), _BLOCK):
        block_nxT = np.ascontiguousarray(value_NxT[at : at + _BLOCK])
        bits_nxT = block_nxT.view(np.uint32).astype(np.uint64) if lookup is None else lookup[block_nxT]
        out_N[at : at + _BLOCK] = bits_nxT @ factor_T
    return mix(out_N)


def mix(value_N: UInt64[np.ndarray, " N"]) -> UInt64[np.ndarray, " N"]:
    """splitmix64's last steps: every bit of a value moves every bit of the result; one to one."""
    value_N = (value_N ^ (value_N >> np.uint64(30))) * _FIRST
    value_N = (value_N ^ (value_N >> np.uint64(27))) * _SECOND
    return value_N ^ (value_N >> np.uint64(31))
