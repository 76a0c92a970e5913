"""The blend of a fold's network with boosted trees: its weight, its files, and that everything that predicts uses it."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from mmjax.config import Settings
from mmjax.data.data_report import DataReport
from mmjax.datasets.dataset import open_dataset
from mmjax.datasets.splits import FOLDS, load_folds
from mmjax.encoding.base import TableContext, TrainingLabels
from mmjax.encoding.entity_columns import EntityReader
from mmjax.errors import CheckpointError, ConfigError, DataError, Interrupted
from mmjax.explain.answers import FoldAnswers
from mmjax.explain.explanation import shapley_values
from mmjax.inference import Ensemble
from mmjax.modalities.base import InputSpec
from mmjax.modalities.entity import EntityEncoder
from mmjax.modalities.image import Image
from mmjax.modalities.tabular import Tabular
from mmjax.train.blend import Blend, blends, check_blend
from mmjax.train.cross_validation import cross_validate
from mmjax.train.fold_rows import FoldRows
from tests.shrunken import shrunken

CLASSES = ("a", "b", "c", "d")


def quiet(line: str) -> None:
    del line


def made_fold(**changes: Any) -> Any:
    """300 rows of a table, and vectors that some lack: a number and a category say classes a to c; d is in no row."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 300).astype(np.int32)
    vector = rng.normal(size=(300, 4)).astype(np.float32)
    vector[:, 1] += label
    category = np.where(rng.random(300) < 0.6, label, rng.integers(0, 3, 300)).astype(np.uint8)
    arrays = {
        "tabular/id": category[:, None],
        "tabular/number": rng.normal(size=(300, 1)).astype(np.float32),
        "vectors/vector": vector,
        "present": np.stack([np.ones(300, bool), rng.random(300) < 0.9], axis=1),
        "label": label,
    }
    rows = rng.permutation(300)
    parts = FoldRows(np.sort(rows[:180]), np.sort(rows[180:240]), np.sort(rows[240:]))
    kinds = {"tabular": "tabular", "vectors": "vectors"}
    return SimpleNamespace(number=0, arrays=arrays | changes, parts=parts, encoders=SimpleNamespace(kinds=kinds))


TASK: Any = SimpleNamespace(settings=Settings(), spec=SimpleNamespace(classes=CLASSES))


def network(fold: Any, wrong: float = 0.3) -> np.ndarray:
    """Probabilities of the validation rows by a network that is rather sure, and wrong about a share of them."""
    label = np.maximum(fold.arrays["label"][fold.parts.valid], 0)
    said = np.where(
        np.random.default_rng(1).random(len(fold.arrays["label"]))[fold.parts.valid] < wrong, (label + 1) % 3, label
    )
    return 0.05 + 0.8 * np.eye(4)[said]


def fitted(fold: Any, **options: Any) -> Blend:
    return Blend.fit(TASK, fold, network(fold), **options)


def test_the_weight_has_the_least_log_loss_of_the_inner_rows():
    """Breaks if another row or another grid decides, or the loss is not the mixture's."""
    fold = made_fold()
    blend, valid = fitted(fold), fold.parts.valid
    boosting, label = blend.probabilities(fold, valid), fold.arrays["label"][valid]
    losses = {}
    for weight in np.arange(0, 1.01, 0.05).round(2):
        p = ((1 - weight) * network(fold) + weight * boosting)[np.arange(len(label)), label]
        losses[weight] = -np.log(np.maximum(p, 1e-12)).mean()
    assert blend.weight == pytest.approx(min(losses, key=losses.__getitem__))
    assert 0 < blend.weight < 1
    expected = {"network": losses[0.0], "boosting": losses[1.0], "blend": min(losses.values())}
    assert blend.log_loss == pytest.approx(expected)


def test_a_network_that_knows_everything_is_left_alone():
    fold = made_fold()
    assert Blend.fit(TASK, fold, network(fold, wrong=0.0)).weight == 0


def test_held_out_rows_are_not_read():
    """Neither their labels nor their inputs; and the label of a training row does count."""
    fold = made_fold()
    before, label = fitted(fold), fold.arrays["label"].copy()
    label[fold.parts.test] = (label[fold.parts.test] + 1) % 3
    vector = fold.arrays["vectors/vector"].copy()
    vector[fold.parts.test] = 1e6
    assert fitted(made_fold(label=label, **{"vectors/vector": vector})) == before
    label[fold.parts.train[:20]] = 0
    assert fitted(made_fold(label=label)) != before


def test_threads_do_not_matter():
    fold = made_fold()
    assert fitted(fold, threads=1) == fitted(fold, threads=3)


def test_classes_without_a_training_row_keep_their_columns():
    """Classes b and d of four are in no training row; one of them is in a validation row."""
    label = made_fold().arrays["label"]
    label[label == 1] = 2
    label[made_fold().parts.valid[0]] = 1
    fold = made_fold(label=label)
    p = fitted(fold).probabilities(fold, fold.parts.test)
    assert not p[:, [1, 3]].any()
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert (p.argmax(axis=1) == label[fold.parts.test]).mean() > 0.8


def test_rows_without_a_label_are_left_out():
    """They are as if they were not there, in training and in validation."""
    fold = made_fold()
    label = fold.arrays["label"].copy()
    gone = np.concatenate([fold.parts.train[::3], fold.parts.valid[::4]])
    label[gone] = -1
    some = made_fold(label=label)
    without = made_fold()
    without.parts = FoldRows(*(np.setdiff1d(rows, gone) for rows in (fold.parts.train, fold.parts.valid, fold.parts.test)))
    assert fitted(some) == fitted(without)


def test_one_class_alone_is_nothing_to_boost():
    fold = made_fold(label=np.ones(300, np.int32))
    blend = fitted(fold)
    assert (blend.trees, blend.rounds) == ("", 0)
    np.testing.assert_array_equal(blend.probabilities(fold, np.arange(2)), [[0, 1, 0, 0]] * 2)


def test_what_trees_read_of_modalities():
    """Category codes and numbers as they are, no photos; an absent modality is missing, not zeros."""
    fold = made_fold()
    read = Tabular.boosting_features({"id": fold.arrays["tabular/id"], "number": fold.arrays["tabular/number"]})
    np.testing.assert_array_equal(read["id"], fold.arrays["tabular/id"])
    assert Image.boosting_features({"pixel": np.zeros((2, 4, 4, 3), np.uint8)}) == {}
    blend = fitted(fold)
    assert blend.widths == {"tabular/id": 1, "tabular/number": 1, "vectors/vector": 4}
    absent = np.flatnonzero(~fold.arrays["present"][:, 1])
    other = fold.arrays["vectors/vector"].copy()
    other[absent] = 5
    seen = made_fold(**{"vectors/vector": other})
    np.testing.assert_array_equal(blend.probabilities(seen, absent), blend.probabilities(fold, absent))


def test_trees_cannot_read_a_rows_label_from_what_others_have():
    """Labels at random: a seller's label frequencies without the row itself would tell them, in validation rows too."""
    rng = np.random.default_rng(0)
    seller, label = rng.integers(0, 4, 600), rng.integers(0, 3, 600).astype(np.int32)
    reader = EntityReader("seller", TableContext("rows.csv", Path(), DataReport(), Path()))
    reader.take({"seller": [f"s{s}" for s in seller]}, 0)
    columns, rows = reader.finish([]), np.arange(480)
    labels = TrainingLabels(rows, label, 3)
    parts, present = EntityEncoder.fit(columns, labels, 5.0).transform_training(columns, labels)
    arrays = {"tabular/id": seller.astype(np.uint8)[:, None], "tabular/number": np.zeros((600, 0), np.float32)}
    arrays |= {f"entity/{part}": value for part, value in parts.items()}
    kinds = {"tabular": "tabular", "entity": "entity"}
    present_NxM = np.stack([np.ones(600, bool), present], axis=1)
    fold: Any = SimpleNamespace(number=0, arrays=arrays | {"present": present_NxM, "label": label})
    fold.parts, fold.encoders = FoldRows(rows[:380], rows[380:], np.arange(480, 600)), SimpleNamespace(kinds=kinds)
    assert fitted(fold).log_loss["boosting"] > 1.05, "log 3 is 1.099"


def test_rows_encoded_otherwise_are_refused():
    fold = made_fold()
    blend = fitted(fold)
    narrow = made_fold(**{"vectors/vector": np.zeros((300, 3), np.float32)})
    with pytest.raises(CheckpointError, match="was trained on features"):
        blend.probabilities(narrow, np.arange(3))


def test_a_signal_stops_the_boosting():
    with pytest.raises(Interrupted, match="fold 0 was boosted"):
        fitted(made_fold(), stop=lambda: True)


def test_what_cannot_be_blended_is_refused(tmp_path: Path):
    """By settings, by what the modalities hold, by a fold that has no rows to find the weight on."""
    blended = {"model__blend": "lightgbm"}
    with pytest.raises(ConfigError, match=r"set config\.train\.refit=False"):
        shrunken("tabular", tmp_path, **blended, train__refit=True)
    with pytest.raises(ConfigError, match="valid_fraction is 0"):
        shrunken("tabular", tmp_path, **blended, cv__valid_fraction=0.0)
    with pytest.raises(ConfigError, match="has no classes"):
        shrunken("mmae", tmp_path, "image", **blended)
    with pytest.raises(ConfigError, match="must be one of: none, lightgbm"):
        shrunken("tabular", tmp_path, model__blend="xgboost")
    settings = shrunken("tabular", tmp_path, **blended)
    photos = InputSpec(("image",), CLASSES, {"image": "image"}, {"image": {"side": 4}})
    with pytest.raises(ConfigError, match="has nothing to read in image"):
        check_blend(settings, photos, [])
    table = InputSpec(("tabular",), CLASSES, {"tabular": "tabular"}, {"tabular": dict(Tabular.nominal_sizes)})
    fold = made_fold()
    check_blend(settings, table, [fold])
    fold.parts = FoldRows(fold.parts.train, fold.parts.train, fold.parts.test)
    with pytest.raises(DataError, match="no inner validation rows"):
        check_blend(settings, table, [fold])


def test_without_lightgbm_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ConfigError, match=r"pip install 'mmjax\[blend\]'"):
        cross_validate(shrunken("tabular", tmp_path / "cache", model__blend="lightgbm"), tmp_path / "run", quiet)
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return shrunken("tabular", tmp_path_factory.mktemp("cache"), model__blend="lightgbm")


@pytest.fixture(scope="module")
def run(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of a shrunken table, blended."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    cross_validate(settings, workdir, quiet)
    return workdir


def opened(workdir: Path) -> tuple[Ensemble, Any, np.ndarray]:
    ensemble = Ensemble.load(workdir)
    dataset = open_dataset(ensemble.settings.data, ensemble.settings.model.modalities, report=DataReport())
    return ensemble, dataset, load_folds(workdir / FOLDS, dataset.table.ids)


def test_predictions_are_the_blend_everywhere(run: Path):
    """(1 - w) p + w p: in predictions.csv, and of any table; p of the trees by LightGBM itself from the saved file."""
    ensemble, dataset, fold_N = opened(run)
    whole = ensemble.predict(dataset)
    weights = []
    for f, member in enumerate(ensemble.members):
        folder = run / f"fold_{f}" / "blend"
        values = json.loads((folder / "blend.json").read_text())
        blend, member.blend = member.blend, None
        assert blend is not None
        arrays = member.encoders.encode(dataset)
        read = np.concatenate([arrays["tabular/id"], arrays["tabular/number"]], axis=1)
        boosting = np.asarray(lightgbm.Booster(model_file=folder / "model.txt").predict(read))
        network_NxK = ensemble.predict(dataset).by_fold[f]
        expected = (1 - values["weight"]) * network_NxK + values["weight"] * boosting
        np.testing.assert_allclose(whole.by_fold[f], expected, atol=1e-6)
        written = pd.read_csv(run / f"fold_{f}" / "predictions.csv").filter(regex="^p_").to_numpy()
        np.testing.assert_allclose(written, expected[fold_N == f], atol=1e-6)
        weights.append(values["weight"])
        done = json.loads((run / f"fold_{f}" / "done.json").read_text())
        assert done["blend"] == {k: values[k] for k in ("weight", "rounds", "log_loss")}
        assert values["width"] == read.shape[1]
        assert values["classes"] == list(ensemble.spec.classes)
    assert any(weights), "a run whose trees count nowhere tests nothing"


def test_explanations_are_of_the_blend(run: Path):
    """Breaks where only the network is asked: its own probabilities would be explained."""
    ensemble, dataset, _ = opened(run)
    answers = [FoldAnswers(ensemble, m, m.encoders.encode(dataset)) for m in ensemble.members]
    found = shapley_values(answers)
    p_NxK = ensemble.predict(dataset).probabilities
    np.testing.assert_allclose(found.probability_N, p_NxK.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.base_value_N + found.value_NxM.sum(axis=1), found.probability_N, atol=1e-9)


def test_held_out_rows_are_scored_again_as_training_did(run: Path):
    ensemble, dataset, fold_N = opened(run)
    for f, found in ensemble.held_out(dataset, fold_N).items():
        assert found == json.loads((run / f"fold_{f}" / "done.json").read_text())["metrics"]


def files_of(workdir: Path) -> dict[str, bytes]:
    names = ("predictions.csv", "summary.json", *(f"fold_{f}/{n}" for f in (0, 1) for n in ("done.json", "predictions.csv")))
    blend = (f"fold_{f}/blend/{n}" for f in (0, 1) for n in ("model.txt", "blend.json", "manifest.json"))
    return {name: (workdir / name).read_bytes() for name in (*names, *blend)}


def test_a_run_goes_on_to_what_a_whole_one_gives(settings: Settings, run: Path, tmp_path: Path):
    """After a kill between network and trees, or while they were written; after their folder was deleted; fold by fold."""
    whole = files_of(run)
    cut = Path(shutil.copytree(run, tmp_path / "cut"))
    for name in ("done.json", "predictions.csv"):
        (cut / "fold_0" / name).unlink()
    (cut / "fold_0" / "blend").rename(cut / "fold_0" / "blend.tmp")
    shutil.rmtree(cut / "fold_1" / "blend")
    (cut / "summary.json").unlink()
    cross_validate(settings, cut, quiet)
    assert files_of(cut) == whole
    assert not list(cut.rglob("*.tmp"))
    again = shrunken("tabular", Path(settings.data.cache), model__blend="lightgbm", cv__only=(1,))
    cross_validate(again, tmp_path / "parts", quiet)
    assert not (tmp_path / "parts" / "fold_0").exists()
    cross_validate(settings, tmp_path / "parts", quiet)
    assert files_of(tmp_path / "parts") == whole


def test_trees_of_a_network_that_is_gone_are_made_anew(settings: Settings, run: Path, tmp_path: Path):
    cut = Path(shutil.copytree(run, tmp_path / "cut"))
    shutil.rmtree(cut / "fold_0" / "classifier")
    (cut / "fold_0" / "blend" / "model.txt").write_text("another network's")
    cross_validate(settings, cut, quiet)
    assert files_of(cut) == files_of(run)


@pytest.mark.parametrize("name", ["model.txt", "blend.json", "manifest.json"])
def test_a_damaged_file_is_refused(name: str, settings: Settings, run: Path, tmp_path: Path):
    cut = Path(shutil.copytree(run, tmp_path / "cut"))
    file = cut / "fold_1" / "blend" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="fold_1/blend is damaged"):
        Ensemble.load(cut)
    with pytest.raises(CheckpointError, match="fold_1/blend is damaged"):
        cross_validate(settings, cut, quiet)


def test_another_configs_trees_are_refused(run: Path, tmp_path: Path):
    ensemble = Ensemble.load(run)
    blend = ensemble.members[0].blend
    assert blend is not None
    assert blends(ensemble.settings)
    blend.save(tmp_path / "blend", "one")
    assert Blend.load(tmp_path / "blend", "one") == blend
    with pytest.raises(CheckpointError, match="another config"):
        Blend.load(tmp_path / "blend", "two")


def test_a_model_without_lightgbm_says_what_to_install(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ConfigError, match=r"pip install 'mmjax\[blend\]'"):
        Ensemble.load(run)
