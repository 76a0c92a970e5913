"""Is one model better than another? A t-test that knows the folds share training rows."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mmjax.errors import DataError

_MOST_REPEATS = 10**6


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of two models on the same J folds.

    Attributes:
      difference: mean of a - b over folds.
      std: sample standard deviation (ddof 1) of the differences.
      t: statistic; infinite where every fold shows the same difference other than 0.
      df: degrees of freedom, J - 1.
      p: two-sided p-value of "no difference".
      low, high: confidence interval of the difference.
      folds: J.
      ratio: n_test/n_train, held-out rows over training rows of a fold.
    """

    difference: float
    std: float
    t: float
    df: int
    p: float
    low: float
    high: float
    folds: int
    ratio: float


def corrected_resampled_t_test(
    a_J: Sequence[float], b_J: Sequence[float], *, test_rows: float, train_rows: float, confidence: float = 0.95
) -> Comparison:
    """Corrected resampled t-test of two models' paired scores on J folds.

        t = mean(d) / sqrt((1/J + n_test/n_train) var(d)),   d_j = a_j - b_j,   var with ddof 1,   df = J - 1

    The plain t-test takes 1/J alone and finds differences that are not there: any two folds share most of their training
    rows. In k-fold cross-validation n_test/n_train is 1/(k - 1), whichever folds were run.

    Of r repeats of k folds the J = r k differences go in together: the corrected repeated k-fold cross-validation test.

    References: Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 52 (2003), 239-281, section 3.
    Bouckaert and Frank, Evaluating the Replicability of Significance Tests for Comparing Learning Algorithms, PAKDD 2004,
    3-12.

    Args:
      a_J: score of model a on each fold.
      b_J: score of model b on the same folds, in the same order.
      test_rows: n_test, rows of a held-out fold (their mean where folds differ).
      train_rows: n_train, rows a fold's model was fitted on.
      confidence: of the interval.

    Raises:
      DataError: the two models were not scored on the same number of folds, at least 2, or a score is not finite.
    """
    a, b = np.asarray(a_J, np.float64), np.asarray(b_J, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise DataError(f"A paired test needs the same folds of both models, at least 2; got {a.size} and {b.size} scores.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError("A paired test needs finite scores; a fold's score is not a number.")
    if test_rows <= 0 or train_rows <= 0:
        raise DataError(f"A paired test needs rows to train and test on; got {train_rows} and {test_rows}.")
    d, folds = a - b, len(a)
    mean, std = float(d.mean()), float(d.std(ddof=1))
    rounding = 1e-12 * float(np.abs([a, b]).max(initial=0.0))
    std = 0.0 if std <= rounding else std  # equal differences leave a deviation of rounding errors: a huge t
    mean = 0.0 if std == 0 and abs(mean) <= rounding else mean  # an interval beside 0 would be a difference that is none
    ratio = test_rows / train_rows
    error = _error(std, folds, ratio)
    if error > 0:
        t = mean / error
        p = 2 * float(stats.t.sf(abs(t), folds - 1))
    else:
        t, p = (0.0, 1.0) if mean == 0 else (math.copysign(math.inf, mean), 0.0)
    reach = _reach(std, folds, ratio, confidence)
    return Comparison(mean, std, t, folds - 1, p, mean - reach, mean + reach, folds, ratio)


def repeats_needed(difference: float, std: float, *, folds: int, ratio: float, confidence: float = 0.95) -> int | None:
    """Fewest repeats of k folds with which the interval around a difference leaves out 0, if folds go on to differ as they do.

    Args:
      difference: its size, above 0.
      std: standard deviation of the differences over folds.
      folds: k, of one repeat.
      ratio: n_test/n_train. This part of the variance does not shrink with repeats.
      confidence: of the interval.

    Returns:
      None where no number of repeats would do (a million is as good as none).
    """
    repeats = range(1 if folds > 1 else 2, _MOST_REPEATS)  # one fold alone has no deviation
    found = bisect_left(repeats, -difference, key=lambda r: -_reach(std, r * folds, ratio, confidence))
    return repeats[found] if found < len(repeats) else None


def _error(std: float, folds: int, ratio: float) -> float:
    """Standard error of the mean difference."""
    return math.sqrt(1 / folds + ratio) * std


def _reach(std: float, folds: int, ratio: float, confidence: float) -> float:
    """Half the interval's width."""
    return float(stats.t.ppf(0.5 + confidence / 2, folds - 1)) * _error(std, folds, ratio)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): sorted, times n, n - 1, ..., never falling, 1 at most."""
    out, floor = [0.0] * len(p_values), 0.0
    for place, i in enumerate(np.argsort(p_values, kind="stable").tolist()):
        floor = max(floor, min(1.0, (len(p_values) - place) * p_values[i]))
        out[i] = floor
    return out
