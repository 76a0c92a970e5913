"""Where the scores of modalities start: scales against brute force, and a start that training cannot make worse."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

from mmjax.configs import get_config
from mmjax.tasks.stacking import stacking_scales
from mmjax.train.cross_validation import cross_validate

pytest_plugins = ("tests.fixtures_trained",)


def log_loss(score_NxK: np.ndarray, label_N: np.ndarray) -> float:
    return -float(log_softmax(score_NxK, axis=1)[np.arange(len(label_N)), label_N].mean())


def test_scales_are_those_of_a_fine_grid():
    """Broken if a score that knows nothing counts, or one that is too timid is not enlarged."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 2000)
    timid = np.eye(3)[label] * 0.5 + rng.normal(0, 0.4, (2000, 3))
    noise = rng.normal(0, 2, (2000, 3))
    score = np.stack([timid, noise]).astype(np.float32)
    label[::9] = -1  # left out
    known = label >= 0
    found = stacking_scales(score, label)
    grid = np.arange(0, 6, 0.02)
    losses = [log_loss(scale * timid[known], label[known]) for scale in grid]
    assert found[0] == pytest.approx(grid[int(np.argmin(losses))], abs=0.15)
    assert found[0] > 2
    assert found[1] == pytest.approx(0, abs=0.02)


def test_no_scale_turns_a_score_around_and_no_label_leaves_the_mean():
    label = np.random.default_rng(1).integers(0, 2, 500)
    against = -np.eye(2)[label].astype(np.float32)
    assert stacking_scales(np.stack([against]), label).tolist() == [0.0]
    np.testing.assert_allclose(stacking_scales(np.stack([against] * 4), np.full(500, -1)), 0.25)


def run_of(folder: Path, workdir: Path, **changes) -> tuple[dict, dict]:
    """Scores and facts of fold 0 of the recommended model."""
    values = {"data.root": str(folder), "data.table": "rows.csv", "data.schema": str(folder / "schema.toml")}
    values |= {"cv.folds": 3, "cv.only": (0,), "train.min_steps": 30, "data.cache": str(folder / "cache"), "train.devices": 1}
    values |= {"model.modalities": ("tabular", "entity", "linear", "forest")}
    settings = get_config("recommended:table", values | {k.replace("__", "."): v for k, v in changes.items()})
    scores = cross_validate(settings, workdir, lambda line: None)["mean"]
    return scores, json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])


def test_training_that_only_harms_leaves_what_stacking_gives(recommended_table: Path, tmp_path: Path):
    """With a rate that ruins the scores at once, the start is kept; from the mean of the scores nothing protects it."""
    kept, last = run_of(recommended_table, tmp_path / "kept", optim__learning_rate=30.0, train__max_epochs=1)
    assert last["best_epoch"] == 0
    assert kept["accuracy"] > 0.75
    assert kept["log_loss"] < 0.8
    spoilt, last = run_of(
        recommended_table, tmp_path / "spoilt", optim__learning_rate=30.0, train__max_epochs=1, model__scores="mean"
    )
    assert last["best_epoch"] > 0
    assert spoilt["log_loss"] > 2 * kept["log_loss"]


def test_what_the_start_is_said_to_score_is_what_it_scores(recommended_table: Path, tmp_path: Path):
    """A rate of almost nothing: the first epoch validates as the start was said to."""
    _, last = run_of(recommended_table, tmp_path / "run", optim__learning_rate=1e-9, train__max_epochs=1)
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert -last["best_value"] == pytest.approx(first["valid"]["loss"], abs=1e-5)
