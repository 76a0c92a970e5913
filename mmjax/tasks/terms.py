"""Terms of a loss, as sums with their counts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

Term = tuple[Float[Array, ""], Float[Array, ""]]
"""Sum and count, so that a mean over several devices or batches is exact, never an average of averages."""


class WeightedTerm(NamedTuple):
    """One term of the loss: weight * sum / count."""

    weight: float
    sum: Float[Array, ""]
    count: Float[Array, ""]


def sums_of(terms: dict[str, WeightedTerm]) -> dict[str, Array]:
    """Sums and counts of loss terms, for the log."""
    sums = {name: jax.lax.stop_gradient(t.sum) for name, t in terms.items()}
    return sums | {f"{name}_count": t.count for name, t in terms.items()}


def mean_of(sums: dict[str, Array], name: str) -> Array:
    """A metric from its sum and count."""
    return sums[name] / jnp.maximum(sums[f"{name}_count"], 1e-12)


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
