"""Loss terms as (sum, count) pairs, so that a mean over several devices or batches is exact.

A term is divided by its global count, never averaged from averages: rows without a modality, padding tokens and the padding of
the last batch count nowhere.
"""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

Term = tuple[Float[Array, ""], Float[Array, ""]]


def cross_entropy(
    logits_BxK: Float[Array, "B K"],
    label_B: Int[Array, " B"],
    weight_B: Float[Array, " B"],
    class_weight_K: Float[Array, " K"],
    smoothing: float = 0.0,
) -> Term:
    """Weighted softmax cross-entropy in nats (paper, section 3.2, equation 11).

    Args:
      logits_BxK: class scores.
      label_B: class index; a row with label -1 counts nowhere.
      weight_B: 1 for a row that counts, 0 for padding.
      class_weight_K: weight of each class; all ones in the paper's rows.
      smoothing: mass moved from the label to the uniform distribution; 0 in the paper's rows.

    Returns:
      Weighted sum of losses and the sum of weights.
    """
    classes = logits_BxK.shape[-1]
    target_BxK = optax.smooth_labels(jnp.eye(classes, dtype=logits_BxK.dtype)[jnp.maximum(label_B, 0)], smoothing)
    loss_B = optax.softmax_cross_entropy(logits_BxK, target_BxK)
    total_weight_B = weight_B * (label_B >= 0) * class_weight_K[jnp.maximum(label_B, 0)]
    return jnp.sum(loss_B * total_weight_B), jnp.sum(total_weight_B)


def correct(logits_BxK: Float[Array, "B K"], label_B: Int[Array, " B"], weight_B: Float[Array, " B"]) -> Term:
    """Number of rows whose largest logit is the label, and number of rows that count."""
    counted_B = weight_B * (label_B >= 0)
    hit_B: Bool[Array, " B"] = jnp.argmax(logits_BxK, axis=-1) == label_B
    return jnp.sum(hit_B * counted_B), jnp.sum(counted_B)


def reconstruction(out: dict, weight_B: Float[Array, " B"]) -> dict[str, Term]:
    """Squared error of every modality's reconstruction (paper, section 3.1, equations 4 and 7).

    Args:
      out: what the autoencoder returns: `prediction`, `target` and `target_weight` by modality, each B x D.
      weight_B: 1 for a row that counts, 0 for padding.

    Returns:
      By modality, the weighted sum of squared errors and the number of values that count.
    """
    terms = {}
    for name, prediction_BxD in out["prediction"].items():
        weight_BxD = jnp.broadcast_to(out["target_weight"][name] * weight_B[:, None], prediction_BxD.shape)
        error_BxD = prediction_BxD.astype(jnp.float32) - out["target"][name].astype(jnp.float32)
        terms[name] = (jnp.sum(weight_BxD * error_BxD**2), jnp.sum(weight_BxD))
    return terms
