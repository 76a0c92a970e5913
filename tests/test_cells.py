"""What a cell means, by its column's role: no value, a spelling of another value, an order, a far number."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmjax import configs
from mmjax.config import data_settings
from mmjax.data.cells import category_name, folded
from mmjax.data.data_report import DataReport
from mmjax.datasets.dataset import open_dataset
from mmjax.errors import DataError, SchemaError
from mmjax.label_values import check_labels
from mmjax.schema import Schema
from mmjax.tasks.classification import Classification
from mmjax.train.run_tables import data_table
from tests.encoder_tables import make_tabular
from tests.reading import Read, read_file, schema_of


def _read(tmp_path: Path, columns: dict[str, list[str]], report: DataReport | None = None, group: str = "", **schema) -> Read:
    lines = [",".join(columns), *(",".join(f'"{cell}"' for cell in row) for row in zip(*columns.values(), strict=True))]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    return read_file(tmp_path / "rows.csv", schema_of(**schema), report=report or DataReport(), group=group)


# -- missing values


@pytest.mark.parametrize("word", ["none", "NA", "N/A", "?", "-", "#N/A", "<NA>", "NaN", "NULL"])
def test_a_frequent_word_for_no_value_among_labels_is_asked_about(tmp_path: Path, word: str):
    """It may be a class or no label. Fails where it becomes the one or the other without a word."""
    labels = ["mild", "severe", word] * 20
    with pytest.raises(DataError, match=r"20 of 60 rows have the label '.*classes = \[.*missing = \[\"") as error:
        _read(tmp_path, {"y": labels}, label="y")
    line = str(error.value).removesuffix(".").split(" or ")[-1]
    report = DataReport()
    without = _read(tmp_path, {"y": labels}, report, label="y", **tomllib.loads(line))
    assert without.classes == ("mild", "severe")
    assert report.counts() == {"label_missing": 20}
    report = DataReport()
    read = _read(tmp_path, {"y": labels}, report, label="y", classes=["mild", "severe", word])
    assert read.label is not None
    assert (read.label.tolist(), report.counts()) == ([0, 1, 2] * 20, {})


def test_a_rare_word_for_no_value_is_a_missing_label(tmp_path: Path):
    report = DataReport()
    assert _read(tmp_path, {"y": ["a", "b", "?"] + ["a", "b"] * 40}, report, label="y").classes == ("a", "b")
    assert report.counts() == {"label_missing": 1}


def test_a_schema_says_what_means_no_value(tmp_path: Path):
    """In every column but the id, and in any spelling of a number."""
    cells = {"id": ["-9", "1", "2"], "c": ["-9", "b", "-9.0"], "n": ["-9.0", "4", " -9 "], "t": ["-9", "fine", "-9 cats"]}
    read = _read(tmp_path, cells, id="id", categorical=["c"], continuous=["n"], text="t", missing=["-9"])
    assert read.ids.tolist() == ["-9", "1", "2"]
    assert read.categories == (("", "b"),)
    np.testing.assert_array_equal(read.continuous[:, 0], [np.nan, 4, np.nan])
    assert read.word_list == ["", "fine", "9", "cats"]


def test_a_word_for_no_value_is_no_text(tmp_path: Path):
    report = DataReport()
    read = _read(tmp_path, {"t": ["nan", "None", "nan", "no nan"]}, report, text="t")
    assert (read.words > 0).any(axis=1).tolist() == [False, False, False, True]
    found = [entry["value"] for entry in report.entries("missing_word")]
    assert found == ["'None' in 1 row(s)", "'nan' in 2 row(s)"]


def test_a_row_without_a_group_is_its_own(tmp_path: Path):
    """Else they are one group, which no fold can share, and one big seller."""
    report = DataReport()
    group = _read(tmp_path, {"g": ["a", "", "nan", "a", "-", ""], "c": list("xyxyxy")}, report, "g", categorical=["c"]).group
    assert group is not None
    assert group[0] == group[3]
    assert len(set(group.tolist())) == 5
    assert report.entries("group_missing")[0]["value"] == "4 row(s)"


def test_a_seller_called_nan_is_none(tmp_path: Path):
    report = DataReport(strict=True)
    (tmp_path / "rows.csv").write_text("s,y\nnan,a\nsue,b\n,a\nNULL,b\nsue,a\n")
    (tmp_path / "s.toml").write_text('label = "y"\nentity = ["s"]\n')
    data = data_settings(name="table", table=str(tmp_path / "rows.csv"), schema=str(tmp_path / "s.toml"), cache=str(tmp_path))
    dataset = open_dataset(data, ("entity",), report=report)
    assert dataset.columns["entity"].present.tolist() == [False, True, False, False, True]


def test_a_dataframe_s_label_may_be_such_a_word_if_the_schema_says_so():
    table = pd.DataFrame({"y": ["+", "-", "+"]})
    with pytest.raises(DataError, match="holds '-'.*classes or missing"):
        check_labels(table, "y")
    check_labels(table, "y", ("+", "-"))


# -- spellings


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *[(v, "-1") for v in ("-1", "-1.0", " -1.00 ", "-1.")],
        *[("1.50", "1.5"), ("2.0", "2"), ("0.10", "0.1"), ("-0.0", "0"), ("10", "10"), ("100.0", "100")],
        *[(v, v) for v in ("020.0", "007", "1.2.0", "1e3", "v1.0", ".5", "", "1,50", "\u0661.0")],
    ],
)
def test_a_number_has_one_spelling_and_a_code_keeps_its_own(text: str, name: str):
    assert category_name(text) == name == category_name(name)


SPELLINGS = ["True", "TRUE", "true", " Tr\u200bue", "\uff34rue", "No", "no", "NO  "]


def test_spellings_of_a_class_are_told_and_joined_by_the_line_that_is_told(tmp_path: Path):
    report = DataReport()
    read = _read(tmp_path, {"y": SPELLINGS * 2, "c": SPELLINGS * 2}, report, label="y", categorical=["c"])
    assert len(read.classes) == 8
    counts = report.counts()
    assert (counts["class_spelling"], counts["category_spelling"]) == (2, 2)
    for kind, column in (("class_spelling", "y"), ("category_spelling", "c")):
        assert f'one_spelling = ["{column}"]' in report.entries(kind)[0]["action"]
    report = DataReport()
    read = _read(
        tmp_path, {"y": SPELLINGS * 2, "c": SPELLINGS * 2}, report, label="y", categorical=["c"], one_spelling=["y", "c"]
    )
    assert (read.classes, set(read.categories[0]), report.counts()) == (("no", "true"), {"no", "true"}, {})


def test_classes_that_a_schema_names_are_found_in_any_spelling(tmp_path: Path):
    schema = {"label": "y", "classes": ["Yes", "No"], "one_spelling": ["y"]}
    read = _read(tmp_path, {"y": ["YES", "no ", "Yes"]}, **schema)
    assert read.label is not None
    assert (read.label.tolist(), read.classes) == ([0, 1, 0], ("Yes", "No"))


def test_folding_keeps_what_differs():
    assert folded("Cat") != folded("Car")
    assert folded("a b") != folded("ab")
    assert folded("caf\u00e9") == folded("CAFE\u0301") == folded(" caf\u00e9\u200b")


# -- order


@pytest.mark.parametrize(
    ("labels", "schema", "metric"),
    [
        (["1", "2", "10"], {}, "qwk"),
        (["-1", "0.5", "1e3"], {}, "qwk"),
        (["low", "medium", "high"], {}, "balanced_accuracy"),
        (["low", "medium", "high"], {"classes": ["low", "medium", "high"]}, "qwk"),
        (["A1", "A2", "B1"], {"ordered": True}, "qwk"),
        (["1", "2", "10"], {"ordered": False}, "balanced_accuracy"),
        (["1", "2", "two"], {}, "balanced_accuracy"),
        (["no", "yes"], {}, "qwk"),
    ],
)
def test_kappa_only_where_classes_have_an_order(tmp_path: Path, labels: list[str], schema: dict, metric: str):
    """Fails where the alphabet's order makes a headline number, or where nothing stands in its place."""
    (tmp_path / "rows.csv").write_text("c,y\n" + "".join(f"x,{label}\nz,{label}\n" for label in labels))
    (tmp_path / "s.toml").write_text(schema_of(label="y", categorical=["c"], **schema).dumps())
    data = data_settings(name="table", table=str(tmp_path / "rows.csv"), schema=str(tmp_path / "s.toml"), cache=str(tmp_path))
    dataset = open_dataset(data, ("tabular",), report=DataReport(strict=True))
    ordered = Classification.ordered(dataset)
    assert ordered == (metric == "qwk")
    Classification.report(dataset)
    assert ("classes_unordered" in dataset.report.counts()) == (not ordered)
    dataset.reading = 1  # of a workdir of before
    assert Classification.ordered(dataset)


# -- far numbers


@pytest.mark.parametrize(("far", "rows"), [(9_999_999.0, 8), (-9999.0, 20), (1e30, 1)])
def test_far_values_are_told_and_do_not_squash_the_others(tmp_path: Path, far: float, rows: int):
    """Of 200 numbers from 0 to 10; the middle half keeps at least a third of the range."""
    number_N = np.linspace(0, 10, 200)
    number_N[:: 200 // rows] = far
    report = DataReport()
    _read(tmp_path, {"n": [f"{v:.10g}" for v in number_N]}, report, continuous=["n"])
    (entry,) = report.entries("number_far")
    assert entry["row"] == 1
    assert float(entry["value"]) == far
    assert entry["action"].startswith(f"{len(number_N[:: 200 // rows])} row(s)")
    encoder = _encoder(number_N)
    value_N = encoder.transform(make_tabular(continuous=[number_N.tolist()]), 200)[0]["number"][:, 0]
    assert ((value_N >= 0) & (value_N <= 1)).all()
    assert value_N[149] - value_N[51] > 1 / 3
    assert (np.diff(value_N[number_N != far]) >= 0).all()
    assert type(encoder).from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder


def _encoder(number_N: np.ndarray):
    from mmjax.modalities.tabular import Tabular

    data = configs.get_config("attention:table").data
    return Tabular("tabular", "", schema_of(continuous=["n"]), data).fit(
        make_tabular(continuous=[number_N.tolist()]), np.arange(200)
    )


def test_a_tail_is_no_far_value(tmp_path: Path):
    """A normal column, a column of counts with many zeros, a constant one: nothing to tell."""
    rng = np.random.default_rng(0)
    columns = {
        "a": rng.normal(size=500),
        "b": rng.poisson(0.2, 500),
        "c": np.r_[np.zeros(499), 1.0],
        "d": rng.uniform(size=500),
    }
    report = DataReport()
    _read(tmp_path, {k: [f"{v:g}" for v in col] for k, col in columns.items()}, report, continuous=list(columns))
    assert "number_far" not in report.counts()


def test_the_paper_scales_as_it_did():
    assert configs.get_config("attention").data.numbers == "min_max"
    assert configs.get_config("attention:petfinder").data.numbers == "min_max"
    assert configs.get_config("recommended:table").data.numbers == "piecewise"


# -- the schema's keys


def test_the_keys_come_back():
    values = {"label": "y", "ordered": False, "missing": ["?"], "one_spelling": ["y"], "number_format": {'a "b"': "1,5"}}
    schema = Schema.from_dict(values)
    assert Schema.from_dict(tomllib.loads(schema.dumps())) == schema


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ordered": "yes"}, "ordered must be true or false"),
        ({"number_format": "1,5"}, "number_format must be a table"),
        ({"number_format": {"n": 1}}, "number_format of 'n' must be a string"),
    ],
)
def test_wrong_values_of_the_keys(values: dict, message: str):
    with pytest.raises(SchemaError, match=message):
        schema_of(**values)


def test_keys_about_no_column(tmp_path: Path):
    for values in ({"one_spelling": ["z"]}, {"number_format": {"z": "1,5"}}):
        with pytest.raises(SchemaError, match="z"):
            _read(tmp_path, {"n": ["1"]}, continuous=["n"], **values)


# -- the report for people


def test_the_data_table_is_short_and_says_where():
    """At most eleven lines, a line a kind, whatever a cell holds."""
    report = DataReport()
    for kind in range(25):
        for row in range(kind + 1):
            report.add(f"kind_{kind}", file="/far/rows.csv", row=row, column="c[red]\n", value="v" * 200, action="kept")
    lines = data_table(report.to_dict()).splitlines()
    assert len(lines) <= 11
    assert "kind 24" in lines[3]
    assert "25" in lines[3]
    assert "rows.csv, row 1, column c[red]" in lines[3]
    assert "18 more kinds" in lines[-1]
    assert not data_table(DataReport().to_dict())
