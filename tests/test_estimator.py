"""The Python API: frames in and out, the same numbers as the command line's, and scikit-learn's conventions."""

import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

import mmjax
from mmjax import MultiModalClassifier
from mmjax.cli.main import main
from mmjax.errors import ConfigError, DataError, MmjaxError, SchemaError, WorkdirError
from mmjax.schema import Schema

pytest_plugins = ("tests.fixtures_trained",)

SMALL = {"model.width": 8, "model.tabular.hidden": (8,), "train.devices": 1}


def small(config: str = "tabular", **more: Any) -> MultiModalClassifier:
    more = {"folds": 2, "max_epochs": 1, "verbose": False, "overrides": SMALL} | more
    return MultiModalClassifier(config, **more)


def rows(count: int = 60) -> pd.DataFrame:
    """A number and a category that say the class, a text, and an index of its own."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=count)
    columns = {"n": y + rng.normal(0, 0.1, count), "c": pd.Categorical([f"k{i % 2}" for i in y]), "y": y}
    words = np.array(["red green blue", "one two three", "cat dog bird"])
    columns["text"] = [f"{words[k]} and {i} of them" for i, k in enumerate(y)]
    return pd.DataFrame(columns, index=[f"r{i}" for i in range(count)])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> MultiModalClassifier:
    workdir = tmp_path_factory.mktemp("estimator") / "run"
    return small(workdir=workdir, max_epochs=30, learning_rate=0.02).fit(rows(), label="y")


def test_import_is_light():
    """No command line and no notebook waits for jax before it has said what it wants."""
    code = "import sys, mmjax; assert not {'jax', 'pandas', 'sklearn'} & set(sys.modules); print(dir(mmjax))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(name in shown for name in mmjax.__all__)
    assert all(hasattr(mmjax, name) for name in mmjax.__all__)


def test_frames_in_and_out(fitted: MultiModalClassifier):
    """Same index; breaks if rows are moved, or classes lose the label's type."""
    frame = rows().sample(frac=1, random_state=1)
    p = fitted.predict_proba(frame.drop(columns="y"))
    assert list(p.index) == list(frame.index)
    assert list(p.columns) == list(fitted.classes_) == [0, 1, 2]
    np.testing.assert_allclose(p.sum(axis=1), 1)
    predicted = fitted.predict(frame)
    assert predicted.dtype == np.int64
    pd.testing.assert_series_equal(predicted, p.idxmax(axis=1), check_names=False)
    assert fitted.score(frame) == fitted.score(frame.drop(columns="y"), frame["y"]) == np.mean(predicted == frame["y"]) > 0.9
    assert list(fitted.attention(frame).columns) == ["tabular"]
    assert list(fitted.feature_names_in_) == ["n", "c", "text"]


def test_held_out_metrics_and_predictions(fitted: MultiModalClassifier):
    held_out = fitted.out_of_fold_
    assert list(held_out.index) == list(rows().index)
    np.testing.assert_array_equal(held_out["label"], rows()["y"])
    for fold in (0, 1):
        own = held_out[held_out["fold"] == fold]
        assert fitted.summary_.loc[fold, "accuracy"] == np.mean(own["label"] == own["prediction"])
    assert fitted.summary_.loc["mean", "accuracy"] == pytest.approx(fitted.summary_.loc[[0, 1], "accuracy"].mean())


def test_load_evaluate_and_go_on(fitted: MultiModalClassifier, capsys: pytest.CaptureFixture[str]):
    """A fitted frame's workdir is like any other; another frame does not take its place."""
    workdir = fitted.workdir_
    pd.testing.assert_frame_equal(mmjax.load(workdir, verbose=False).predict_proba(rows()), fitted.predict_proba(rows()))
    assert main(["evaluate", f"--workdir={workdir}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["equal"] is True
    before = (workdir / "predictions.csv").read_bytes()
    again = clone(fitted).fit(rows(), label="y")
    assert (workdir / "predictions.csv").read_bytes() == before
    pd.testing.assert_frame_equal(again.out_of_fold_, fitted.out_of_fold_)
    with pytest.raises(WorkdirError, match="a run on another table"):
        clone(fitted).fit(rows(59), label="y")
    assert len(pd.read_csv(workdir / "data" / "table.csv")) == 60


def test_a_file_is_the_frame(fitted: MultiModalClassifier, tmp_path: Path):
    """CSV and Parquet give the frame's model to the bit; breaks if a category or a number is read in another way."""
    pytest.importorskip("pyarrow")
    rows().to_csv(tmp_path / "rows.csv", index=False)
    rows().to_parquet(tmp_path / "rows.parquet")
    for name in ("rows.csv", "rows.parquet"):
        model = clone(fitted).set_params(workdir=tmp_path / f"run of {name}").fit(tmp_path / name, label="y")
        np.testing.assert_array_equal(model.predict_proba(tmp_path / name), fitted.predict_proba(rows()))
        assert model.score(tmp_path / name) == fitted.score(rows())
        assert (list(model.classes_), model.out_of_fold_.index[-1]) == ([0, 1, 2], 59)
        assert model.predict(tmp_path / name).dtype == np.int64


def test_labels_keep_their_type():
    frame = rows(30)
    for y in (frame["y"] == 1, frame["y"].map(str), frame["y"].astype(float), frame["y"].astype("category"), list(frame["y"])):
        model = small().fit(frame[["n", "c"]], y)
        assert set(model.classes_) == set(y)
        assert set(model.predict(frame)) <= set(y)
        assert mmjax.load(model.workdir_, verbose=False).classes_.tolist() == model.classes_.tolist()


def test_modalities_that_are_there(capsys: pytest.CaptureFixture[str]):
    """mmae_attention wants photos; a table without them is fitted on what it has, unless modalities are asked for."""
    tiny = SMALL | {"model.text.embed_dim": 4, "model.text.maps": 4, "model.autoencoder.code": 2, "model.autoencoder.hidden": 8}
    tiny |= {"train.autoencoder_max_epochs": 1}
    model = small("mmae_attention", overrides=tiny, verbose=True).fit(rows(), label="y")
    assert "The table has no image: the model reads tabular, text." in capsys.readouterr().out
    attention = model.attention(rows())
    assert list(attention.columns) == ["tabular", "text"]
    np.testing.assert_allclose(attention.sum(axis=1), 1, rtol=1e-6)
    codes = model.codes(rows())
    assert (codes.shape, codes.columns.names, set(codes.columns.get_level_values("fold"))) == (
        (60, 8),
        ["fold", "code"],
        {0, 1},
    )
    with pytest.raises(MmjaxError, match="names no image"):
        small("mmae_attention", overrides=tiny | {"model.modalities": ("tabular", "image")}).fit(rows(), label="y")
    with pytest.raises(ConfigError, match="no column for it"):
        small("image").fit(rows(), label="y")


def test_without_an_autoencoder_there_are_no_codes(fitted: MultiModalClassifier):
    with pytest.raises(ConfigError, match=r"there are no codes: the config trains no autoencoder"):
        fitted.codes(rows())


def test_a_model_without_attention_says_so(fitted: MultiModalClassifier, capsys: pytest.CaptureFixture[str]):
    """Broken if even weights, which mean nothing, pass for the attention of `recommended`."""
    model, said = mmjax.load(fitted.workdir_), {}
    for fusion in ("concatenate", "attention"):
        model._loaded = replace(loaded := model._ensemble(), settings=replace(loaded.settings, model=fused(loaded, fusion)))
        model.attention(rows(4))
        said[fusion] = "no attention" in capsys.readouterr().out
    assert said == {"concatenate": True, "attention": False}


def fused(loaded: Any, fusion: str) -> Any:
    return replace(loaded.settings.model, fusion=fusion)


def test_one_row_is_a_table(fitted: MultiModalClassifier):
    """Broken if a Series or a dict gets scikit-learn's advice to reshape it, which would lose the columns' names."""
    for row in (rows().iloc[0], rows().iloc[0].to_dict()):
        with pytest.raises(DataError, match=r"df\.iloc\[\[0\]\]"):
            fitted.predict(row)


@pytest.mark.filterwarnings("error")
def test_a_model_of_an_array_has_no_names_to_miss():
    """Broken if a model that was fitted on an array warns that it was fitted on names, and gets an array."""
    x, y = rows(30)[["n"]].to_numpy(), rows(30)["y"].to_numpy()
    model = small().fit(x, y)
    assert not hasattr(model, "feature_names_in_")
    assert len(model.predict(x)) == len(mmjax.load(model.workdir_, verbose=False).predict(x)) == 30


def test_a_schema_of_ones_own(tmp_path: Path):
    schema = {"continuous": ["n"], "label": "y"}
    (tmp_path / "schema.toml").write_text('continuous = ["n"]\nlabel = "y"\n')
    for given in (schema, Schema.from_dict(schema), tmp_path / "schema.toml"):
        assert small().fit(rows(30), schema=given).schema_ == Schema.from_dict(schema)
    assert mmjax.propose_schema(rows(), label="y")["categorical"] == ("c",)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        small().predict(rows())


def test_a_pickled_model_is_whole():
    """A temporary workdir goes with the model that made it; a copy has its own."""
    model = small().fit(rows(30), label="y")
    expected = model.predict_proba(rows())
    packed, folder = pickle.dumps(model), model.workdir_
    del model
    copy = pickle.loads(packed)
    assert copy.workdir_ != folder
    pd.testing.assert_frame_equal(copy.predict_proba(rows()), expected)


def test_cross_val_score_and_grid_search():
    frame = rows()
    y = (frame["y"] > 0).astype(int)
    model = small(max_epochs=20, learning_rate=0.02, output="numpy")
    scores = cross_val_score(model, frame[["n", "c"]], y, cv=2, scoring="roc_auc", error_score="raise")
    assert scores.min() > 0.9
    search = GridSearchCV(small(max_epochs=10), {"learning_rate": [1e-6, 0.02]}, cv=2, error_score="raise")
    search.fit(frame[["n", "c", "text"]], frame["y"])
    assert search.best_params_ == {"learning_rate": 0.02}
    assert search.predict(frame).index.equals(frame.index)


def test_cross_validate_is_the_command_line(tmp_path: Path, synthetic_cache: Path, capsys: pytest.CaptureFixture[str]):
    """The same config gives the same bytes; without a table it is the config's own data set."""
    changes = SMALL | {"train.max_epochs": 1, "cv.folds": 2, "data.max_rows": 200, "data.cache": str(synthetic_cache)}
    summary = mmjax.cross_validate("tabular", workdir=tmp_path / "python", overrides=changes, verbose=False)
    assert capsys.readouterr().out == ""
    line = [f"--config.{name}={value}" for name, value in changes.items()]
    assert main(["train", "--config=tabular", f"--workdir={tmp_path / 'shell'}", *line]) == 0
    files = [tmp_path / run / "predictions.csv" for run in ("python", "shell")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert summary["mean"]["accuracy"] == mmjax.load(tmp_path / "shell", verbose=False).summary_.loc["mean", "accuracy"]


EXPECTED = {
    "check_dtype_object": "any object is a category, by its text",
    "check_estimators_nan_inf": "a missing value is a value like others, and is reported",
    "check_classifier_data_not_an_array": "a DataFrame's few whole numbers are codes (propose_schema), an array's are numbers",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks():
    """All but those that mean something else for mixed columns."""
    overrides = {"model.width": 16, "model.tabular.hidden": (16,), "train.devices": 1, "train.patience": 30}
    model = small(max_epochs=30, learning_rate=0.03, batch_size=8, overrides=overrides)
    check_estimator(model, expected_failed_checks=EXPECTED, on_skip=None)


def attacked(**changes) -> "pd.DataFrame":
    frame = pd.DataFrame({"age": np.arange(60.0), "kind": list("abc") * 20, "season": ["hi", "lo"] * 30})
    return frame.assign(**changes)


def quick(**options):
    return mmjax.MultiModalClassifier("tabular", folds=2, max_epochs=1, batch_size=16, verbose=False, **options)


def test_a_folder_of_other_things_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "table.csv").write_text("mine")
    with pytest.raises(WorkdirError, match="holds 'data' and no run"):
        quick(workdir=tmp_path).fit(attacked(), label="season")
    assert (tmp_path / "data" / "table.csv").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("y", [attacked()["season"], attacked()["season"].tolist()])
def test_labels_that_are_a_column_too_are_refused(y):
    """Breaks where the column stays an input under another name: the model reads its own answer."""
    with pytest.raises(SchemaError, match="leave it out of X"):
        quick().fit(attacked(), y, label="season")


def test_a_class_whose_name_means_nothing_is_refused():
    with pytest.raises(DataError, match=r"holds 'None', which a table takes for no label"):
        quick().fit(attacked(season=["hi", "lo", "None"] * 20), label="season")


def test_odd_columns_and_labels_come_back(tmp_path):
    """Dates, a padded name, a name that is a number, a class without rows, folds drawn by a search."""
    dates = pd.to_datetime(["2020-01-01", "2020-02-01"] * 30)
    model = quick().fit(attacked(season=dates), label="season")
    assert sorted(model.classes_) == ["2020-01-01", "2020-02-01"]
    model = quick(workdir=tmp_path / "n").fit(attacked().set_axis([0, " kind ", 3], axis=1), label=3)
    assert model.predict(attacked().set_axis([0, "kind", 3], axis=1)).name == "3"
    model = quick(random_state=np.int64(3)).fit(
        attacked(), schema={"label": "season", "continuous": ["age"], "classes": ["hi", "lo", "zz"]}
    )
    assert model.classes_.tolist() == ["hi", "lo", "zz"]
    padded = quick().fit(attacked(season=[" hi", "hi", "lo", " lo"] * 15), label="season")
    assert padded.classes_.tolist() == ["hi", "lo"]
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        padded.score(attacked(), ["hi"])
    with pytest.raises(DataError, match="no row has one of the labels"):
        padded.score(attacked(season="zz"))
    with pytest.raises(ConfigError, match="'imgs' is no path of a table"):
        padded.predict(attacked(), imgs="/nope")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("predictions.csv", None, "is missing"),
        ("predictions.csv", "", "is damaged"),
        ("predictions.csv", "id,fold\n", "is damaged"),
        ("folds.csv", "id,fold\n", "is damaged|not those of folds.csv"),
        ("summary.json", None, "is missing; run the same training"),
        ("spec.json", None, "is missing; train again in a new folder.$"),
        ("fold_0/done.json", None, "fold 0 is not whole any more"),
    ],
)
def test_a_damaged_workdir_is_one_sentence(name, content, said, season_run, tmp_path):
    workdir = shutil.copytree(season_run, tmp_path / "copy")
    file = workdir / name
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(MmjaxError, match=said) as raised:
        mmjax.load(workdir, verbose=False)
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def season_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "season"
    quick(workdir=workdir).fit(attacked(), label="season")
    return workdir
