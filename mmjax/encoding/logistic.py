"""Logistic regression on sparse rows by scikit-learn: its strength chosen, its training rows scored by cross-fitting."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_expit, log_softmax, logit

from mmjax.encoding.base import TrainingLabels

STRENGTHS = (0.1, 1.0, 10.0)
"""C of scikit-learn: larger holds the coefficients down less."""
_PARTS, _LARGE, _FLOOR = 5, 5000, -9.0
_ONE_AT_A_TIME = threading.Lock()
"""liblinear draws from one random stream a process: folds that fit at the same time would disturb each other's numbers."""


@dataclass(frozen=True)
class LogisticFit:
    """What a regression learnt.

    Attributes:
      coefficient: float32 V x K.
      intercept: float32 K.
      strength: C.
    """

    coefficient: Float[np.ndarray, "V K"]
    intercept: Float[np.ndarray, " K"]
    strength: float

    def scores(self, matrix: Any) -> Float[np.ndarray, "N K"]:
        """Logarithm of each class's probability, at least -9: one word must not rule a class out."""
        odds_NxK = matrix @ self.coefficient + self.intercept
        return np.maximum(log_softmax(log_expit(odds_NxK), axis=1), _FLOOR).astype(np.float32)


def fit_logistic(matrix: Any, labels: TrainingLabels) -> LogisticFit:
    """Fits on the labelled training rows; the strength is the one with the best log loss on rows left out.

    Strengths are tried from the weakest on until the log loss rises: the strong ones take longest.

    Args:
      matrix: sparse N x V; rows that are not training rows are not read.
      labels: K classes; a class without a row keeps the lowest score.
    """
    rows = labels.rows[labels.label_N[labels.rows] >= 0]
    label_n, parts, losses = labels.label_N[labels.rows], 1 if len(rows) > _LARGE else _PARTS, []
    for strength in STRENGTHS:
        score_nxK = cross_fit(matrix, labels, strength, parts)
        scored_n = (label_n >= 0) & np.isfinite(score_nxK[:, 0])
        losses.append(-float(score_nxK[scored_n, label_n[scored_n]].mean()) if scored_n.any() else 0.0)
        if losses[-1] > min(losses):
            break
    return _fit(matrix, rows, labels, STRENGTHS[int(np.argmin(losses))])


def cross_fit(matrix: Any, labels: TrainingLabels, strength: float, parts: int = _PARTS) -> Float[np.ndarray, "n K"]:
    """Scores of the training rows, each by a regression on other ones; of one part only, the others' are nan.

    Rows of one group are in one part where folds keep groups together.
    """
    rows = labels.rows
    out = np.full((len(rows), labels.classes), np.nan, np.float32)
    for fitted, left in list(_split(rows, labels))[:parts]:
        known = rows[fitted][labels.label_N[rows[fitted]] >= 0]
        out[left] = _fit(matrix, known, labels, strength).scores(matrix[rows[left]])
    return out


def _split(rows: Int[np.ndarray, " n"], labels: TrainingLabels) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places among `rows` to fit on and to score, part by part; no group is in two where folds keep groups together.

    Of one group alone, or one row, none is left to fit on.
    """
    from sklearn.model_selection import GroupKFold, KFold  # noqa: PLC0415 - a second, and only this modality needs it

    unit_n = labels.unit_N[rows]
    parts = min(_PARTS, len(np.unique(unit_n)))
    if parts < 2:
        return iter([(np.arange(0), np.arange(len(rows)))])
    if labels.group_N is not None:
        return GroupKFold(parts).split(rows, groups=unit_n)
    return KFold(parts, shuffle=True, random_state=0).split(rows)


def _fit(matrix: Any, rows: Int[np.ndarray, " n"], labels: TrainingLabels, strength: float) -> LogisticFit:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a second, and only this modality needs it

    label_n = labels.label_N[rows]
    coefficient = np.zeros((matrix.shape[1], labels.classes), np.float32)
    intercept = np.full(labels.classes, _FLOOR, np.float32)
    found = np.unique(label_n)
    if len(found) < 2:
        intercept[found] = 0
        return LogisticFit(coefficient, intercept, strength)
    if not matrix.shape[1]:  # no term is in two of the rows, and there is no table
        intercept[found] = logit(np.bincount(label_n)[found] / len(label_n))
        return LogisticFit(coefficient, intercept, strength)
    # One class against the rest, by dual coordinate descent (Hsieh et al. 2008): a third to a tenth of L-BFGS' time here.
    # Not scikit-learn's OneVsRestClassifier: it changes Python's warning filters, which several threads must not do at once.
    for k in found if len(found) > 2 else found[1:]:
        one = LogisticRegression(C=strength, solver="liblinear", dual=True, tol=0.01, max_iter=1000, random_state=0)
        part = matrix[rows]
        with _ONE_AT_A_TIME:
            one.fit(part, label_n == k)
        coefficient[:, k], intercept[k] = one.coef_[0], float(np.ravel(one.intercept_)[0])
    if len(found) == 2:
        coefficient[:, found[0]], intercept[found[0]] = -coefficient[:, found[1]], -intercept[found[1]]
    return LogisticFit(coefficient, intercept, strength)
