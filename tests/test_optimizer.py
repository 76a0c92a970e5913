"""RMSprop against Keras' own update rule, and the schedules."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.config import OptimSettings
from mmjax.train.optim import learning_rate, make_optimizer


def keras_rmsprop(w: np.ndarray, gradients: list[np.ndarray], lr: float, rho: float, eps: float) -> np.ndarray:
    """keras/src/optimizers/rmsprop.py without momentum and centring, in float64."""
    v = np.zeros_like(w)
    for g in gradients:
        v = rho * v + (1 - rho) * g**2
        w = w - lr * g / np.sqrt(v + eps)
    return w


def run(optim: OptimSettings, w: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    optimizer = make_optimizer(optim)
    params = jnp.asarray(w, jnp.float32)
    state = optimizer.init(params)
    for step, g in enumerate(gradients):
        updates, state = optimizer.update(jnp.asarray(g, jnp.float32), state, params)
        rate = learning_rate(optim, optim.learning_rate, jnp.asarray(step), jnp.asarray(len(gradients)))
        params = params + rate * updates
    return np.asarray(params)


def test_rmsprop_is_keras_rmsprop():
    """Breaks if epsilon leaves the root, or takes optax's own default of 1e-8: the first gradients here are tiny."""
    rng = np.random.default_rng(0)
    w, gradients = rng.normal(size=50), [rng.normal(size=50) * scale for scale in (1e-4, 1e-3, 1.0, 10.0, 1e-5)]
    ours = run(OptimSettings(), w, gradients)
    np.testing.assert_allclose(ours, keras_rmsprop(w, gradients, 0.001, 0.9, 1e-7), rtol=0, atol=1e-6)


def test_rmsprop_is_optax_rmsprop():
    """SPEC: `optax.rmsprop(lr, decay=0.9, eps=1e-7)`."""
    rng = np.random.default_rng(1)
    w, gradients = rng.normal(size=20), [rng.normal(size=20) for _ in range(4)]
    optimizer = optax.rmsprop(0.001, decay=0.9, eps=1e-7)
    params = jnp.asarray(w, jnp.float32)
    state = optimizer.init(params)
    for g in gradients:
        updates, state = optimizer.update(jnp.asarray(g, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(run(OptimSettings(), w, gradients), np.asarray(params), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("schedule", "middle"), [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)])
def test_schedules(schedule: str, middle: float):
    """Half-way values; a schedule that ignored the fold's own length would give 1."""
    optim = OptimSettings(schedule=schedule)
    assert float(learning_rate(optim, 2.0, jnp.asarray(50), jnp.asarray(100))) == pytest.approx(2.0 * middle)


def test_clipping_bounds_the_gradient_rms_sees():
    """A gradient of norm 1000 clipped to 1 gives the same first update as one of norm 1."""
    optim = OptimSettings(clip_norm=1.0)
    g = np.array([600.0, 800.0])
    np.testing.assert_allclose(run(optim, np.zeros(2), [g]), run(optim, np.zeros(2), [g / 1000.0]), rtol=1e-6)
