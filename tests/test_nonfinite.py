"""A loss or gradient that stops being finite: named, or skipped and counted; what was good is kept."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from mmjax.errors import NonFiniteError
from mmjax.train.cross_validation import cross_validate
from tests.shrunken import shrunken


def quiet(line: str) -> None:
    del line


@pytest.mark.parametrize("parallel", ["vmap", "sequential", "threads"])
def test_stop_names_fold_step_and_rows(parallel: str, tmp_path: Path):
    """A learning rate of 1e30 ruins the first update; the second step's loss is not finite and must change nothing."""
    settings = shrunken("tabular", tmp_path / "cache", optim__learning_rate=1e30, train__fold_parallel=parallel)
    with pytest.raises(NonFiniteError) as error:
        cross_validate(settings, tmp_path / "run", quiet)
    found = re.search(
        r"in fold (\d), classifier, step (\d+) \(epoch 1\), on the rows (.+?); the parameters before", str(error.value)
    )
    assert found, error.value
    assert parallel == "threads" or found[1] == "0", "side by side, any fold may be the first to fail"
    assert int(found[2]) >= 1
    ids = set(found[3].split(", "))
    folds = pd.read_csv(tmp_path / "run" / "folds.csv", dtype=str)
    assert len(ids) == 32
    assert ids <= set(folds["id"][folds["fold"] != found[1]])
    assert "in a new workdir: with a lower config.optim.learning_rate" in str(error.value)
    assert (next((tmp_path / "run" / "checkpoints").glob("*/last_good")) / "manifest.json").exists()


def test_skip_leaves_the_step_out_and_counts_it(tmp_path: Path):
    settings = shrunken("tabular", tmp_path / "cache", optim__learning_rate=1e30, train__on_nonfinite="skip")
    summary = cross_validate(settings, tmp_path / "run", quiet)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert summary["folds_finished"] == 2
    assert all(fold["skipped"] > 0 for fold in summary["by_fold"].values())
    assert all(line["skipped"] > 0 for line in lines)


def test_a_skipped_step_moves_nothing():
    """One step on a batch with a NaN: parameters, statistics and RMSprop's memory stay, the step and the count go on."""
    from mmjax.config import Settings
    from mmjax.modalities.base import InputSpec
    from mmjax.tasks.base import make_task
    from mmjax.train.optim import make_optimizer
    from mmjax.train.state import create
    from mmjax.train.step import FoldArrays, train_chunk

    model = {"modalities": ("tabular",), "fusion": "none", "width": 4, "tabular": {"hidden": (4,)}}
    settings = Settings.from_dict({"model": model, "train": {"on_nonfinite": "skip"}})
    task = make_task(
        "classifier",
        settings,
        InputSpec(("tabular",), ("a", "b"), {"tabular": "tabular"}, {"tabular": {"onehot": 3, "groups": 1, "numbers": 1}}),
    )
    number = np.array([[0.1], [np.nan], [0.3], [0.4]], np.float32)
    shared = {"present": np.ones((4, 1), bool), "label": np.array([0, 1, 0, 1], np.int32)}
    rows = FoldArrays(
        shared, {"tabular/id": np.zeros((4, 1), np.int32), "tabular/number": number}, {"class_weight": np.ones(2, np.float32)}
    )
    rows = jax.tree.map(jax.numpy.asarray, rows)
    optimizer = make_optimizer(settings.optim)
    params, batch_stats = task.init(jax.random.key(0), rows.batch(np.arange(2)))
    state = create(params, batch_stats, optimizer, np.ones(2, np.uint32), steps_per_epoch=2, max_epochs=1)
    index = np.array([[0, 1], [2, 3]], np.int32)
    run = jax.jit(lambda s, i, a: train_chunk(task, optimizer, None, s, rows, i, a))
    bad, _ = run(state, index[:1], np.ones(1, bool))
    assert (int(bad.skipped), int(bad.step)) == (1, 1)
    for a, b in zip(
        jax.tree.leaves((bad.params, bad.opt_state)), jax.tree.leaves((state.params, state.opt_state)), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    good, _ = run(state, index[1:], np.ones(1, bool))
    assert int(good.skipped) == 0
    assert any(
        (np.asarray(a) != b).any() for a, b in zip(jax.tree.leaves(good.params), jax.tree.leaves(state.params), strict=True)
    )
