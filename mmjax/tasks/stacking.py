"""Stacking (Wolpert 1992): how much each of several class scores counts, found on rows that none of them was fitted on."""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import log_softmax

_HELD = 1e-3
"""Weight of the squared distance to the mean: it decides where the rows do not."""


def stacking_scales(score_MxNxK: Float[np.ndarray, "M N K"], label_N: Int[np.ndarray, " N"]) -> Float[np.ndarray, " M"]:
    """Scales of the sum of scores with the least log loss; none is negative (Breiman 1996), so no score is turned around.

    The loss is convex in the scales, so where it begins does not matter.

    Args:
      score_MxNxK: log-probabilities up to a constant, of rows that the score's own model was not fitted on.
      label_N: class index; a row of label -1 is left out.
    """
    known_N = label_N >= 0
    score_MxnxK, label_n = score_MxNxK[:, known_N].astype(np.float64), label_N[known_N]
    true_nxK = np.eye(score_MxnxK.shape[2])[label_n]
    even_M = np.full(len(score_MxnxK), 1 / len(score_MxnxK))
    if not len(label_n):
        return even_M.astype(np.float32)

    def loss(scale_M: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and its gradient."""
        log_p_nxK = log_softmax(np.tensordot(scale_M, score_MxnxK, axes=1), axis=1)
        error_nxK = (np.exp(log_p_nxK) - true_nxK) / len(label_n)
        gradient_M = np.tensordot(score_MxnxK, error_nxK, axes=((1, 2), (0, 1)))
        away_M = scale_M - even_M
        value = -np.sum(true_nxK * log_p_nxK) / len(label_n) + _HELD * np.sum(away_M**2)
        return float(value), gradient_M + 2 * _HELD * away_M

    found = minimize(loss, even_M, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(even_M))
    return found.x.astype(np.float32)
