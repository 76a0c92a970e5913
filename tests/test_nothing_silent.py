"""What a person must know of a table before and after training is in the report: absence, cut texts, drift, unfit labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmjax
from mmjax.config import TrainSettings, data_settings
from mmjax.data.data_report import DataReport
from mmjax.datasets.dataset import Dataset, NewTable, open_dataset
from mmjax.datasets.infer_schema import propose_schema, unfit_label
from mmjax.errors import ConfigError, DataError, SchemaError
from mmjax.modalities.base import modalities_of
from mmjax.modalities.vectors import load_vectors
from mmjax.schema import Schema
from mmjax.tasks.classification import Classification
from mmjax.train.run import _check_batch
from tests.reading import schema_of


def read(folder: Path, table: dict[str, Any], schema: Schema, *, predicting: bool = False, **data: Any) -> Dataset:
    """A table of columns, opened as training or prediction opens it."""
    file = folder / "rows.csv"
    pd.DataFrame(table).to_csv(file, index=False)
    (folder / "schema.toml").write_text(schema.dumps())
    values = data_settings(
        name="table", root=str(folder), table="rows.csv", schema="schema.toml", cache=str(folder / "cache"), **data
    )
    new = NewTable(file, schema, ("a", "b"), tuple(modalities_of(schema, values))) if predicting else None
    return open_dataset(values, (), new=new, require_label=not predicting, report=DataReport(values.strict))


TEXTS = ["one two three", "", "\u2026 !?", "four"] * 5
LABEL = list("ab") * 10


@pytest.mark.parametrize("strict", [False, True])
def test_rows_without_a_text_are_counted(tmp_path: Path, strict: bool):
    """Empty or without a word; strict mode takes them: nothing is wrong with such a row."""
    schema = schema_of(label="y", text="t")
    found = read(tmp_path, {"t": TEXTS, "y": LABEL}, schema, strict=strict).report
    assert found.counts() == {"text_absent": 10}
    assert [e["row"] for e in found.entries("text_absent")][:3] == [2, 3, 6]
    assert read(tmp_path, {"t": TEXTS, "y": LABEL}, schema, predicting=True).report.counts() == {"text_absent": 10}


def test_what_no_row_has_is_refused_for_every_modality_alike(tmp_path: Path):
    """A third party's too, whose reader said why; to predict, all rows may lack it."""
    import examples.time_series  # noqa: F401 - registers `series`

    for schema, cells, why in (
        (schema_of(label="y", text="t"), [""] * 20, "no row has 'text'"),
        (schema_of(label="y", series="t"), ["1 2 x"] * 20, "no row has 'series'; of the first, '1 2 x': absent: not 64"),
        (schema_of(label="y", entity=["t"]), [""] * 20, "no row has 'entity'"),
    ):
        settings = {"t": cells, "y": LABEL}
        kinds = [m.kind for m in modalities_of(schema, data_settings(), [k for k in ("text", "series", "entity") if schema[k]])]
        with pytest.raises(DataError, match=why):
            wanted(tmp_path, settings, schema, kinds)
        if kinds != ["entity"]:
            assert read(tmp_path, settings, schema, predicting=True).report.counts()[f"{kinds[0]}_absent"] == 20


def wanted(folder: Path, table: dict[str, Any], schema: Schema, kinds: list[str]) -> Dataset:
    pd.DataFrame(table).to_csv(folder / "rows.csv", index=False)
    (folder / "schema.toml").write_text(schema.dumps())
    return open_dataset(data_settings(name="table", root=str(folder), table="rows.csv", schema="schema.toml"), kinds)


@pytest.mark.parametrize(
    ("table_id", "file_id", "why"),
    [
        ("{}", "{:05d}", "only for '00000': write leading zeros alike"),
        ("{}.0", "{}", "write whole numbers alike"),
        ("A{}", "a{}", "write small and capital letters alike"),
        ("p{}", "p{}.jpg", "write endings of file names alike"),
        ("row{}", "other{}", "whose first is 'other0'"),
    ],
)
def test_ids_without_a_vector_say_what_they_differ_in(tmp_path: Path, table_id: str, file_id: str, why: str):
    """Breaks if a table of ids 0, 1, ... trains at chance beside vectors of 00000, 00001, ..."""
    np.savez(tmp_path / "v.npz", ids=np.array([file_id.format(i) for i in range(20)]), features=np.eye(20))
    report = DataReport()
    load_vectors(tmp_path / "v.npz", [table_id.format(i) for i in range(20)], report)
    assert why in report.entries("vectors_missing")[0]["action"]
    table = {"id": [table_id.format(i) for i in range(20)], "y": LABEL}
    with pytest.raises(DataError, match="no row has 'vectors'") as caught:
        wanted(tmp_path, table, schema_of(id="id", label="y", vectors="v.npz"), ["vectors"])
    assert why in str(caught.value)


def test_texts_that_are_cut_are_counted_with_a_length_that_would_do(tmp_path: Path):
    """Every word counts, also of a text that is read only in its beginning; 95 % of those that have words."""
    texts = ["w " * n for n in range(20)] * 5
    found = read(tmp_path, {"t": texts, "y": LABEL * 5}, schema_of(label="y", text="t"), text_length=10, strict=True).report
    assert found.counts() == {"text_absent": 5, "text_cut": 45}
    first = found.entries("text_cut")[0]
    assert (first["row"], first["value"]) == (12, "11 words")
    assert first["action"] == "its first 10 words are read; config.data.text_length=19 holds 95 % of the texts"
    long = read(tmp_path, {"t": ["." * 30_000 + " a b c", "x"] * 10, "y": LABEL}, schema_of(label="y", text="t"), text_length=2)
    assert long.columns["text"].present.all()
    assert long.report.counts() == {"text_cut": 10}
    other = read(tmp_path, {"t": ["собака добрая 🐶"] * 20, "y": LABEL}, schema_of(label="y", text="t"), text_length=2)
    assert other.report.entries("text_cut")[0]["value"] == "3 words"


def drift(folder: Path, train: dict[str, Any], table: dict[str, Any], schema: Schema) -> DataReport:
    """What is told of `table` by encoders of two folds of `train`."""
    trained = read(folder, train | {"y": LABEL}, schema)
    new = read(folder, table, Schema.from_dict({k: v for k, v in _dict(schema).items() if k != "label"}), predicting=True)
    for m in new.modalities:
        parts = (np.arange(10), np.arange(10, 20))
        m.report_unseen([m.fit(trained.columns[m.name], rows) for rows in parts], new.columns[m.name], new.report)
    return new.report


def _dict(schema: Schema) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(schema.dumps())


def test_numbers_beyond_the_trained_range_are_told_by_column(tmp_path: Path):
    """Once a column, by the widest range of the folds; breaks if 40 of 40 rows are extrapolated in silence."""
    schema = schema_of(label="y", continuous=["n", "m"])
    train = {"n": np.arange(20), "m": np.arange(20) / 2}
    report = drift(tmp_path, train, {"n": [100 + i for i in range(40)], "m": [1.0, 9.5, 9.6] + [5.0] * 37}, schema)
    told = {e["column"]: (e["row"], e["value"], e["action"]) for e in report.entries("number_outside")}
    assert told["n"] == (1, "100 to 139", "in 40 of 40 rows it is beyond 0 to 19, the range of the training rows")
    assert told["m"][:2] == (3, "9.6 to 9.6")
    assert drift(tmp_path, train, {"n": [0, 19], "m": [0, 9.5]}, schema).counts() == {}
    assert drift(tmp_path, train, {"n": [0, None], "m": [0, 9.5]}, schema).counts() == {"number_never_missing": 1}


def test_texts_without_a_known_word_are_told(tmp_path: Path):
    train = {"t": ["red dog", "blue dog"] * 10}
    report = drift(tmp_path, train, {"t": ["red", "chien rouge", "", "perro"]}, schema_of(label="y", text="t"))
    assert report.entries("text_unknown")[0]["action"] == "2 of 4 texts have no word that training knew"


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ([i * 1.7 for i in range(120)], "120 different numbers from 0 to 202.3"),
        ([(i % 354) * 37 for i in range(3000)], "354 different numbers"),  # a price
        ([18 + i % 70 for i in range(200)], "70 different numbers"),  # an age
        ([i / 7 for i in range(12)], "12 different numbers"),
        ([f"name {i}" for i in range(120)], "no classes to learn"),
        ([i % 100 for i in range(2000)], ""),  # codes in a row
        ([f"class {i % 100}" for i in range(400)], ""),
        ([0.5, 1.0, 1.5, 2.0] * 10, ""),  # stars
        ([1, 2, 3], ""),
        ([""] * 20, ""),
    ],
)
def test_measured_numbers_are_no_classes(tmp_path: Path, labels: list, why: str):
    """In training and in `schema` alike; listed in the schema's classes they are taken."""
    texts = [str(v) for v in labels]
    assert why in unfit_label(texts)
    assert bool(unfit_label(texts)) == bool(why)
    if why:
        with pytest.raises(DataError, match="list them as `classes`"):
            Classification.read_labels(texts, schema_of(label="y"), "rows.csv", DataReport())
        known = schema_of(label="y", classes=list(dict.fromkeys(texts)))
        assert len(Classification.read_labels(texts, known, "rows.csv", DataReport())[1]) == len(set(texts))
        pd.DataFrame({"x": range(len(texts)), "y": labels}).to_csv(tmp_path / "rows.csv", index=False)
        with pytest.raises(SchemaError, match="label 'y' has"):
            propose_schema(tmp_path / "rows.csv", label="y")


def test_a_batch_larger_than_the_rows():
    """Refused where somebody chose it; the default is cut, and told."""
    lines: list[str] = []
    with pytest.raises(ConfigError, match="batch_size is 512, but a fold has 90 training rows"):
        _check_batch(TrainSettings(batch_size=512), 90, lines.append)
    _check_batch(TrainSettings(), 20, lines.append)
    _check_batch(TrainSettings(batch_size=512, batch_share=0.1), 20, lines.append)
    _check_batch(TrainSettings(), 32, lines.append)
    assert lines == ["config.train.batch_size=32 is cut to the 20 training rows of a fold."]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.floats(), st.integers(), st.text(max_size=3)), max_size=60))
def test_any_labels_are_judged(values: list):
    """No error, whatever they are."""
    why = unfit_label([str(v).strip() for v in values])
    assert not why or mmjax.errors.MmjaxError(why)


def test_inputs_that_the_config_does_not_read_are_told(tmp_path: Path):
    """Breaks if a schema's brand or text is left out in silence by a config that reads the table alone."""
    schema = schema_of(label="y", continuous=["n"], text="t", entity=["b"])
    pd.DataFrame({"n": range(20), "t": TEXTS, "b": LABEL, "y": LABEL}).to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "schema.toml").write_text(schema.dumps())
    lines: list[str] = []
    data = data_settings(name="table", root=str(tmp_path), table="rows.csv", schema="schema.toml")
    open_dataset(data, ("tabular",), log=lines.append)
    assert lines == ["no modality of the config reads 't' (text), 'b' (entity)."]
    lines.clear()
    open_dataset(data, ("tabular", "text", "entity"), log=lines.append)
    assert lines == []
