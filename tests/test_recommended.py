"""The recommended model's parts: what each computes, and that no row knows its own label."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from encoder_tables import encode, make_tabular
from scipy import sparse

from mmjax.config import data_settings
from mmjax.configs import get_config
from mmjax.data.arrays import in_memory
from mmjax.data.data_report import DataReport
from mmjax.datasets.dataset import open_dataset
from mmjax.datasets.encoders import FoldEncoders, training_labels
from mmjax.encoding.base import TableContext, TrainingLabels
from mmjax.encoding.entity_columns import EntityReader
from mmjax.encoding.logistic import cross_fit, fit_logistic
from mmjax.encoding.tabular_encoder import TabularEncoder
from mmjax.encoding.texts.raw_texts import RawTextReader, RawTexts
from mmjax.encoding.whole_rows import WholeRows
from mmjax.io.workdir import Workdir
from mmjax.modalities.entity import EntityEncoder
from mmjax.modalities.forest import Forest
from mmjax.modalities.profile import ProfileColumns, ProfileEncoder
from mmjax.models.members import Members, log_mean_probability
from mmjax.ops.piecewise import piecewise
from mmjax.train.cross_validation import cross_validate
from mmjax.train.run import open_run
from tests.reading import schema_of

F32 = jnp.dtype("float32")
NAN, INF = np.nan, np.inf
PARTS = ("tabular", "entity", "profile", "words", "linear", "forest")

pytest_plugins = ("tests.fixtures_trained",)


def context(**options) -> TableContext:
    return TableContext("rows.csv", Path(), DataReport(), Path(), **options)


def entities(values: list[str]):
    reader = EntityReader("seller", context())
    reader.take({"seller": values}, 0)
    return reader.finish([])


def raw_texts(*columns: list[str]) -> RawTexts:
    reader = RawTextReader([f"t{i}" for i in range(len(columns))], context())
    for start in range(0, len(columns[0]), 3):
        reader.take({f"t{i}": column[start : start + 3] for i, column in enumerate(columns)}, start)
    return reader.finish([])


def test_piecewise_fills_bin_after_bin():
    found = piecewise(jnp.asarray([[2.3, -1.0], [0.0, 3.0]]), 3)
    expected = [[1, 1, 0.3, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 1, 1, 0]]  # the last of each four: missing
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-6)


def test_a_numbers_place_among_its_quantiles():
    """Halves of a bin, values outside the training range, missing and huge ones; breaks where an edge is off by one."""
    column = [0.0, 10.0, 20.0, 30.0, 15.0, -5.0, 99.0, NAN, INF]
    encoder = TabularEncoder.fit(make_tabular([], [column]), np.arange(4), bins=3, piecewise=True)
    assert encoder.numbers_of[0].edges == (0.0, 10.0, 20.0, 30.0)
    _, place = encode(encoder, make_tabular([], [column]))
    np.testing.assert_allclose(place[:, 0], [0, 1, 2, 3, 1.5, 0, 3, -1, -1])
    huge = make_tabular([], [[-3e38, 0.0, 3e38]])
    _, place = encode(TabularEncoder.fit(huge, np.arange(3), bins=2, piecewise=True), huge)
    np.testing.assert_allclose(place[:, 0], [0, 1, 2])


def test_values_seen_often_have_columns_of_their_own():
    column = [1.0] * 5 + [2.0] * 4 + [7.0] + [NAN, 3.0]
    table = make_tabular([["a", "b"] * 6], [column])
    encoder = TabularEncoder.fit(table, np.arange(10), piecewise=True, bins=4, exact=4)
    ids, _ = encode(encoder, table)
    assert encoder.numbers_of[0].exact == (1.0, 2.0)
    assert ids[:, 1].tolist() == [2] * 5 + [3] * 4 + [-1, -1, -1]  # after the two categories
    assert TabularEncoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder


def test_an_entitys_labels_by_hand():
    """Seller x: labels 0, 0, 1 in training; smoothing 2 and a prior of (2/5, 3/5)."""
    columns = entities(["x", "x", "x", "y", "y", "", "x", "new"])
    labels = TrainingLabels(np.arange(6), np.array([0, 0, 1, 1, 1, -1, 1, 0]), 2)
    encoder = EntityEncoder.fit(columns, labels, 2.0)
    parts, present = encoder.transform(columns, 8)
    prior = np.array([0.4, 0.6])
    assert present.tolist() == [True] * 5 + [False] + [True] * 2
    np.testing.assert_allclose(parts["label"][6, :2], (np.array([2, 1]) + 2 * prior) / 5 - prior, atol=1e-6)
    np.testing.assert_allclose(parts["label"][7], [0, 0, 0], atol=1e-6)  # no training row of it
    parts, _ = encoder.transform_training(columns, labels)
    np.testing.assert_allclose(parts["label"][0, :2], (np.array([1, 1]) + 2 * prior) / 4 - prior, atol=1e-6)
    np.testing.assert_allclose(parts["label"][2, :2], (np.array([2, 0]) + 2 * prior) / 4 - prior, atol=1e-6)
    np.testing.assert_allclose(parts["label"][[0, 6], 2], np.log1p([2, 3]), atol=1e-6)


def test_an_entity_of_grouped_folds_is_counted_alone():
    columns = entities(["x", "x", "y", "y", "z"])
    schema_data = data_settings()
    from mmjax.modalities.entity import Entity
    from tests.reading import schema_of

    modality = Entity("entity", "seller", schema_of(group="seller"), schema_data)
    labels = TrainingLabels(np.arange(4), np.array([0, 1, 0, 1, 0]), 2, "seller", np.array([0, 0, 1, 1, 2]))
    assert modality.fit_labels(columns, labels).sizes["classes"] == 0
    assert modality.fit_labels(columns, TrainingLabels(np.arange(4), labels.label_N, 2)).sizes["classes"] == 2


def test_texts_come_back_as_they_were_read():
    long, short = ["eins", "", "größer als 東京 🐕", "x" * 30_000, "zwei"], ["a", "b", "", "d", "é"]
    columns = raw_texts(long, short)
    assert columns.texts(0) == [text[:20_000] for text in long]
    assert columns.texts(1) == short
    assert columns.part(slice(2, 5)).texts(0) == columns.texts(0)[2:]
    assert columns.part(slice(2, 5)).texts(1) == short[2:]
    assert columns.part(slice(1, 4)).present.tolist() == columns.present[1:4].tolist() == [True, True, True]


def test_members_start_at_the_scores_and_their_mean_is_of_probabilities():
    head = Members(3, 4, 8, 0.0, F32)
    x = jax.random.normal(jax.random.key(0), (5, 6))
    scores, variables = head.init_with_output(jax.random.key(1), x, train=False)
    assert scores.shape == (5, 4, 3)
    assert not np.asarray(scores).any()
    assert len(np.unique(np.asarray(variables["params"]["sign"]), axis=0)) > 1, "members that see the same are one"
    logits = jax.random.normal(jax.random.key(2), (5, 4, 3))
    np.testing.assert_allclose(
        np.exp(np.asarray(log_mean_probability(logits))), np.asarray(jax.nn.softmax(logits)).mean(axis=1), atol=1e-6
    )


def settings_of(folder: Path, **changes):
    where = {"data.root": str(folder), "data.table": "rows.csv", "data.schema": str(folder / "schema.toml")}
    small = {"cv.folds": 3, "train.min_steps": 60, "data.cache": str(folder / "cache"), "train.devices": 1}
    values = where | small | {"model.modalities": PARTS} | {k.replace("__", "."): v for k, v in changes.items()}
    return get_config("recommended:table", values)


@pytest.mark.parametrize("group", ["", "schema"])
def test_no_row_knows_its_own_label_and_none_a_held_out_one(recommended_table: Path, group: str):
    """Other labels for held-out rows change nothing; another label for a training row leaves its own inputs alone."""
    settings = settings_of(recommended_table, cv__group=group)
    dataset = open_dataset(settings.data, settings.model.modalities, group=group, report=DataReport())
    rows = np.arange(0, 200)
    column = dataset.schema.group if group else ""

    def inputs(label_N: np.ndarray) -> dict[str, np.ndarray]:
        dataset.label = label_N
        encoders = FoldEncoders.fit(dataset, rows, column)
        return encoders.encode(dataset, labels=training_labels(dataset, rows, column))

    label_N = dataset.label.copy()
    before = inputs(label_N)
    poisoned = label_N.copy()
    poisoned[200:] = (poisoned[200:] + 1) % 3
    for name, value in inputs(poisoned).items():
        if name != "label":
            np.testing.assert_array_equal(value, before[name], err_msg=name)
    one = label_N.copy()
    one[7] = (one[7] + 1) % 3
    after = inputs(one)
    for name in ("entity/label", "words/neighbour"):
        np.testing.assert_allclose(after[name][7], before[name][7], atol=0.02, err_msg=name)  # the prior moves by 1/200
    assert not np.array_equal(after["entity/label"], before["entity/label"]) or group


def test_encoders_with_arrays_come_back(recommended_table: Path, tmp_path: Path):
    settings = settings_of(recommended_table)
    dataset = open_dataset(settings.data, settings.model.modalities, report=DataReport())
    fitted = FoldEncoders.fit(dataset, np.arange(200))
    fitted.save(tmp_path / "encoders.json")
    loaded = FoldEncoders.load(tmp_path / "encoders.json")
    before = fitted.encode(dataset)
    for name, value in loaded.encode(dataset).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    assert loaded.spec == fitted.spec
    first = (tmp_path / "encoders.npz").read_bytes()
    fitted.save(tmp_path / "encoders.json")
    assert (tmp_path / "encoders.npz").read_bytes() == first, "a resumed run writes the same bytes"


def test_the_recommended_model_learns_and_goes_on_where_it_was(recommended_table: Path, tmp_path: Path):
    """Better than any of its inputs' majority class, the same after a stop, and it predicts a table without the seller."""
    import mmjax

    settings = settings_of(recommended_table)
    whole = cross_validate(settings, tmp_path / "whole", lambda line: None)
    assert whole["mean"]["accuracy"] > 0.75
    cut = settings_of(recommended_table, cv__only=(1,))
    cross_validate(cut, tmp_path / "cut", lambda line: None)
    again = cross_validate(settings, tmp_path / "cut", lambda line: None)
    assert again["mean"] == whole["mean"]
    model = mmjax.load(tmp_path / "whole")
    new = pd.read_csv(recommended_table / "rows.csv").drop(columns=["label", "seller"])
    p = model.predict_proba(new)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-6)
    assert (model.predict(new) == pd.read_csv(recommended_table / "rows.csv")["label"]).mean() > 0.75


def test_with_counts_of_training_rows_a_prediction_depends_on_no_other_row(recommended_table: Path, tmp_path: Path):
    """The same row alone and among others; with counts of the whole file it is not."""
    import mmjax

    new = pd.read_csv(recommended_table / "rows.csv").drop(columns=["label"])
    new["seller"] = new["seller"].iloc[0]
    for counts, alike in (("training", True), ("table", False)):
        settings = settings_of(recommended_table, cv__only=(0,), data__entity_counts=counts, train__max_epochs=1)
        cross_validate(settings, tmp_path / counts, lambda line: None)
        model = mmjax.load(tmp_path / counts)
        alone, among = model.predict_proba(new.iloc[:1]), model.predict_proba(new)[:1]
        assert np.allclose(alone, among, atol=1e-6) == alike


def whole_rows(numbers: np.ndarray, categories: list[str]) -> WholeRows:
    return WholeRows(None, make_tabular([categories], list(numbers.T)))


def test_a_forest_is_scikit_learns_and_knows_no_row_it_scores():
    """Its arrays give what its trees give; out of bag, labels at random are not recognised, not even by a row's group."""
    rng = np.random.default_rng(0)
    number, label, group = rng.normal(size=(300, 3)), rng.integers(0, 3, 300), np.repeat(np.arange(30), 10)
    number[:, 0] = group  # says the group
    columns = whole_rows(number, list(rng.choice(["a", "b"], 300)))
    modality = Forest("forest", "", schema_of(continuous=["n"]), data_settings())
    for of_groups in (False, True):
        own = np.repeat(rng.integers(0, 3, 30), 10) if of_groups else label
        labels = TrainingLabels(np.arange(250), own, 3, "g" * of_groups, group if of_groups else None)
        encoder = modality.fit_labels(columns, labels)
        new, _ = encoder.transform(columns, 300)
        train, _ = encoder.transform_training(columns, labels, in_memory)
        seen = new["score"][:250].argmax(1) == own[:250]
        unseen = train["score"][:250].argmax(1) == own[:250]
        assert seen.mean() > 0.85, "trees recognise the rows that they drew"
        assert unseen.mean() < 0.5, "and are not asked about them"
        np.testing.assert_array_equal(train["score"][250:], new["score"][250:])
        loaded = Forest.load_encoder(encoder.to_dict())
        np.testing.assert_array_equal(loaded.transform(columns, 300)[0]["score"], new["score"])


def test_a_forest_finds_what_two_columns_say_together():
    rng = np.random.default_rng(1)
    number = rng.normal(size=(600, 4))
    label = (number[:, 0] > 0).astype(int) ^ (number[:, 1] > 0)
    labels = TrainingLabels(np.arange(400), label, 2)
    columns = whole_rows(number, ["x"] * 600)
    encoder = Forest("forest", "", schema_of(continuous=["n"]), data_settings()).fit_labels(columns, labels)
    assert (encoder.transform(columns, 600)[0]["score"][400:].argmax(1) == label[400:]).mean() > 0.85


def test_a_profile_is_the_mean_of_an_entitys_rows_here_and_in_training():
    """By hand: shares of a category among a seller's rows, with those that the training table had; unknown sellers too."""
    entity, columns = entities(["x", "x", "y", "y", "", "z"]), whole_rows(np.zeros((6, 1)), ["a", "b", "a", "a", "b", "b"])
    encoder = ProfileEncoder.fit(ProfileColumns(entity, columns), TrainingLabels.none(np.arange(5), 6))
    parts, present = encoder.transform(ProfileColumns(entity, columns), 6)
    assert present.tolist() == [True] * 4 + [False, True]
    share = parts["mean"][:, 0] / encoder.scale[0] + encoder.mean[0]  # of category a, the most frequent
    np.testing.assert_allclose(share[[0, 1, 2, 3, 5]], [0.5, 0.5, 1, 1, 0], atol=1e-6)
    assert not parts["mean"][4].any()
    new = ProfileColumns(entities(["x", "w"]), whole_rows(np.zeros((2, 1)), ["a", "b"]))
    share = encoder.transform(new, 2)[0]["mean"][:, 0] / encoder.scale[0] + encoder.mean[0]
    np.testing.assert_allclose(share, [2 / 3, 0], atol=1e-6)  # x: a and b in training, a here


def test_counts_and_profiles_of_training_rows_alone_by_hand():
    """A training row is counted among the others, a new row among all of them, and no row among those it is scored with."""
    table = ["x", "x", "x", "y", "", "x"]
    entity, columns = entities(table), whole_rows(np.zeros((6, 1)), ["a", "b", "b", "a", "a", "a"])
    labels = TrainingLabels(np.arange(5), np.array([0, 0, 1, 1, 1, 0]), 2)
    counts = EntityEncoder.fit(entity, labels, 2.0, whole=False)
    assert dict(zip(counts.values, counts.counts, strict=True)) == {"x": 3, "y": 1}
    place = counts.transform_training(entity, labels)[0]["place"][:, 0]
    others = np.interp([2, 2, 2, 0], counts.edges, np.arange(len(counts.edges)))
    np.testing.assert_allclose(place[:4], others, atol=1e-6)
    assert place[4] == -1
    assert place[5] >= place[0]
    profiles = ProfileEncoder.fit(ProfileColumns(entity, columns), labels, whole=False)
    mean = profiles.transform_training(ProfileColumns(entity, columns), labels)[0]["mean"]
    share = mean[:, 0] / profiles.scale[0] + profiles.mean[0]  # of category a
    np.testing.assert_allclose(share[[0, 1, 2, 5]], [0, 0.5, 0.5, 1 / 3], atol=1e-6)
    assert not mean[[3, 4]].any()  # no other row of y, and no value
    for rows in ([5], [5, 5, 5]):
        again = entities([table[i] for i in rows]), whole_rows(np.zeros((len(rows), 1)), ["a"] * len(rows))
        assert counts.transform(again[0], len(rows))[0]["place"][0] == place[5]
        np.testing.assert_array_equal(profiles.transform(ProfileColumns(*again), len(rows))[0]["mean"][0], mean[5])


def test_in_grouped_folds_a_training_row_is_counted_among_other_groups_rows():
    entity, columns = entities(["x", "x", "x", "y"]), whole_rows(np.zeros((4, 1)), ["a", "b", "b", "a"])
    labels = TrainingLabels(np.arange(4), np.array([0, 1, 0, 1]), 2, "farm", np.array([0, 0, 1, 1]))
    counts = EntityEncoder.fit(entity, labels, 2.0, whole=False)
    place = counts.transform_training(entity, labels)[0]["place"][:, 0]
    np.testing.assert_allclose(place, np.interp([1, 1, 2, 0], counts.edges, np.arange(len(counts.edges))), atol=1e-6)
    profiles = ProfileEncoder.fit(ProfileColumns(entity, columns), labels, whole=False)
    mean = profiles.transform_training(ProfileColumns(entity, columns), labels)[0]["mean"]
    np.testing.assert_allclose(mean[:3, 0] / profiles.scale[0] + profiles.mean[0], [0, 0, 0.5], atol=1e-6)


def test_folds_that_fit_at_the_same_time_find_what_one_alone_finds():
    """Broken if threads share liblinear's stream of random numbers: the same run would end in other bytes each time."""
    draw = np.random.default_rng(0)
    matrix = sparse.csr_array(draw.random((600, 400)) * (draw.random((600, 400)) < 0.05))
    labels = TrainingLabels(np.arange(600), draw.integers(0, 3, 600), 3)
    alone = fit_logistic(matrix, labels).coefficient, cross_fit(matrix, labels, 10.0)
    with ThreadPoolExecutor(4) as pool:
        fits = list(pool.map(lambda _: fit_logistic(matrix, labels).coefficient, range(4)))
        scores = list(pool.map(lambda _: cross_fit(matrix, labels, 10.0), range(4)))
    for found in fits:
        np.testing.assert_array_equal(found, alone[0])
    for found in scores:
        np.testing.assert_array_equal(found, alone[1])


@pytest.mark.parametrize(("group", "said"), [("", True), ("schema", False)])
def test_random_folds_of_a_table_with_sellers_are_named(recommended_table: Path, tmp_path: Path, group: str, said: bool):
    """Broken if a score that known sellers flatter passes for what a new seller's row gets."""
    lines: list[str] = []
    open_run(settings_of(recommended_table, cv__group=group), Workdir(tmp_path), lines.append, lambda: False)
    assert any("rows of one seller lie in several" in line for line in lines) is said
