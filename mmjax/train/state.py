"""Everything a fold needs to go on, as one pytree of arrays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt32


class TrainState(struct.PyTreeNode):
    """State of one fold in one phase; folds trained together carry a leading axis F on every leaf.

    Early stopping lives here, not on the host, so that folds under `vmap` stop each for itself.
    """

    step: Int[Array, ""]
    """Updates applied; dropout's key is `fold_in(key, step)`."""
    key: UInt32[Array, " 2"]
    """Words of the phase's key (prng.py): a function of seed, fold and phase alone."""
    params: Any
    batch_stats: Any
    """BatchNorm's running mean and variance; empty without a DenseNet."""
    opt_state: Any
    """RMSprop's running mean of squared gradients."""
    average: Any
    """Moving average of the parameters, which validates and predicts; empty without one (`optim.average`)."""
    total_steps: Int[Array, ""]
    """Steps of `max_epochs` epochs of this fold: the length of a schedule."""
    max_epochs: Int[Array, ""]
    """Epochs after which this fold ends anyway."""
    epoch: Int[Array, ""]
    """Finished epochs."""
    stale: Int[Array, ""]
    """Epochs since the monitored value last improved."""
    done: Array
    """Early stopping or the last epoch ended this fold; every later step leaves the state as it is."""
    best_value: Float[Array, ""]
    """Best monitored value on the inner validation rows; higher is better."""
    best_epoch: Int[Array, ""]
    best_params: Any
    best_batch_stats: Any
    halted_step: Int[Array, ""]
    """Step whose loss or gradient was not finite, -1 if none; with on_nonfinite=stop the state is the one before it."""
    skipped: Int[Array, ""]
    """Steps left out because they were not finite (on_nonfinite=skip)."""

    @property
    def evaluated(self) -> Any:
        """Parameters that validate and predict."""
        return self.average if jax.tree.leaves(self.average) else self.params


def create(
    params: Any,
    batch_stats: Any,
    optimizer: optax.GradientTransformation,
    key: np.ndarray,
    *,
    steps_per_epoch: int,
    max_epochs: int,
    averaged: bool = False,
    monitored: float = -np.inf,
) -> TrainState:
    """A fresh state: nothing trained; `monitored` is its value on the inner validation rows, if it is known."""
    # Made on the host: a hundred small device programs would cost more to compile than a small fold to train.
    params, batch_stats = jax.tree.map(np.asarray, (params, batch_stats))
    # Everything `make_optimizer` keeps starts at zero.
    opt_state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), jax.eval_shape(optimizer.init, params))
    fresh = _fresh(params, batch_stats, opt_state, np.asarray(key), steps_per_epoch, max_epochs, averaged)
    return fresh.replace(best_value=np.asarray(monitored, np.float32))


def shapes(params: Any, batch_stats: Any, optimizer: optax.GradientTransformation, *, averaged: bool = False) -> TrainState:
    """Shapes of what `create` returns, from shapes of parameters and statistics."""
    state = _fresh(params, batch_stats, jax.eval_shape(optimizer.init, params), np.zeros(2, np.uint32), 1, 1, averaged)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)


def _fresh(
    params: Any,
    batch_stats: Any,
    opt_state: Any,
    key: np.ndarray,
    steps_per_epoch: int,
    max_epochs: int,
    averaged: bool,
) -> TrainState:
    zero = np.zeros((), np.int32)
    values: dict[str, Any] = {
        "step": zero,
        "key": key,
        "params": params,
        "batch_stats": batch_stats,
        "opt_state": opt_state,
        "average": params if averaged else {},
        "total_steps": np.asarray(steps_per_epoch * max_epochs, np.int32),
        "max_epochs": np.asarray(max_epochs, np.int32),
        "epoch": zero,
        "stale": zero,
        "done": np.zeros((), bool),
        "best_value": np.asarray(-np.inf, np.float32),
        "best_epoch": np.asarray(-1, np.int32),
        "best_params": params,
        "best_batch_stats": batch_stats,
        "halted_step": np.asarray(-1, np.int32),
        "skipped": zero,
    }
    return TrainState(**values)


def end_epoch(state: TrainState, value: Float[Array, ""], *, patience: int) -> TrainState:
    """Early stopping after one epoch.

    Args:
      state: one fold's state.
      value: monitored value on the inner validation rows, higher is better; nan never improves.
      patience: epochs without improvement after which the fold is done.
    """
    alive = ~state.done & (state.halted_step < 0)
    improved = alive & (value > state.best_value)
    epoch = state.epoch + alive
    stale = jnp.where(improved, 0, state.stale + alive)

    now, before = (state.evaluated, state.batch_stats), (state.best_params, state.best_batch_stats)
    best_params, best_batch_stats = either(improved, lambda now, _: now, lambda _, before: before, now, before)
    return state.replace(
        epoch=epoch,
        stale=stale,
        done=state.done | (stale >= patience) | (epoch >= state.max_epochs),
        best_value=jnp.where(improved, value, state.best_value),
        best_epoch=jnp.where(improved, state.epoch, state.best_epoch),
        best_params=best_params,
        best_batch_stats=best_batch_stats,
    )


def either(condition: Bool[Array, ""], yes: Callable[..., Any], no: Callable[..., Any], *args: Any) -> Any:
    """`yes(*args)` where the condition holds, else `no(*args)`.

    On a CPU a branch, which updates in place and compiles no kernel a leaf: choosing leaf by leaf costs a copy of the running
    squares at every step, an eighth of the autoencoder's. A GPU would stop for the host to read the condition, so there it is a
    choice.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.cond(condition, yes, no, *args)
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes(*args), no(*args))
