"""RMSprop as Keras means it, with the options the paper's rows leave off, and AdamW for the recommended model."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from mmjax.config import OptimSettings


def make_optimizer(optim: OptimSettings) -> optax.GradientTransformation:
    r"""Direction of the update before the learning rate (Tieleman and Hinton 2012).

    .. math:: v_t = \rho v_{t-1} + (1 - \rho) g_t^2, \qquad \Delta_t = -\eta\, g_t / \sqrt{v_t + \epsilon}

    The learning rate is multiplied in `learning_rate`, since a schedule here depends on each fold's own number of steps.
    AdamW (Loshchilov and Hutter 2019) takes the place of the scaling by :math:`v_t` where `optim.name` says so.

    With everything else off this is `optax.rmsprop(lr, decay=0.9, eps=1e-7)`, which is Keras' RMSprop; PyTorch's adds epsilon
    outside the root.

    Args:
      optim: decay is Keras' rho, eps sits inside the root, clip_norm and weight_decay (decoupled) are off at 0.
    """
    parts = [optax.clip_by_global_norm(optim.clip_norm)] if optim.clip_norm else []
    if optim.name == "adamw":
        parts.append(optax.scale_by_adam(b1=optim.decay, b2=optim.decay_squares, eps=optim.eps))
    else:
        parts.append(optax.scale_by_rms(decay=optim.decay, eps=optim.eps))
    if optim.weight_decay:
        parts.append(optax.add_decayed_weights(optim.weight_decay))
    return optax.chain(*parts, optax.scale(-1.0))


def learning_rate(optim: OptimSettings, base: float, step: Int[Array, ""], total_steps: Int[Array, ""]) -> Float[Array, ""]:
    """Learning rate at a step: constant (paper), or decaying over the fold's own `total_steps`, after a linear warm-up."""
    fraction = jnp.clip(step / jnp.maximum(total_steps, 1), 0.0, 1.0)
    shape = {"constant": jnp.ones_like(fraction), "linear": 1.0 - fraction, "cosine": 0.5 * (1.0 + jnp.cos(jnp.pi * fraction))}
    if not optim.warmup_steps and not optim.warmup_fraction:
        return base * shape[optim.schedule]
    warmup = jnp.minimum((step + 1) / jnp.maximum(optim.warmup_steps, optim.warmup_fraction * total_steps), 1.0)
    return base * shape[optim.schedule] * warmup


def moving_average(average: Any, params: Any, decay: float) -> Any:
    """Exponential moving average of the parameters, from their initial values on.

    It is not corrected for these, and slow against a short training, so it holds the model back as well as averaging it.
    """
    return jax.tree.map(lambda a, p: (a + (1.0 - decay) * (p - a)).astype(p.dtype), average, params)
