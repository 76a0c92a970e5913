"""RMSprop as Keras means it, with the options the paper's rows leave off."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from mmjax.config import OptimSettings


def make_optimizer(optim: OptimSettings) -> optax.GradientTransformation:
    r"""Direction of the update before the learning rate (Tieleman and Hinton 2012).

    .. math:: v_t = \rho v_{t-1} + (1 - \rho) g_t^2, \qquad \Delta_t = -\eta\, g_t / \sqrt{v_t + \epsilon}

    The learning rate is multiplied in `learning_rate`, since a schedule here depends on each fold's own number of steps.
    With everything else off this is `optax.rmsprop(lr, decay=0.9, eps=1e-7)`, which is Keras' RMSprop; PyTorch's adds epsilon
    outside the root.

    Args:
      optim: decay is Keras' rho, eps sits inside the root, clip_norm and weight_decay (decoupled) are off at 0.
    """
    parts = [optax.clip_by_global_norm(optim.clip_norm)] if optim.clip_norm else []
    parts.append(optax.scale_by_rms(decay=optim.decay, eps=optim.eps))
    if optim.weight_decay:
        parts.append(optax.add_decayed_weights(optim.weight_decay))
    return optax.chain(*parts, optax.scale(-1.0))


def learning_rate(optim: OptimSettings, base: float, step: Int[Array, ""], total_steps: Int[Array, ""]) -> Float[Array, ""]:
    """Learning rate at a step: constant (paper), or decaying over the fold's own `total_steps`, after a linear warm-up."""
    fraction = jnp.clip(step / jnp.maximum(total_steps, 1), 0.0, 1.0)
    shape = {"constant": jnp.ones_like(fraction), "linear": 1.0 - fraction, "cosine": 0.5 * (1.0 + jnp.cos(jnp.pi * fraction))}
    warmup = jnp.minimum((step + 1) / optim.warmup_steps, 1.0) if optim.warmup_steps else 1.0
    return base * shape[optim.schedule] * warmup
