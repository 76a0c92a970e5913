"""Encoders learn from the training rows only, and encode any table by what they learnt."""

import json

import numpy as np
import pytest
from encoder_tables import encode, make_tabular, make_texts

from mmjax.config import Settings, data_settings
from mmjax.data.data_report import DataReport
from mmjax.data.image_store import ImageStore
from mmjax.data.word_vectors import load_vectors, random_vectors
from mmjax.datasets.dataset import Dataset
from mmjax.datasets.encoders import FoldEncoders
from mmjax.datasets.table import Table
from mmjax.encoding.tabular_encoder import TabularEncoder
from mmjax.errors import CheckpointError, ConfigError, DataError, SchemaError
from mmjax.modalities.base import modalities_of, modality_class
from mmjax.modalities.image import ImageColumns
from mmjax.modalities.shapes import blank_rows
from mmjax.modalities.text import TextEncoder
from mmjax.modalities.vectors import VectorColumns
from tests.reading import schema_of

NAN, INF = np.nan, np.inf


def test_onehot_ids_run_on_over_the_groups():
    table = make_tabular([["b", "a", "", "c"], ["x", "x", "y", "z"]], [[1.0, 3.0, 2.0, 9.0]])
    encoder = TabularEncoder.fit(table, np.array([0, 1, 2]))
    ids, numbers = encode(encoder, table)
    # columns: '' a b | x y; 'c' and 'z' were not seen in training
    np.testing.assert_array_equal(ids, [[2, 3], [1, 3], [0, 4], [-1, -1]])
    np.testing.assert_array_equal(numbers[:, 0], np.float32([0, 1, 0.5, 1]))  # clipped outside the training range
    assert (encoder.onehot, encoder.groups, encoder.numbers) == (5, 2, 1)
    assert (ids.dtype, numbers.dtype) == (np.int16, np.float32)


def test_missing_numbers_are_the_training_median():
    table = make_tabular([], [[0.0, 10.0, 2.0, NAN, INF, -INF], [5.0, 5.0, 5.0, NAN, 7.0, 5.0], [NAN] * 6])
    encoder = TabularEncoder.fit(table, np.arange(4))
    numbers = encode(encoder, table)[1]
    np.testing.assert_allclose(numbers[:, 0], [0, 1, 0.2, 0.2, 0.2, 0.2], atol=1e-7)
    assert not numbers[:, 1:].any()  # constant, and never known
    notes = "\n".join(encoder.notes())
    assert "1 training rows have no number; the median 2 stands in" in notes
    assert "4 training rows have no number" in notes
    assert "one value" in notes


def test_notes_count_missing_categories_by_name():
    table = make_tabular([["", "a", "", "b"]], names=["colour"])
    encoder = TabularEncoder.fit(table, np.array([0, 1]))
    assert encoder.notes() == ["colour: 1 training rows have no value; they form a category of their own."]


def test_discretised_numbers_become_groups():
    values = np.arange(100.0)
    table = make_tabular([["a"] * 50 + ["b"] * 50], [values.tolist(), [0.0] * 95 + [1, 2, 3, 4, NAN]])
    encoder = TabularEncoder.fit(table, np.arange(100), discretize=True, bins=4)
    ids, numbers = encode(encoder, table)
    assert numbers.shape == (100, 0)
    assert (encoder.groups, encoder.numbers) == (3, 0)
    assert np.bincount(ids[:, 1])[2:].tolist() == [24, 25, 25, 26]
    assert (ids[:, 2] == ids[0, 2]).all()  # quantiles of a column that is nearly all zero fall together
    assert encoder.onehot == 2 + 4 + 1
    far = make_tabular([["a", "a"]], [[-1e300, 1e300], [NAN, 4.0]])
    assert encode(encoder, far)[0][:, 1].tolist() == [2, 5]


@pytest.mark.parametrize("discretize", [False, True])
def test_tabular_does_not_see_held_out_rows(discretize):
    # Broken by fitting on the whole table, or by keeping the order in which the table lists its categories.
    rng = np.random.default_rng(0)
    train = np.arange(0, 60, 2)
    colours, numbers = rng.choice(list("abcde"), 60).tolist(), rng.normal(size=60).tolist()
    changed_colours, changed_numbers = list(colours), list(numbers)
    for row in range(1, 60, 2):
        changed_colours[row], changed_numbers[row] = f"zz{row}", 1e9 * row
    one = TabularEncoder.fit(make_tabular([colours], [numbers]), train, discretize=discretize)
    two = TabularEncoder.fit(make_tabular([changed_colours], [changed_numbers], reverse=True), train, discretize=discretize)
    assert one == two


def test_text_does_not_see_held_out_rows():
    texts = ["sea sun sea", "moon sun", "moon moon moon", "sun star"]
    train = np.array([0, 1])
    one = TextEncoder.fit(make_texts(texts), train, min_count=1, max_words=10)
    other = make_texts([*texts[:2], "aaa aaa aaa", "sea"], reverse=True)
    assert one == TextEncoder.fit(other, train, min_count=1, max_words=10)
    assert one.words == ("sea", "sun", "moon")


def test_text_ids():
    table = make_texts(["b a a c", "b a", "", "d"])
    encoder = TextEncoder.fit(table, np.array([0, 1, 2]), min_count=2, max_words=10)
    assert encoder.words == ("a", "b")
    assert encoder.vocabulary == 4
    np.testing.assert_array_equal(encode(encoder, table), [[3, 2, 2, 1], [3, 2, 0, 0], [0] * 4, [1, 0, 0, 0]])
    assert TextEncoder.fit(table, np.array([0, 1, 2]), min_count=1, max_words=1).words == ("a",)
    other = make_texts(["zzz b", "a q"], reverse=True)
    np.testing.assert_array_equal(encode(encoder, other)[:, :2], [[1, 3], [2, 1]])
    with pytest.raises(DataError, match="tokens"):
        encode(encoder, make_texts(["a"], tokens=9))


def test_another_table_is_matched_by_name():
    table = make_tabular([["b", "a", "c"]], [[0.0, 1.0, 2.0]])
    encoder = TabularEncoder.fit(table, np.arange(3))
    ids, _ = encode(encoder, make_tabular([["c", "new", "a"]], [[0.0, 0.0, 0.0]], reverse=True))
    assert ids[:, 0].tolist() == [2, -1, 0]
    with pytest.raises(DataError, match="training had 1 and 1"):
        encode(encoder, make_tabular([["c"]]))


def test_nothing_to_fit_on():
    with pytest.raises(DataError, match="no training rows"):
        TabularEncoder.fit(make_tabular([["a"]]), np.array([], int))
    with pytest.raises(DataError, match="names no categorical or continuous"):
        modalities_of(schema_of(text="note"), data_settings(), ("tabular",))


GLOVE = "the 1 2 3\nsea 4 5 6\nSun 7 8 9\nbad 1 2\n. . . 1 1 1\nmoon 1 x 3\nsun nan 1 1\nstar 1e60 1 1\nthe 9 9 9\n"


@pytest.mark.parametrize("head", ["", "9 3\n"])
def test_vector_files(tmp_path, head):
    path = tmp_path / "vectors.txt"
    path.write_text(head + GLOVE, encoding="utf-8-sig")
    report = DataReport()
    vectors, found = load_vectors(path, ["the", "sun", "moon", "star", "none"], 3, report)
    assert found.tolist() == [True, True, False, False, False]
    np.testing.assert_array_equal(vectors[:2], [[1, 2, 3], [7, 8, 9]])
    assert not vectors[2:].any()
    assert report.counts() == {"vectors_line": 4}


def test_malformed_lines_are_named_by_number(tmp_path):
    (tmp_path / "v.txt").write_text(GLOVE)
    with pytest.raises(DataError, match=r"row 4\b.*bad 1 2"):
        load_vectors(tmp_path / "v.txt", ["the"], 3, DataReport(strict=True))


def test_an_exact_word_beats_a_lower_cased_one(tmp_path):
    (tmp_path / "v.txt").write_text("The 1 1\nthe 2 2\nTHE 3 3\n")
    assert load_vectors(tmp_path / "v.txt", ["the"], 2)[0].tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("text", "why"), [(GLOVE, "3 numbers.*50"), ("2 25\na 1\n", "25.*50"), ("", "no line"), ("\x00\xff junk", "vector")]
)
def test_unusable_vector_files(tmp_path, text, why):
    (tmp_path / "v.txt").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=why):
        load_vectors(tmp_path / "v.txt", ["the"], 50)
    with pytest.raises(DataError, match="cannot be read"):
        load_vectors(tmp_path / "none.txt", ["the"], 50)


def test_random_vectors_belong_to_the_word():
    one, two = random_vectors(["a", "b"], 5, seed=0, scale=0.25), random_vectors(["x", "b"], 5, seed=0, scale=0.25)
    np.testing.assert_array_equal(one[1], two[1])
    assert not np.array_equal(one[0], two[0])
    assert not np.array_equal(one[0], random_vectors(["a"], 5, seed=1, scale=0.25)[0])
    many = random_vectors([str(i) for i in range(500)], 20, seed=0, scale=0.25)
    assert abs(many).max() <= 0.25
    assert many.std() == pytest.approx(0.25 / np.sqrt(3), rel=0.03)


NAMES = {"categorical": ["colour"], "continuous": ["age"], "text": "note", "image": "photo", "vectors": "v.npz"}


def _dataset(modalities=(), *, lacking=(), label=(0, 1, -1, 1), classes=("no", "yes"), vectors=None, side=2, **data) -> Dataset:
    """Four rows; `lacking` leaves modalities out, as a table to predict may."""
    pixels = np.arange(4 * side * side * 3, dtype=np.uint8).reshape(4, side, side, 3)
    vectors = np.arange(8, dtype=np.float32).reshape(4, 2) if vectors is None else vectors
    columns = {
        "tabular": make_tabular([["a", "b", "a", "b"]], [[0.0, 1.0, 2.0, 3.0]]),
        "text": make_texts(["sea sun", "sea", "", "zzz"]),
        "image": ImageColumns("photo", ImageStore(pixels, np.array([True, False, True, True]), None)),
        "vectors": VectorColumns("v.npz", vectors, np.array([True, True, True, False])),
    }
    chosen = modalities_of(schema_of(**NAMES), data_settings(min_count=1, image_size=2, **data), modalities)
    ids = np.array([f"id{row}" for row in range(4)], object)
    kept = {m.name: columns[m.name] for m in chosen if m.name not in lacking}
    return Dataset("test", schema_of(**NAMES), Table("t", ids), chosen, kept, DataReport(), np.array(label, np.int32), classes)


def test_fold_encoders_give_a_batch_its_arrays():
    dataset = _dataset()
    encoders = FoldEncoders.fit(dataset, np.array([0, 1]))
    out = encoders.encode(dataset)
    spec = encoders.spec
    assert spec.modalities == ("tabular", "text", "image", "vectors")  # canonical
    np.testing.assert_array_equal(out["present"], [[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 1, 1], [1, 1, 1, 0]])
    assert out["label"].tolist() == [0, 1, -1, 1]
    assert out["label"].dtype == np.int32
    assert out["image/pixel"] is dataset.columns["image"].store.pixels
    assert spec.sizes == {
        "tabular": {"onehot": 2, "groups": 1, "numbers": 1},
        "text": {"tokens": 4, "vocabulary": 4},
        "image": {"side": 2},
        "vectors": {"features": 2},
    }
    widths = {"tabular/id": (1,), "tabular/number": (1,), "text/word": (4,), "image/pixel": (2, 2, 3), "vectors/vector": (2,)}
    assert {key: value.shape[1:] for key, value in out.items()} == {**widths, "present": (4,), "label": ()}
    assert all(len(value) == 4 for value in out.values())
    blank = blank_rows(spec, 4)
    assert {k: (v.shape, v.dtype) for k, v in out.items()} == {k: (v.shape, v.dtype) for k, v in blank.items()}
    np.testing.assert_array_equal(out["vectors/vector"], [[-1, -1], [1, 1], [3, 3], [0, 0]])


def test_saved_encoders_encode_alike(tmp_path):
    for modalities in ((), ("tabular",), ("text", "image")):
        encoders = FoldEncoders.fit(_dataset(modalities, discretize=True), np.array([0, 1, 3]))
        encoders.save(tmp_path / "encoders.json")
        assert FoldEncoders.load(tmp_path / "encoders.json") == encoders
    assert [path.name for path in tmp_path.iterdir()] == ["encoders.json"]


@pytest.mark.parametrize("damage", ["cut", "version", "modality", "list", "none", "number", "kind"])
def test_damaged_encoders_are_refused(tmp_path, damage):
    path = tmp_path / "encoders.json"
    FoldEncoders.fit(_dataset(), np.array([0, 1])).save(path)
    values = json.loads(path.read_text())
    tabular = {**values["tabular"], "numbers_of": [{"surprise": 1}]}
    text = {
        "cut": path.read_text()[:-30],
        "version": json.dumps({**values, "version": 99}),
        "modality": json.dumps({**values, "kinds": {"tabular": "tabular"}}),
        "kind": json.dumps({**values, "kinds": {**values["kinds"], "tabular": "smell"}}),
        "list": "[]",
        "number": json.dumps({**values, "tabular": tabular}),
    }.get(damage)
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(CheckpointError, match=r"encoders\.json"):
        FoldEncoders.load(path)


def test_a_dataset_without_photos_or_labels_is_encoded_as_absent():
    encoders = FoldEncoders.fit(_dataset(), np.array([0, 1]))
    out = encoders.encode(_dataset(lacking=("text", "image", "vectors"), label=(-1,) * 4, classes=()))
    assert out["label"].tolist() == [-1] * 4
    assert out["image/pixel"].shape == (4, 2, 2, 3)
    assert not out["image/pixel"].any()
    assert out["vectors/vector"].shape == (4, 2)
    assert not out["present"][:, 1:].any()


def test_labels_go_by_name():
    encoders = FoldEncoders.fit(_dataset(("tabular",)), np.array([0, 1]))
    other = _dataset(("tabular",), label=(0, 1, 2, -1), classes=("yes", "maybe", "no"))
    assert encoders.encode(other)["label"].tolist() == [1, -1, 0, -1]


def test_a_lacking_modality_is_named():
    for kind in ("text", "image", "vectors"):
        with pytest.raises(DataError, match=f"the model reads '{kind}' but the schema names no {kind}"):
            modalities_of(schema_of(categorical=["colour"]), data_settings(), (kind,))
    encoders = FoldEncoders.fit(_dataset(("image",)), np.array([0, 1]))
    with pytest.raises(DataError, match="image_size=2"):
        encoders.encode(_dataset(("image",), side=3))


def test_several_columns_of_one_kind_are_modalities_named_by_their_column():
    schema = schema_of(text=["title", "note"], image=["front", "back"], vectors=["a/one.npz", "two.npz"])
    names = [m.name for m in modalities_of(schema, data_settings())]
    assert names == ["title", "note", "front", "back", "one", "two"]
    assert [m.name for m in modalities_of(schema, data_settings(), ("text", "back"))] == ["title", "note", "back"]
    with pytest.raises(ConfigError, match="names 'side'"):
        modalities_of(schema, data_settings(), ("side",))
    with pytest.raises(SchemaError, match="two modalities named 'image'"):
        modalities_of(schema_of(text=["image", "note"], image="photo"), data_settings())


def test_start_vectors_of_the_embedding(tmp_path):
    (tmp_path / "v.txt").write_text("sea 1 2\n")
    settings = Settings.from_dict({"model": {"text": {"embed_dim": 2}}, "data": {"word_vectors": str(tmp_path / "v.txt")}})

    def start(rows):
        encoder = FoldEncoders.fit(_dataset(("text",)), np.array(rows)).encoders["text"]
        values = modality_class("text").initial_values(encoder, settings)
        np.testing.assert_array_equal(values["tower/embedding"], values["target/table"])
        return values["target/table"]

    vectors, other = start([0, 1]), start([0, 3])
    assert (vectors.shape, vectors.dtype) == ((4, 2), np.float32)
    assert not vectors[0].any()
    assert vectors[2].tolist() == [1, 2]  # 'sea'
    np.testing.assert_array_equal(vectors[[1, 3]], other[[1, 3]])  # unknown, 'sun': as in the other fold
    encoder = FoldEncoders.fit(_dataset(("text",)), np.array([0])).encoders["text"]
    assert modality_class("text").initial_values(encoder, Settings()) == {}


def test_fold_encoders_do_not_see_held_out_rows():
    train = np.array([0, 1])
    one = FoldEncoders.fit(_dataset(), train)
    other = _dataset(vectors=np.array([[0, 1], [2, 3], [9e9, -9], [5, 5]], np.float32), label=(0, 1, 0, 0))
    other.columns["tabular"] = make_tabular([["a", "b", "q", "r"]], [[0.0, 1.0, 1e9, NAN]], reverse=True)
    other.columns["text"] = make_texts(["sea sun", "sea", "foo", ""], reverse=True)
    assert one == FoldEncoders.fit(other, train)


@pytest.mark.parametrize(("name", "dim"), [("glove.6B.50d.5k.txt", 50), ("glove.twitter.25d.12k.txt", 25)])
def test_real_vector_files(data_root, name, dim):
    report = DataReport()
    vectors, found = load_vectors(data_root / "glove" / name, ["the", "dog", "xqzzq"], dim, report)
    assert found.tolist() == [True, True, False]
    assert np.isfinite(vectors).all()
    assert report.counts() == {}
    with pytest.raises(DataError, match=f"{dim} numbers.*300"):
        load_vectors(data_root / "glove" / name, ["the"], 300)


@pytest.mark.parametrize(("words", "dtype"), [(32766, np.int16), (32767, np.int32)])
def test_ids_are_as_small_as_the_vocabulary_allows(words: int, dtype: type):
    """Fails when the largest id wraps around, or when a million rows of text take twice the memory they need."""
    names = tuple(f"w{i}" for i in range(words))
    table = make_texts(["w0", names[-1]])
    ids = encode(TextEncoder(names, 4), table)
    assert ids.dtype == dtype
    assert ids.max() == words + 1
