"""Random bits that cost a CPU little, to draw and to compile: one expression a value, without a loop.

JAX's own generators are made for devices: on a CPU threefry is a loop of small kernels at each draw and rbg (Philox) one of two
hundred operations, which XLA compiles again for every array and computes again in every reader. Initial values and dropout need
neither cryptography nor more than 2**32 values a key.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl
from jaxtyping import Array, UInt, UInt32

_BITS, _FOLD, _SPLIT = (0,), (0x9E3779B9, 0x3C6EF372), (0xDAA66D2B, 0x78DDE6E4)
"""Constants of each use, multiples of the golden ratio's fraction, so that neither draws nor keys of two kinds coincide."""


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """MurmurHash3's finalizer (Appleby 2011): a bijection in which every bit of x moves every bit of the result."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _hash(key_2: UInt32[Array, " 2"], counter: UInt32[Array, "..."], use: int) -> UInt32[Array, "..."]:
    """Two rounds, each with half of the key: for one key a permutation of the counters (Even and Mansour 1997)."""
    return _mix(_mix(counter ^ key_2[0]) + key_2[1] ^ np.uint32(use))


def _random_bits(key_2: UInt32[Array, " 2"], bit_width: int, shape: tuple[int, ...]) -> UInt[Array, "..."]:
    counter = jax.lax.iota(jnp.uint32, int(np.prod(shape))).reshape(shape)
    bits = _hash(key_2, counter, *_BITS)
    return (bits >> np.uint32(32 - bit_width)).astype(f"uint{bit_width}")


def _child(key_2: UInt32[Array, " 2"], number: Array | int, uses: tuple[int, int]) -> UInt32[Array, " 2"]:
    return jnp.stack([_hash(key_2, jnp.asarray(number).astype(jnp.uint32), use) for use in uses])


def _split(key_2: UInt32[Array, " 2"], shape: tuple[int, ...]) -> UInt32[Array, "... 2"]:
    numbers = jax.lax.iota(jnp.uint32, int(np.prod(shape)))
    return jax.vmap(lambda n: _child(key_2, n, _SPLIT))(numbers).reshape(*shape, 2)


def _seed(seed: Array) -> UInt32[Array, " 2"]:
    return _child(jnp.zeros(2, jnp.uint32), seed, _FOLD)


IMPL = define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=lambda key_2, number: _child(key_2, number, _FOLD),
    name="murmur",
    tag="mmh",
)
"""For `jax.random.key(seed, impl=IMPL)`; every function of `jax.random` then draws from it."""


def wrap(data_2: UInt32[Array, " 2"]) -> Array:
    """The key whose two words these are."""
    return jax.random.wrap_key_data(data_2, impl=IMPL)


KEY = jax.eval_shape(lambda: wrap(jnp.zeros(2, jnp.uint32)))
"""Shape of a key, for `jax.eval_shape` and `lower`."""
