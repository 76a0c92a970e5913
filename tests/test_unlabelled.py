"""Rows without a label: who learns from them, and that nothing else does."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from mmjax import configs
from mmjax.config import Settings
from mmjax.errors import DataError, MmjaxError
from mmjax.models.autoencoder import Target
from mmjax.models.denoising import DenoisingAutoencoder
from mmjax.ops import prng
from mmjax.ops.onehot import group_log_sum
from mmjax.train.cross_validation import cross_validate
from mmjax.train.fold_rows import _with_labels

SCHEMA = 'id = "id"\nlabel = "label"\ntext = "text"\ncategorical = ["colour"]\ncontinuous = ["size"]\n'


def table(folder: Path, rows: int, first: int, label: bool, seed: int = 0) -> Path:
    """Rows whose colour and words say the label."""
    draw = np.random.default_rng(seed + first)
    kind = draw.integers(0, 3, rows)
    frame = pd.DataFrame(
        {
            "id": [f"r{first + i}" for i in range(rows)],
            "colour": np.array(["red", "green", "blue"])[kind],
            "size": kind + draw.normal(0, 0.3, rows).round(3),
            "text": [f"word{k} common{d}" for k, d in zip(kind, draw.integers(0, 5, rows), strict=True)],
            "label": np.array(["a", "b", "c"])[kind] if label else "",
        }
    )
    path = folder / f"rows_{first}.csv"
    frame.to_csv(path, index=False)
    return path


def settings(folder: Path, **changes: object) -> Settings:
    """The recommended model with a denoising autoencoder, at the size of a test."""
    (folder / "s.toml").write_text(SCHEMA, encoding="utf-8")
    path = folder / "rows_0.csv"
    small = {
        "data.root": str(folder),
        "data.table": path.name,
        "data.schema": "s.toml",
        "model.modalities": ("tabular", "words"),
        "model.autoencoder.denoising.hidden": (16, 16),
        "model.autoencoder.denoising.code": 8,
        "model.head.members": 2,
        "model.head.width": 8,
        "train.max_epochs": 2,
        "train.min_steps": 0,
        "train.autoencoder_max_epochs": 2,
        "cv.folds": 2,
    }
    return configs.get_config("recommended:table+denoising", small | changes)


def test_further_rows_teach_the_encoders_and_are_held_out_nowhere(tmp_path: Path) -> None:
    """Would break if the further file's rows got into folds, were not read, or were scored."""
    table(tmp_path, 60, 0, True)
    more = table(tmp_path, 40, 100, False)
    frame = pd.read_csv(more, dtype=str, keep_default_na=False)
    frame.loc[0, "colour"] = "violet"
    frame.drop(columns="label").to_csv(more, index=False)
    lines: list[str] = []
    summary = cross_validate(settings(tmp_path, **{"data.unlabelled": more.name}), tmp_path / "run", lines.append)
    assert any("40 rows without a label" in line for line in lines)
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert set(predictions["id"]) == {f"r{i}" for i in range(60)}
    assert summary["rows"] == 60
    encoders = (tmp_path / "run" / "fold_0" / "encoders.json").read_text(encoding="utf-8")
    assert "violet" in encoders, "a category that the further rows alone have is known"


def test_a_label_of_the_further_file_is_not_read(tmp_path: Path) -> None:
    """Would break if a label in the further file reached the classifier: predictions would differ."""
    table(tmp_path, 60, 0, True)
    more = table(tmp_path, 40, 100, False)
    runs = []
    for name, value in (("without", ""), ("with", "a")):
        frame = pd.read_csv(more, dtype=str, keep_default_na=False).assign(label=value)
        frame.to_csv(more, index=False)
        cross_validate(settings(tmp_path, **{"data.unlabelled": more.name}), tmp_path / name, lambda _: None)
        runs.append((tmp_path / name / "predictions.csv").read_bytes())
    assert runs[0] == runs[1]


def test_rows_whose_label_is_missing_teach_only_where_an_autoencoder_trains(tmp_path: Path) -> None:
    """Would break if junk rows moved the vocabularies of a model that learns nothing from them."""
    frame = pd.read_csv(table(tmp_path, 60, 0, True), dtype=str)
    frame.loc[59, ["label", "colour"]] = ["", "violet"]
    frame.to_csv(tmp_path / "rows_0.csv", index=False)
    known = {}
    for kind in ("none", "denoising"):
        run = tmp_path / kind
        cross_validate(settings(tmp_path, **{"model.autoencoder.kind": kind}), run, lambda _: None)
        known[kind] = "violet" in (run / "fold_0" / "encoders.json").read_text(encoding="utf-8")
    assert known == {"none": False, "denoising": True}


def test_labels_that_are_taken_away_are_known_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break if a label beyond `cv.labels` reached an encoder, the autoencoder or the classifier."""
    path, fold_N = table(tmp_path, 80, 0, True), np.arange(80, dtype=np.int32) % 2
    monkeypatch.setattr("mmjax.train.run.make_folds", lambda *_, **__: fold_N)  # other labels would give other folds
    rows = np.flatnonzero(fold_N == 1)
    kept = _with_labels(rows, 12, 0, 0)
    assert len(kept) == 12
    assert set(_with_labels(rows, 6, 0, 0)) < set(kept), "fewer labels are a part of more"
    found = []
    for shift in (0, 1):
        frame = pd.read_csv(path, dtype=str)
        hidden = np.setdiff1d(rows, kept)
        frame.loc[hidden, "label"] = np.roll(frame.loc[hidden, "label"].to_numpy(), shift)
        frame.to_csv(path, index=False)
        run = tmp_path / str(shift)
        names = ("tabular", "words", "linear", "forest")
        cross_validate(settings(tmp_path, **{"cv.labels": 12, "cv.only": (0,), "model.modalities": names}), run, lambda _: None)
        found.append((run / "predictions.csv").read_bytes())
    assert found[0] == found[1]


def test_a_further_file_that_is_not_there(tmp_path: Path) -> None:
    """Would break if the path were taken as empty."""
    table(tmp_path, 20, 0, True)
    with pytest.raises(DataError, match=r"config.data.unlabelled is 'nowhere.csv'"):
        cross_validate(settings(tmp_path, **{"data.unlabelled": "nowhere.csv"}), tmp_path / "run", lambda _: None)


def test_a_further_file_without_rows_or_columns_is_refused(tmp_path: Path) -> None:
    """Would break if an empty file, or one of another table, were taken as nothing to learn from."""
    table(tmp_path, 20, 0, True)
    more = table(tmp_path, 10, 100, False)
    frame = pd.read_csv(more, dtype=str, keep_default_na=False)
    for name, rows, words in (("a", frame.head(0), "no rows"), ("b", frame.drop(columns="size"), "has no column 'size'")):
        rows.to_csv(more, index=False)
        with pytest.raises(MmjaxError, match=rf"rows_100.csv.*{words}"):
            cross_validate(settings(tmp_path, **{"data.unlabelled": more.name}), tmp_path / name, lambda _: None)


def test_problems_of_the_further_file_name_it_and_its_own_row(tmp_path: Path) -> None:
    """Would break if a bad cell of the further file were told as a row of the first."""
    table(tmp_path, 20, 0, True)
    more = table(tmp_path, 10, 100, False)
    frame = pd.read_csv(more, dtype=str, keep_default_na=False)
    frame.loc[3, "size"] = "huge"
    frame.to_csv(more, index=False)
    lines: list[str] = []
    cross_validate(settings(tmp_path, **{"data.unlabelled": more.name}), tmp_path / "run", lines.append)
    told = [line for text in lines for line in text.splitlines() if "huge" in line]
    assert told, "the cell is told of"
    assert "rows_100.csv, row 4" in told[0], told


def test_group_log_sum_is_each_groups_own() -> None:
    """Would break if groups were mixed, a padding column counted, or an empty group gave no number."""
    logit_BxO = jnp.array([[0.0, 1.0, 500.0, -2.0, 9.0]])
    found_BxC = group_log_sum(logit_BxO, jnp.array([0, 0, 1, 1, 3]), 3)
    expected = [np.log(1 + np.e), 500.0]
    np.testing.assert_allclose(found_BxC[0, :2], expected, rtol=1e-6)
    slope = jax.grad(lambda x: group_log_sum(x, jnp.array([0, 0, 1, 1, 3]), 3)[:, :2].sum())(logit_BxO)
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope[0], [1 / (1 + np.e), np.e / (1 + np.e), 1.0, 0.0, 0.0], atol=1e-6)


def test_noise_swaps_a_fifth_of_each_column_and_values_stay_in_their_column() -> None:
    """Would break if values crossed columns, whole rows moved, or the share were another."""
    target = Target(3, lambda inputs, _, dtype: inputs["x"].astype(dtype))
    module = DenoisingAutoencoder({"m": target}, rows={"m": ("x",)}, hidden=(4,), code=2, noise=0.2)
    x_BxD = jnp.arange(3000.0).reshape(1000, 3)
    batch = {"m/x": x_BxD, "present": jnp.ones((1000, 1), bool)}
    key = prng.wrap(jnp.array([1, 2], jnp.uint32))
    variables = module.init({"params": key, "dropout": key}, batch)
    swapped = module.apply(variables, batch, method=lambda m, b: m._swapped(b), rngs={"dropout": key})["m/x"]  # type: ignore[index]
    changed = np.asarray(swapped != x_BxD)
    assert abs(changed.mean() - 0.2) < 0.03
    assert (np.asarray(swapped) % 3 == np.arange(3)).all(), "each value comes from its own column"
    assert (changed.sum(axis=1) == 1).mean() > 0.05, "columns are swapped one by one"
    trained: Any = module.apply(variables, batch, train=True, rngs={"dropout": key})
    clean: Any = module.apply(variables, batch)
    np.testing.assert_array_equal(trained["h_mm"], clean["h_mm"])
    assert (np.asarray(trained["prediction"]["m"]) != np.asarray(clean["prediction"]["m"])).any()


def test_sharding_a_batch_over_devices_changes_no_swap(tmp_path: Path) -> None:
    """Would break if each device swapped within its own rows, or drew its own noise."""
    table(tmp_path, 60, 0, True)
    found = []
    for devices in (1, 4):
        more = {"train.devices": devices, "train.placement": "batch" if devices > 1 else "auto", "train.batch_share": 1.0}
        alone = {"train.batch_size": 8, "task": "autoencoder", "cv.only": (0,)}
        summary = cross_validate(settings(tmp_path, **more, **alone), tmp_path / str(devices), lambda _: None)
        found.append(summary["mean"])
    assert found[0].keys() >= {"error_tabular", "error_words"}
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-4), name
