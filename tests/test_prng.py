"""Random bits of mmjax.ops.prng: uniform, and unrelated between places, steps and uses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mmjax.ops import prng

KEY = prng.wrap(np.array([1, 2], np.uint32))


def steps(count, shape):
    """Bits of `count` steps' keys, as a training step draws them."""
    return np.asarray(jax.vmap(lambda i: jax.random.bits(jax.random.fold_in(KEY, i), shape))(jnp.arange(count)))


def test_uniform_values_and_pairs_fill_their_range_evenly():
    u = np.asarray(jax.random.uniform(KEY, (1 << 20,)))
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    for shift in (1, 2, 32, 256, 4096):  # neighbours in a row of a batch, and in a column
        pairs, *_ = np.histogram2d(u[:-shift], u[shift:], bins=32, range=[[0, 1]] * 2)
        assert stats.chisquare(pairs.ravel()).pvalue > 1e-3


def test_normal_values_are_normal():
    assert stats.kstest(np.asarray(jax.random.normal(KEY, (1 << 20,))), "norm").pvalue > 1e-3


@pytest.mark.parametrize("bit", range(32))
def test_a_changed_bit_of_the_step_or_of_the_key_changes_half_of_the_bits(bit):
    other = [jax.random.fold_in(KEY, np.uint32(1 << bit)), prng.wrap(np.array([1 ^ (1 << bit), 2], np.uint32))]
    other.append(prng.wrap(np.array([1, 2 ^ (1 << bit)], np.uint32)))
    for start, key in zip((jax.random.fold_in(KEY, 0), KEY, KEY), other, strict=True):
        changed = np.asarray(jax.random.bits(start, (4096,)) ^ jax.random.bits(key, (4096,)))
        share = np.unpackbits(changed.view(np.uint8)).mean()
        assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(32 * 4096)


def test_bits_of_steps_and_places_are_uncorrelated():
    bits = np.unpackbits(steps(4096, (32,)).view(np.uint8).reshape(4096, -1), axis=1).astype(np.float64)
    correlation = np.corrcoef(bits.T) - np.eye(bits.shape[1])
    assert np.abs(correlation).max() < 6 / np.sqrt(4096)
    after = np.corrcoef(bits[1:].T, bits[:-1].T)[: bits.shape[1], bits.shape[1] :]
    assert np.abs(after).max() < 6 / np.sqrt(4096)


def test_no_value_comes_twice_in_a_draw_and_keys_differ():
    bits = np.asarray(jax.random.bits(KEY, (1 << 16,)))
    assert len(np.unique(bits)) == len(bits)
    folded = jax.random.key_data(jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(1 << 12)))
    split = jax.random.key_data(jax.random.split(KEY, 1 << 12))
    seeded = jax.random.key_data(jax.vmap(lambda s: jax.random.key(s, impl=prng.IMPL))(jnp.arange(1 << 12)))
    assert len(np.unique(np.concatenate([folded, split, seeded]), axis=0)) == 3 << 12


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_narrow_bits_are_the_upper_ones(dtype):
    bits = np.asarray(jax.random.bits(KEY, (64, 3), dtype))
    whole = np.asarray(jax.random.bits(KEY, (64, 3)))
    np.testing.assert_array_equal(bits, whole >> (32 - 8 * bits.itemsize))
