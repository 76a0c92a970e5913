"""Loss terms against plain NumPy."""

import jax.numpy as jnp
import numpy as np

from mmjax.tasks.reconstruction import reconstruction_errors
from mmjax.tasks.terms import correct, cross_entropy


def test_cross_entropy_against_numpy():
    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(6, 4)).astype(np.float32), np.array([0, 3, 1, -1, 2, 2])
    weight, class_weight = np.array([1, 1, 0, 1, 1, 1], np.float32), np.array([1, 2, 3, 4], np.float32)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    counted = [0, 1, 4, 5]  # row 2 is padding, row 3 has no label
    w = class_weight[label[counted]]
    total, count = cross_entropy(*map(jnp.asarray, (logits, label, weight, class_weight)))
    np.testing.assert_allclose(float(total), -(w * log_p[counted, label[counted]]).sum(), rtol=1e-5)
    np.testing.assert_allclose(float(count), w.sum(), rtol=1e-6)


def test_label_smoothing_moves_mass_to_the_uniform():
    logits = np.array([[2.0, 0.0]], np.float32)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    total, _ = cross_entropy(jnp.asarray(logits), jnp.array([0]), jnp.ones(1), jnp.ones(2), 0.2)
    np.testing.assert_allclose(float(total), -(0.9 * log_p[0, 0] + 0.1 * log_p[0, 1]), rtol=1e-5)


def test_correct_counts_labelled_rows_once():
    hits, count = correct(jnp.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]), jnp.array([0, 1, 1, -1]), jnp.array([1.0, 1, 0, 1]))
    assert (float(hits), float(count)) == (1.0, 2.0)


def test_reconstruction_counts_only_weighted_values():
    """A padding row and an absent value, both wildly wrong, change nothing."""
    prediction = np.array([[1.0, 2.0], [9e3, 9e3], [0.0, 9e3]], np.float32)
    out = {
        "prediction": {"image": jnp.asarray(prediction)},
        "target": {"image": jnp.zeros((3, 2))},
        "target_weight": {"image": jnp.array([[1.0, 1], [1, 1], [1, 0]])},
    }
    total, count = reconstruction_errors(out, jnp.array([1.0, 0.0, 1.0]))["image"]
    assert (float(total), float(count)) == (5.0, 3.0)
