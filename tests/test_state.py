"""Early stopping as arithmetic on the state."""

import jax.numpy as jnp
import numpy as np

from mmjax.config import OptimSettings
from mmjax.train.optim import make_optimizer
from mmjax.train.state import create, end_epoch


def fresh(max_epochs: int):
    optimizer = make_optimizer(OptimSettings())
    return create({"w": jnp.zeros(2)}, {}, optimizer, np.zeros(2, np.uint32), steps_per_epoch=10, max_epochs=max_epochs)


def play(values: list[float], patience: int, max_epochs: int):
    state = fresh(max_epochs)
    for epoch, value in enumerate(values):
        state = state.replace(params={"w": jnp.full(2, float(epoch))})
        state = end_epoch(state, jnp.asarray(value), patience=patience)
    return state


def test_best_parameters_are_those_of_the_best_epoch():
    state = play([0.1, 0.5, 0.3, 0.4], patience=5, max_epochs=9)
    assert int(state.best_epoch) == 1
    np.testing.assert_array_equal(state.best_params["w"], [1.0, 1.0])
    assert not bool(state.done)
    assert int(state.stale) == 2


def test_patience_ends_a_fold_and_nothing_moves_afterwards():
    """The value 0.9 after the end must not count: under vmap other folds may still be training."""
    state = play([0.5, 0.4, 0.4, 0.9], patience=2, max_epochs=9)
    assert bool(state.done)
    assert (int(state.epoch), int(state.best_epoch)) == (3, 0)
    np.testing.assert_array_equal(state.best_params["w"], [0.0, 0.0])


def test_the_last_epoch_ends_a_fold():
    assert bool(play([0.1, 0.2], patience=9, max_epochs=2).done)


def test_nan_never_improves():
    state = play([float("nan"), 0.1], patience=9, max_epochs=9)
    assert int(state.best_epoch) == 1
