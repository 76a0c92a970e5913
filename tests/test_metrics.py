"""Metrics against hand-made values and plain NumPy; degenerate folds without a warning (warnings are errors here)."""

import numpy as np
import pytest

from mmjax.errors import DataError, NonFiniteError
from mmjax.tasks import metrics
from mmjax.tasks.metrics import classification_metrics


def one_hot(prediction_N, classes, sure=0.9):
    p_NxK = np.full((len(prediction_N), classes), (1 - sure) / (classes - 1))
    p_NxK[np.arange(len(prediction_N)), prediction_N] = sure
    return p_NxK


def kappa(label_N, prediction_N, classes):
    observed = np.zeros((classes, classes))
    np.add.at(observed, (label_N, prediction_N), 1)
    weight = (np.arange(classes)[:, None] - np.arange(classes)[None]) ** 2
    expected = np.outer(observed.sum(1), observed.sum(0)) / len(label_N)
    return 1 - (weight * observed).sum() / (weight * expected).sum()


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_against_numpy(classes):
    """Breaks when a metric changes its definition: K classes all count, weights are quadratic, logs natural."""
    rng = np.random.default_rng(classes)
    label_N = rng.integers(0, classes, 200)
    p_NxK = rng.dirichlet(np.ones(classes), 200)
    prediction_N = p_NxK.argmax(1)
    got = classification_metrics(label_N, p_NxK)
    f1 = []
    for k in range(classes):
        hit = np.sum((label_N == k) & (prediction_N == k))
        f1.append(2 * hit / (np.sum(label_N == k) + np.sum(prediction_N == k)))
    expected = {
        "accuracy": np.mean(label_N == prediction_N),
        "qwk": kappa(label_N, prediction_N, classes),
        "macro_f1": np.mean(f1),
        "log_loss": -np.mean(np.log(p_NxK[np.arange(200), label_N])),
    }
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-9, err_msg=name)


def test_classes_absent_from_the_fold_still_count():
    """Breaks when the class list is taken from the rows: macro-F1 would be 1, log loss would have two columns."""
    label_N = np.array([0, 2, 0, 2])
    got = classification_metrics(label_N, one_hot(label_N, 4))
    assert (got["accuracy"], got["qwk"]) == (1.0, 1.0)
    np.testing.assert_allclose(got["macro_f1"], 0.5)
    np.testing.assert_allclose(got["log_loss"], -np.log(0.9))


def test_one_class_fold_has_values_and_no_warning():
    label_N = np.zeros(5, int)
    right = classification_metrics(label_N, one_hot(label_N, 3))
    assert (right["accuracy"], right["qwk"]) == (1.0, 0.0)
    wrong = classification_metrics(label_N, one_hot(label_N + 1, 3))
    assert (wrong["accuracy"], wrong["qwk"]) == (0.0, 0.0)


def test_rows_without_a_label_are_not_counted():
    label_N = np.array([0, -1, 1, -1])
    p_NxK = one_hot(np.array([0, 0, 1, 1]), 2)
    assert classification_metrics(label_N, p_NxK) == classification_metrics(label_N[::2], p_NxK[::2])
    with pytest.raises(DataError, match="No row has a label"):
        classification_metrics(np.array([-1, -1]), p_NxK[:2])


def test_certain_and_wrong_is_finite_but_nan_is_refused():
    p_NxK = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert np.isfinite(classification_metrics(np.array([1, 0]), p_NxK)["log_loss"])
    with pytest.raises(NonFiniteError, match="1 of 2 predictions"):
        classification_metrics(np.array([1, 0]), np.array([[np.nan, 0.0], [0.0, 1.0]]))


def test_float32_probabilities_need_no_exact_sum():
    p_NxK = one_hot(np.array([0, 1, 2]), 3, sure=0.7).astype(np.float32) * np.float32(1.0001)
    np.testing.assert_allclose(classification_metrics(np.array([0, 1, 2]), p_NxK)["log_loss"], -np.log(0.7), rtol=1e-5)


def test_summary_is_population_deviation_and_reads_as_the_paper_prints():
    """Breaks with ddof 1: the deviation of 0.36 and 0.38 would be 1.41."""
    got = metrics.summarise([{"accuracy": 0.36, "qwk": 0.3}, {"accuracy": 0.38, "qwk": 0.3}])
    assert metrics.show("accuracy", got["mean"]["accuracy"], got["std"]["accuracy"]) == "37.00 ± 1.00"
    assert metrics.show("qwk", got["mean"]["qwk"], got["std"]["qwk"]) == "0.3000 ± 0.0000"
    assert metrics.show("accuracy", 0.36729) == "36.73"
    assert metrics.summarise([{"accuracy": 0.5}]) == {"mean": {"accuracy": 0.5}, "std": {"accuracy": 0.0}}
