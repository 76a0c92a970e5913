"""The folds of a workdir as one model: what is restored is what was trained, for any rows in any order."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
import pandas as pd
import pytest

from mmjax import inference as ensemble_module
from mmjax.data.data_report import DataReport
from mmjax.errors import CheckpointError, ConfigError, DataError, SchemaError, WorkdirError
from mmjax.inference import Ensemble, Predictions
from mmjax.io import checkpoint
from mmjax.new_table import open_new_table

if TYPE_CHECKING:  # pytest imports the plugin itself
    from tests.fixtures_trained import Trained

pytest_plugins = ("tests.fixtures_trained",)


@pytest.fixture(scope="module")
def ensemble(trained: "Trained") -> Ensemble:
    return Ensemble.load(trained.workdir)


@pytest.fixture(scope="module")
def whole(trained: "Trained", ensemble: Ensemble) -> Predictions:
    """Predictions of the whole table, in its order."""
    return ensemble.predict(opened(ensemble, trained.table)[0])


def opened(ensemble: Ensemble, table: Path, **options):
    report = DataReport()
    return open_new_table(ensemble, table, report, **options), report


def changed(trained: "Trained", tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    frame = pd.read_csv(trained.table, dtype=str, keep_default_na=False)
    change(frame).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


def test_a_folds_own_rows_get_the_predictions_training_wrote(trained: "Trained", whole: Predictions):
    """Breaks if encoders, codes, parameters or BatchNorm's statistics of a fold are not its own."""
    written = pd.read_csv(trained.workdir / "predictions.csv")
    p_NxK = written.filter(regex="^p_").to_numpy()
    by_fold = whole.by_fold[written["fold"].to_numpy(), np.arange(len(written))]
    np.testing.assert_allclose(by_fold, p_NxK, atol=1e-6)
    np.testing.assert_allclose(whole.probabilities, whole.by_fold.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(whole.attention.sum(axis=1), 1.0, atol=1e-6)


def test_rows_in_another_order_and_in_blocks_get_the_same_predictions(
    trained: "Trained", ensemble: Ensemble, whole: Predictions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Breaks if a block's rows are cut from another place, or a row's prediction depends on its neighbours."""
    monkeypatch.setattr(ensemble_module, "BLOCK", 50)
    seen = []
    reversed_rows = changed(trained, tmp_path, lambda f: f.iloc[::-1])
    blocks = ensemble.predict(opened(ensemble, reversed_rows, paths={"images": str(trained.photos)})[0], seen.append)
    np.testing.assert_allclose(blocks.probabilities[::-1], whole.probabilities, atol=1e-6)
    np.testing.assert_allclose(blocks.attention[::-1], whole.attention, atol=1e-6)
    assert seen == [50, 50, 50, 50, 40] * 2


def test_modules_too_large_to_keep_are_restored_at_each_turn(
    trained: "Trained", ensemble: Ensemble, whole: Predictions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ensemble_module, "KEEP_BYTES", 0)
    dropped = Ensemble.load(trained.workdir)
    dropped.tasks = ensemble.tasks  # compiled already
    assert all(m.kept is not None for m in ensemble.members)
    assert all(m.kept is None for m in dropped.members)
    np.testing.assert_array_equal(dropped.predict(opened(dropped, trained.table)[0]).by_fold, whole.by_fold)


def test_a_frozen_autoencoder_is_kept_without_its_decoders(
    trained: "Trained", ensemble: Ensemble, whole: Predictions, copy_of: Callable[[Path], Path]
):
    """Its codes are all that is used. A workdir of an older version, with decoders, predicts the same."""
    coder, workdir, rng = ensemble.chain[0], copy_of(trained.workdir), np.random.default_rng(0)
    everything, kept = coder.variables[0], coder.kept[0]
    assert {name for name in everything if name not in kept} == {name for name in everything if name.startswith("decode_")}
    for member in ensemble.members:
        folder, (params, _, facts) = workdir / f"fold_{member.number}" / "autoencoder", member.restore()["autoencoder"]
        assert params.keys() == kept.keys()
        left_out = {name: everything[name] for name in everything.keys() - kept}
        decoders = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), left_out)
        slim, body = folder_bytes(folder), checkpoint.check_model(folder)
        checkpoint.save_model(folder, {"params": params | decoders, "batch_stats": {}}, facts, body["config"])
        assert folder_bytes(folder) > slim + sum(leaf.nbytes for leaf in jax.tree.leaves(decoders)) // 2
    older = Ensemble.load(workdir)
    older.tasks = ensemble.tasks  # compiled already
    np.testing.assert_array_equal(older.predict(opened(older, trained.table)[0]).by_fold, whole.by_fold)


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_unseen_values_broken_photos_and_empty_texts_keep_their_rows(trained: "Trained", ensemble: Ensemble, tmp_path: Path):
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[0, ["material", "mass", "note"]] = ["unobtainium", "heavy", "zyxwv qqq"]
        frame.loc[1, "note"] = ""
        frame.loc[2, "photo"] = "nowhere.jpg"
        frame.loc[3, "photo"] = "../escape.jpg"
        return frame.drop(columns=["route", "sender"]).head(8)

    dataset, report = opened(ensemble, changed(trained, tmp_path, spoil), paths={"images": str(trained.photos)})
    entry = {"row": 1, "column": "material", "value": "unobtainium"}
    (told,) = report.entries("category_unseen")
    assert told.items() >= entry.items()
    predictions = ensemble.predict(dataset)
    assert list(dataset.table.ids) == [f"P{i:06d}" for i in range(8)]
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1.0, atol=1e-6)
    assert predictions.attention[1, 1] == 0
    assert (predictions.attention[2:4, 2] == 0).all()
    assert {"image_missing", "image_path", "number_unreadable"} <= report.counts().keys()


def test_a_category_unseen_in_training_is_told_with_its_rows(trained: "Trained", ensemble: Ensemble, tmp_path: Path):
    """Once a value; what any fold was trained on is known. Breaks if rows, not values, are listed, or a fold is left out."""

    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[[4, 9, 11], "material"] = "unobtainium"
        return frame

    _, report = opened(ensemble, changed(trained, tmp_path, spoil), paths={"images": str(trained.photos)})
    told = [(e["row"], e["column"], e["value"], e["action"]) for e in report.entries("category_unseen")]
    assert told == [(5, "material", "unobtainium", "no category in its 3 row(s): no training row has it")]
    assert opened(ensemble, trained.table)[1].counts().keys() <= {"image_absent", "text_absent"}


def test_known_columns_are_not_called_unused(trained: "Trained", ensemble: Ensemble, tmp_path: Path):
    """The label and the group are training's own; a column it never had is told, without advice about the schema."""
    table = changed(trained, tmp_path, lambda f: f.assign(colour="red").head(5))
    _, report = opened(ensemble, table, paths={"images": str(trained.photos)})
    told = [(e["column"], e["action"]) for e in report.entries("column_unused")]
    assert told == [("colour", "not read; the model was trained without it")]


@pytest.mark.parametrize(("column", "modality"), [("note", 1), ("photo", 2)])
def test_a_text_or_photo_column_that_is_gone_is_an_absent_modality(
    column: str, modality: int, trained: "Trained", ensemble: Ensemble, tmp_path: Path
):
    dataset, report = opened(ensemble, changed(trained, tmp_path, lambda f: f.drop(columns=[column]).head(5)))
    predictions = ensemble.predict(dataset)
    assert predictions.probabilities.shape == (5, 4)
    assert (predictions.attention[:, modality] == 0).all()
    assert column in report.entries("modality_absent")[0]["action"]


def test_what_must_be_in_a_table(trained: "Trained", ensemble: Ensemble, tmp_path: Path):
    for gone in ("material", "mass", "parcel"):
        with pytest.raises(SchemaError, match=gone):
            opened(ensemble, changed(trained, tmp_path, lambda f, gone=gone: f.drop(columns=[gone])))
    with pytest.raises(ConfigError, match="no such folder of photos"):
        opened(ensemble, trained.table, paths={"images": str(tmp_path / "none")})
    with pytest.raises(SchemaError, match="route"):
        opened(ensemble, changed(trained, tmp_path, lambda f: f.drop(columns=["route"])), labelled=True)


def test_an_unfinished_fold_is_left_out_and_none_is_an_error(trained: "Trained", copy_of: Callable[[Path], Path]):
    workdir = copy_of(trained.workdir)
    (workdir / "fold_0" / "done.json").unlink()
    assert [m.number for m in Ensemble.load(workdir).members] == [1]
    (workdir / "fold_1" / "done.json").unlink()
    with pytest.raises(WorkdirError, match="no fold is finished"):
        Ensemble.load(workdir)


def test_another_config_is_refused_by_fingerprint(trained: "Trained", copy_of: Callable[[Path], Path]):
    """Nothing in the shapes tells a run with another learning rate apart: only the fingerprint does."""
    workdir = copy_of(trained.workdir)
    config = json.loads((workdir / "config.json").read_text())
    config["optim"]["learning_rate"] = 0.5
    (workdir / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="another config"):
        Ensemble.load(workdir)


@pytest.mark.parametrize("file", ["spec.json", "fold_1/encoders.json", "fold_1/classifier/manifest.json", "schema.toml"])
def test_a_damaged_file_is_named(file: str, trained: "Trained", copy_of: Callable[[Path], Path]):
    workdir = copy_of(trained.workdir)
    content = (workdir / file).read_bytes()
    (workdir / file).write_bytes(content[: len(content) // 2])
    with pytest.raises((CheckpointError, SchemaError), match=Path(file).parts[-1].split(".")[0] + "|classifier"):
        Ensemble.load(workdir)


def test_folds_of_other_sizes_are_refused(trained: "Trained", copy_of: Callable[[Path], Path]):
    workdir = copy_of(trained.workdir)
    spec = json.loads((workdir / "spec.json").read_text())
    spec["sizes"]["text"]["vocabulary"] += 1
    (workdir / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(CheckpointError, match="another model"):
        Ensemble.load(workdir)


def test_not_a_work_folder(tmp_path: Path):
    with pytest.raises(WorkdirError, match="not a workdir"):
        Ensemble.load(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_an_autoencoder_predicts_no_class(trained_autoencoder: Path, trained: "Trained"):
    ensemble = Ensemble.load(trained_autoencoder)
    with pytest.raises(WorkdirError, match="no classes"):
        ensemble.predict(opened(ensemble, trained.table)[0])


def test_a_model_of_photos_alone_needs_photos(trained_autoencoder: Path, trained: "Trained", tmp_path: Path):
    table = changed(trained, tmp_path, lambda f: f.drop(columns=["photo"]))
    with pytest.raises(DataError, match="nothing to predict from"):
        opened(Ensemble.load(trained_autoencoder), table)


def test_the_training_folder_may_be_gone(trained: "Trained", ensemble: Ensemble, whole: Predictions):
    """A model sent to someone else: the data set's folder in config.json is not there."""
    data = replace(ensemble.settings.data, name="fashion", root="/not/there")
    moved = replace(ensemble, settings=replace(ensemble.settings, data=data))
    dataset, _ = opened(moved, trained.table, paths={"images": str(trained.photos)})
    np.testing.assert_array_equal(moved.predict(dataset).probabilities, whole.probabilities)
