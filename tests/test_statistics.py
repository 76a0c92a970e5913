"""Corrected resampled t-test against its formula, the plain t-test and its known level."""

import math

import numpy as np
import pytest
from scipy import stats

from mmjax.errors import DataError
from mmjax.reproduce.statistics import corrected_resampled_t_test, repeats_needed

A = [0.371, 0.380, 0.365, 0.377, 0.369]
B = [0.366, 0.371, 0.366, 0.370, 0.361]


def test_equals_the_formula_by_hand():
    """Breaks when the correction, the ddof, the degrees of freedom or the two sides are wrong."""
    d = np.array(A) - np.array(B)
    t = d.mean() / math.sqrt((1 / 5 + 1 / 4) * d.var(ddof=1))
    got = corrected_resampled_t_test(A, B, test_rows=20, train_rows=80)
    np.testing.assert_allclose([got.t, got.difference], [t, d.mean()], rtol=1e-12)
    np.testing.assert_allclose(got.p, 2 * (1 - stats.t.cdf(t, 4)), rtol=1e-9)
    assert got.df == 4
    assert got.low < got.difference < got.high


def test_without_the_correction_it_is_scipys_paired_test():
    """Breaks when anything but the n_test/n_train term differs from the plain test."""
    plain = stats.ttest_rel(A, B)
    got = corrected_resampled_t_test(A, B, test_rows=1e-12, train_rows=1)
    np.testing.assert_allclose([got.t, got.p], [plain.statistic, plain.pvalue], rtol=1e-9)
    np.testing.assert_allclose([got.low, got.high], plain.confidence_interval(0.95), rtol=1e-9)


def test_interval_and_p_value_agree():
    """Breaks when interval and test use different errors: at confidence 1 - p the interval just touches 0."""
    got = corrected_resampled_t_test(A, B, test_rows=1, train_rows=4)
    touching = corrected_resampled_t_test(A, B, test_rows=1, train_rows=4, confidence=1 - got.p)
    np.testing.assert_allclose(touching.low, 0.0, atol=1e-9)


def test_swapping_the_models_changes_the_sign_alone():
    one, other = (corrected_resampled_t_test(*pair, test_rows=1, train_rows=4) for pair in ((A, B), (B, A)))
    np.testing.assert_allclose([one.t, one.p, one.low], [-other.t, other.p, -other.high])


def test_no_variance():
    """Equal scores: no difference at all; an equal gap, rounding apart, on every fold: certain."""
    same = corrected_resampled_t_test(A, A, test_rows=1, train_rows=4)
    assert (same.t, same.p, same.low, same.high) == (0.0, 1.0, 0.0, 0.0)
    rounded = corrected_resampled_t_test([x + 1e-16 for x in A], A, test_rows=1, train_rows=4)
    assert (rounded.t, rounded.p, rounded.low, rounded.high) == (0.0, 1.0, 0.0, 0.0)
    shifted = corrected_resampled_t_test([x + 0.1 for x in A], A, test_rows=1, train_rows=4)
    assert (shifted.t, shifted.p) == (math.inf, 0.0)
    assert corrected_resampled_t_test(A, [x + 0.1 for x in A], test_rows=1, train_rows=4).t == -math.inf


@pytest.mark.parametrize(("a", "b"), [([1.0], [2.0]), (A, B[:4]), ([1.0, math.nan], [1.0, 2.0])])
def test_refuses_scores_that_cannot_be_paired(a, b):
    with pytest.raises(DataError, match="paired test needs"):
        corrected_resampled_t_test(a, b, test_rows=1, train_rows=4)


@pytest.mark.parametrize("size", [1.3, 1.05, 1.0])
def test_repeats_needed_are_the_fewest_whose_interval_leaves_out_0(size):
    """Differences of deviation 1 on five folds: by the test itself on that many made folds, and on one repeat less.

    Breaks when the needed number is of folds, is off by one, or forgets that n_test/n_train stays.
    """
    needed = repeats_needed(size, 1.0, folds=5, ratio=1 / 4)
    assert needed
    assert needed > 1

    def low(repeats: int) -> float:
        noise = np.tile([-1.0, -1.0, 0.0, 1.0, 1.0], repeats)
        difference = size + noise / noise.std(ddof=1)
        return corrected_resampled_t_test(list(difference), [0.0] * len(difference), test_rows=1, train_rows=4).low

    assert low(needed) > 0 >= low(needed - 1)


def test_no_number_of_repeats_shows_what_shared_training_rows_hide():
    """At ratio 1/4 the interval stays wider than 1.96 / 2 deviations; without shared rows repeats would do."""
    assert repeats_needed(0.97, 1.0, folds=5, ratio=1 / 4) is None
    assert repeats_needed(0.97, 1.0, folds=5, ratio=0) == 2
    assert repeats_needed(1.0, 0.01, folds=1, ratio=1 / 4) == 2  # one fold alone has no deviation
