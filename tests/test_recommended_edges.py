"""The recommended model's encoders on odd tables, and what a training row may know of labels."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from mmjax.configs import get_config
from mmjax.data.data_report import DataReport
from mmjax.datasets.dataset import Dataset, leave_out_lacking, open_dataset
from mmjax.datasets.encoders import FoldEncoders, training_labels
from mmjax.datasets.locations import find_files
from mmjax.encoding.base import TrainingLabels
from mmjax.encoding.logistic import cross_fit
from mmjax.encoding.tabular_encoder import TabularEncoder
from mmjax.errors import ConfigError
from mmjax.io.workdir import Workdir
from mmjax.modalities.base import InputSpec
from mmjax.modalities.shapes import blank_rows, modality_constants
from mmjax.reproduce.baselines import run_baselines
from mmjax.tasks.base import make_task
from mmjax.tasks.reconstruction import code_width, targets
from mmjax.train.run import encode_folds, fit_folds, open_run
from tests.encoder_tables import make_tabular

SCHEMA = {
    "id": "id",
    "label": "label",
    "group": "seller",
    "entity": ["brand"],
    "text": ["text"],
    "short_text": ["name"],
    "continuous": ["size"],
    "categorical": ["kind"],
}
ROWS = 60


def rows_of(count: int = ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, count)
    said = [" ".join(rng.choice(["wool", "beach", "rain", "coat", "fine", "thing", "red"], 8)) for _ in range(count)]
    columns = {
        "id": [f"r{i}" for i in range(count)],
        "seller": [f"s{i}" for i in rng.integers(0, 9, count)],
        "brand": [f"b{i}" for i in rng.integers(0, 3, count)],
        "text": said,
        "name": [text[:9] for text in said],
        "size": rng.normal(label).round(3),
        "kind": rng.choice(list("abc"), count),
        "label": [f"c{k}" for k in label],
    }
    return pd.DataFrame(columns)


def opened(folder: Path, rows: pd.DataFrame, group: str = "", changes: dict[str, Any] | None = None):
    """The table's settings and its rows; a schema of the columns that it has."""
    schema = {k: v if isinstance(v, str) else [c for c in v if c in rows] for k, v in SCHEMA.items()}
    lines = [f"{k} = {v!r}".replace("'", '"') for k, v in schema.items() if (v in rows if isinstance(v, str) else v)]
    folder.mkdir(exist_ok=True)
    (folder / "schema.toml").write_text("\n".join(lines) + "\n")
    rows.to_csv(folder / "rows.csv", index=False)
    where = {"data.root": str(folder), "data.table": "rows.csv", "data.schema": str(folder / "schema.toml")}
    small = {"data.cache": str(folder / "cache"), "data.forest_trees": 5, "cv.folds": 3, "cv.group": group}
    settings = get_config("recommended:table", where | small | (changes or {}))
    settings = leave_out_lacking(settings, find_files(settings.data).schema, lambda line: None)
    return settings, open_dataset(settings.data, settings.model.modalities, group=group, report=DataReport())


def encoded(dataset: Dataset, rows: np.ndarray, group: str, label_N: np.ndarray) -> dict[str, np.ndarray]:
    dataset.label = label_N
    return FoldEncoders.fit(dataset, rows, group).encode(dataset, labels=training_labels(dataset, rows, group))


def test_in_grouped_folds_no_row_knows_its_groups_labels(tmp_path: Path):
    """Breaks if an entity, a neighbour, a regression or a tree tells a row labels of its own group: no new row has those."""
    _, dataset = opened(tmp_path, rows_of(), "schema")
    group_N, label_N = dataset.table.group_N, dataset.label.copy()
    assert group_N is not None
    rows = np.flatnonzero(group_N != group_N[-1])
    own = np.flatnonzero(group_N == group_N[0])
    assert len(set(label_N[own])) > 1
    other_N = label_N.copy()
    other_N[own] = np.roll(label_N[own], 1)  # as many of each class as before: frequencies of all rows stay
    assert not np.array_equal(other_N, label_N)
    before, after = (encoded(dataset, rows, "seller", known_N) for known_N in (label_N, other_N))
    for name in before.keys() - {"label"}:
        np.testing.assert_array_equal(after[name][own], before[name][own], err_msg=name)
    others = np.setdiff1d(rows, own)
    changed = {name for name in before if not np.array_equal(after[name][others], before[name][others])}
    assert changed == {"entity_brand/label", "entity_brand/score", "words/neighbour", "linear/score", "forest/score"}


def test_scores_of_a_row_come_from_models_that_never_saw_it(tmp_path: Path):
    """Breaks if a regression or a tree that scores a training row was fitted on it."""
    _, dataset = opened(tmp_path, rows_of())
    label_N, rows = dataset.label.copy(), np.arange(50)
    other_N = label_N.copy()
    other_N[7] = (other_N[7] + 1) % 3
    before, after = (encoded(dataset, rows, "", known_N) for known_N in (label_N, other_N))
    for name in ("linear/score", "forest/score"):
        np.testing.assert_array_equal(after[name][7], before[name][7], err_msg=name)
        assert not np.array_equal(after[name], before[name])


def test_held_out_rows_teach_encoders_nothing(tmp_path: Path):
    """Breaks if terms, singular vectors, bins or categories are fitted on more than the training rows."""
    rows, saved = rows_of(), []
    for i, changed in enumerate(({}, {"text": "new words", "name": "tail", "size": 99.0, "kind": "d"})):
        rows.loc[50:, list(changed)] = list(changed.values())
        _, dataset = opened(tmp_path / str(i), rows, changes={"model.modalities": ("tabular", "words", "linear", "forest")})
        FoldEncoders.fit(dataset, np.arange(50)).save(tmp_path / str(i) / "encoders.json")
        saved.append([(tmp_path / str(i) / f"encoders.{end}").read_bytes() for end in ("json", "npz")])
    assert saved[0] == saved[1]


def ungrouped(**columns) -> tuple[pd.DataFrame, str]:
    return rows_of().assign(**columns), ""


few = ["c0" if i in (0, 3, 6) else "c1" if i in (9, 12) else "" for i in range(ROWS)]  # all in the first fold
every_third = [i % 3 == 0 for i in range(ROWS)]
TABLES = {
    "two_groups_of_training_rows": (rows_of().assign(seller=[f"s{i % 3}" for i in range(ROWS)]), "schema"),
    "no_group_has_two_rows": (rows_of().assign(seller=[f"s{i}" for i in range(ROWS)]), "schema"),
    "no_term_in_two_texts": (rows_of()[["text", "label"]].assign(text=[chr(0x4E00 + i) for i in range(ROWS)]), ""),
    "one_text_is_not_empty": (rows_of()[["text", "label"]].assign(text=["a fine thing"] + [""] * (ROWS - 1)), ""),
    "all_texts_alike": ungrouped(text="the same text", name="one"),
    "a_fold_without_an_entity": ungrouped(seller=["s" if at else "" for at in every_third]),
    "a_fold_without_a_number": ungrouped(size=["1" if at else "" for at in every_third]),
    "no_number_at_all": ungrouped(size=""),
    "a_class_in_one_fold": ungrouped(label=["rare" if at else "often" for at in every_third]),
    "a_fold_whose_training_rows_have_no_label": ungrouped(label=few),
    "constant_columns": ungrouped(size=3.0, kind="a", seller="x", brand="y"),
    "20_rows": (rows_of(20), ""),
    "only_short_texts": (rows_of()[["name", "label"]], ""),
    "only_an_entity": (rows_of()[["brand", "label"]], ""),
}


@pytest.mark.parametrize("name", TABLES)
def test_odd_tables_are_encoded_alike_in_every_fold(tmp_path: Path, name: str):
    """Breaks if a fold has other sizes, a value is not finite, a saved encoder encodes otherwise, or a library warns."""
    rows, group = TABLES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, dataset = opened(tmp_path, rows, group)
        fold_N = np.arange(len(rows)) % 3
        column = dataset.schema.group if group else ""
        training = [np.flatnonzero(fold_N != fold) for fold in range(3)]
        fitted = [FoldEncoders.fit(dataset, rows, column) for rows in training]
        blank = blank_rows(fitted[0].spec.padded([e.spec for e in fitted]), len(rows))
        for rows_n, encoders in zip(training, fitted, strict=True):
            new = encoders.encode(dataset)
            for arrays in (new, encoders.encode(dataset, labels=training_labels(dataset, rows_n, column))):
                assert {n: a.shape for n, a in arrays.items()} == {n: blank[n].shape for n in arrays}
                assert all(np.isfinite(a).all() for a in arrays.values())
            encoders.save(tmp_path / "encoders.json")
            for part, array in FoldEncoders.load(tmp_path / "encoders.json").encode(dataset).items():
                assert array.tobytes() == new[part].tobytes(), part


def test_of_one_group_alone_nothing_is_cross_fitted(tmp_path: Path):
    """Its rows train and validate, so they come twice; breaks if their doubles are fitted on to score them."""
    rows = rows_of(40).assign(seller=["a", "b"] * 20)
    settings, _ = opened(tmp_path, rows, "schema", {"cv.folds": 2})
    run = open_run(settings, Workdir(tmp_path / "run"), lambda line: None, lambda: False)
    fit_folds(run, [0, 1])
    encode_folds(run)
    for fold in run.folds:
        assert np.array_equal(fold.parts.train, fold.parts.valid)
        for name in ("linear/score", "forest/score"):
            np.testing.assert_allclose(fold.arrays[name][fold.parts.train], -np.log(3), rtol=1e-5, err_msg=name)


def test_without_a_term_the_regression_says_how_frequent_classes_are():
    labels = TrainingLabels(np.arange(40), np.repeat([0, 1], [10, 30]), 3)
    score_nxK = cross_fit(np.zeros((40, 0), np.float32), labels, 1.0)
    np.testing.assert_allclose(np.exp(score_nxK).mean(axis=0), [0.25, 0.75, 0], atol=0.02)


def test_regressions_in_threads_are_those_of_one_thread():
    """Folds are encoded in threads; breaks if two fits share liblinear's random numbers: a resumed run's scores differ."""
    rng = np.random.default_rng(0)
    matrix = csr_matrix(np.where(rng.random((400, 300)) < 0.1, rng.random((400, 300)), 0).astype(np.float32))
    labels = TrainingLabels(np.arange(400), rng.integers(0, 2, 400), 2)
    alone = cross_fit(matrix, labels, 10.0)
    with ThreadPoolExecutor(4) as pool:
        for score_nxK in pool.map(lambda _: cross_fit(matrix, labels, 10.0), range(8)):
            np.testing.assert_array_equal(score_nxK, alone)


def test_baselines_where_a_folds_training_rows_are_of_one_class(tmp_path: Path):
    rows = rows_of().assign(seller=[f"s{i % 2}" for i in range(ROWS)], label=["ab"[i % 2] for i in range(ROWS)])
    _, dataset = opened(tmp_path, rows, "schema", {"model.modalities": ("tabular",)})
    found = run_baselines(dataset, np.arange(ROWS) % 2, "seller", lambda line: None)
    assert {metrics["accuracy"] for name in ("majority", "boosting") for metrics in found[name].values()} == {0}


def test_an_autoencoder_reads_no_scores_which_know_labels(tmp_path: Path):
    """Breaks if a linear path, which knows labels, or a large table's, which has no numbers, gets a decoder and a code."""
    config = {"model.modalities": ("linear", "tabular"), "model.autoencoder.kind": "mmae", "model.autoencoder.code": 3}
    settings, dataset = opened(tmp_path, rows_of(), changes=config)
    spec = FoldEncoders.fit(dataset, np.arange(ROWS)).spec
    assert list(targets(settings, spec)) == ["tabular"]
    assert code_width(settings, spec) == 3
    task = make_task("autoencoder", settings, spec)
    fitted = FoldEncoders.fit(dataset, np.arange(ROWS))
    batch = {k: v[:5] for k, v in fitted.encode(dataset).items()} | modality_constants(spec, fitted.encoders)
    params, _ = task.init(jax.random.key(0), batch)
    assert not [name for name in params if "linear" in name]
    assert np.asarray(task.outputs(params, {}, batch)["h_mm"]).shape == (5, 3)
    with pytest.raises(ConfigError, match="hold nothing that an autoencoder reads"):
        targets(settings, InputSpec(("linear",), spec.classes, spec.kinds, spec.sizes))


def test_a_forest_reads_the_most_frequent_categories():
    """Breaks if a column of thousands of categories becomes as many inputs of every row."""
    values = [f"v{i % 700}" for i in range(1000)]
    encoder = TabularEncoder.fit(make_tabular([values]), np.arange(1000), most=255)
    assert encoder.onehot == 255
    assert all(values.count(value) == 2 for value in encoder.values[0])


def test_a_profile_does_not_depend_on_how_the_table_is_cut(tmp_path: Path):
    """Tables to predict are encoded part by part; breaks if a seller's mean is over the rows of one part."""
    _, dataset = opened(tmp_path, rows_of(), changes={"model.modalities": ("profile", "entity")})
    encoders = FoldEncoders.fit(dataset, np.arange(30))
    whole = encoders.encode(dataset)
    for at in (slice(0, 13), slice(13, 60)):
        for name, array in encoders.encode(dataset.part(at)).items():
            np.testing.assert_array_equal(array, whole[name][at], err_msg=name)
