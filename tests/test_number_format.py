"""Numbers as people write them: proposed with their format, read by it, and never guessed."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmjax.data.data_report import DataReport
from mmjax.datasets.infer_schema import propose_schema
from mmjax.encoding.number_format import NumberFormat, as_written, find_format, hold_codes
from mmjax.errors import SchemaError
from tests.reading import read_file


@pytest.mark.parametrize(
    ("cells", "example", "numbers"),
    [
        (["30,52", "7,1", "-8"], "1,5", [30.52, 7.1, -8]),
        (["1.234,5", "7,1", "1.000.000"], "1.234,5", [1234.5, 7.1, 1e6]),
        (["$30,521", "-$5", "($17)"], "$1,234", [30521, -5, -17]),
        (["30.5%", "7%", "\u22121 %"], "1.5%", [30.5, 7, -1]),
        (["32 kg", "5 kg", "7kg"], "1 kg", [32, 5, 7]),
        (["50 km/h", "7 km/h", "9 km/h"], "1 km/h", [50, 7, 9]),
        (["50 m\u00b2", "7.5 m\u00b2", "9 m\u00b2"], "1.5 m\u00b2", [50, 7.5, 9]),
        (["21 \u00b0C", "-7 \u00b0C", "9\u00b0C"], "1 \u00b0C", [21, -7, 9]),
        (["1\u00a0234,5 \u20ac", "12,0 \u20ac", "7 \u20ac"], "1 234,5 \u20ac", [1234.5, 12, 7]),
        (["1'234.50", "12.5", "3"], "1'234.5", [1234.5, 12.5, 3]),
        (["1.234.567", "12", "1.000"], "1.234", [1234567, 12, 1000]),
        (["12,34,567", "5,000", "7"], "1,234", [1234567, 5000, 7]),
        (["EUR 12,5", "EUR 7,5", "EUR 1,0"], "EUR1,5", [12.5, 7.5, 1]),
    ],
)
def test_a_format_is_found_and_read(cells: list[str], example: str, numbers: list[float]):
    assert find_format(cells) == example
    form = NumberFormat.of(example, "n")
    assert [float(form.plain(cell)) for cell in cells] == numbers


@pytest.mark.parametrize(
    "cells",
    [
        ["1", "2.5", "1e3"],
        ["1.234", "5.678", "9.012"],  # plain numbers: nothing says otherwise
        ["A12", "A13", "A14"],
        ["12a", "13a", "14a"],
        ["30%", "0.3", "7%"],  # which of them is 0.3 of 1?
        ["1_front.jpg", "2_front.jpg", "3_front.jpg"],
        ["1.jpg", "2.jpg", "3.jpg"],
        ["12:30", "12:40", "13:00"],
        ["2020-01-02", "2020-01-03", "2020-01-04"],
        ["1/2", "3/4", "5/6"],
        ["12-13", "14-15", "16-17"],
        ["+1 555", "+1 444", "+1 333"],
        ["32 kg", "5 g", "7 lb"],
        ["", "nan", "?"],
        ["red", "blue", "red 5"],
    ],
)
def test_what_is_no_other_spelling_of_numbers(cells: list[str]):
    assert find_format(cells) == ""


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e7, 1e7).map(lambda v: round(v, 2)), min_size=3, max_size=9, unique=True),
    st.sampled_from([("", ","), (".", ","), (",", "."), (" ", ","), ("'", ".")]),
    st.sampled_from([("", ""), ("$", ""), ("", "%"), ("", " kg"), ("\u20ac ", "")]),
)
def test_written_numbers_come_back(numbers: list[float], marks: tuple[str, str], around: tuple[str, str]):
    """By the format they were written in; the format that is found reads them alike, or none is found."""
    thousands, decimal = marks

    def cell(number: float) -> str:
        text = f"{abs(number):,.2f}".replace(",", "T").replace(".", decimal).replace("T", thousands)
        return ("-" if number < 0 else "") + around[0] + text + around[1]

    form = NumberFormat.of(f"{around[0]}1{f'{thousands}234' if thousands else ''}{decimal}5{around[1]}", "n")
    cells = [cell(number) for number in numbers]
    assert [float(form.plain(c)) for c in cells] == numbers
    if example := find_format(cells):
        found = [NumberFormat.of(example, "n").plain(c) for c in cells]
        assert [float(text) for text in found] == numbers


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.sampled_from("0123456789.,' -+$%kg()\u20ac\u0661"), max_size=9), max_size=6))
def test_any_cells(cells: list[str]):
    """A format reads a cell as a number or leaves it as it is."""
    example = find_format(cells)
    for form in (NumberFormat.of(e, "n") for e in ([example] if example else ["1.234,5", "$1", "1 kg"])):
        for cell in cells:
            assert form.plain(cell) == cell or math.isfinite(float(form.plain(cell)))
    assert len(as_written(cells).values) == len(cells)


@pytest.mark.parametrize("example", ["x", "", "1,234,5", "1,234,567", "12.34.56", "%"])
def test_what_is_no_example(example: str):
    with pytest.raises(SchemaError, match="number_format of 'price'"):
        NumberFormat.of(example, "price")


def test_codes():
    assert hold_codes(["01234", "97227"] * 9)
    assert hold_codes(["023.3", "007.1"])
    assert not hold_codes(["0", "0.5", "10", "-0.5"])
    assert not hold_codes(["7"] * 1000 + ["07"])  # a typing error is no code


def _table(tmp_path: Path) -> Path:
    def row(i: int) -> str:
        numbers = f'"{7 * i % 97},{i % 10}{i % 7}","${i * 1377 % 90000 + 1000:,}",{i * 3 % 41 / 2}%'
        codes = f"{i * 377 % 30000 + 500:05d},0{i % 30}.{i % 9}"
        rating = "No rating available" if i % 4 == 0 else i * 7 % 83 / 4
        return f"r{i},{numbers},{codes},{rating},{'ab'[i % 2]}"

    rows = map(row, range(200))
    file = tmp_path / "rows.csv"
    file.write_text("id,price,worth,share,zip,icd,rating,y\n" + "\n".join(rows) + "\n")
    return file


def test_a_schema_names_formats_codes_and_words(tmp_path: Path):
    """And a table is read by it: every cell a number, but for the words. A ZIP or ICD code is no number."""
    file = _table(tmp_path)
    schema, found = propose_schema(file, label="y")
    why = {name: reason for name, _, reason in found}
    assert schema["continuous"] == ("price", "worth", "share", "rating")
    assert schema.number_format == {"price": "1,5", "worth": "$1,234", "share": "1.5%"}
    assert schema.missing == ("No rating available",)
    assert "1,5" in why["price"]
    assert "'No rating available' (row 1)" in why["rating"]
    assert "icd" in schema["categorical"]
    assert "zip" not in schema["continuous"]
    report = DataReport()
    read = read_file(file, schema, report=report)
    assert np.isnan(read.continuous).sum(axis=0).tolist() == [0, 0, 0, 50]
    np.testing.assert_allclose(read.continuous[1], [7.11, 2377, 1.5, 1.75])
    assert not {"number_unreadable", "number_format"} & report.counts().keys()


def test_a_schema_without_the_format_is_told_of_it(tmp_path: Path):
    from tests.reading import schema_of

    report = DataReport()
    read_file(_table(tmp_path), schema_of(continuous=["price"], label="y"), report=report)
    assert 'number_format = {"price" = "1,5"}' in report.entries("number_format")[0]["action"]
    with pytest.raises(SchemaError, match="does not name as continuous"):
        read_file(_table(tmp_path), schema_of(categorical=["price"], label="y", number_format={"price": "1,5"}), report=report)


def test_numbers_in_a_format_are_no_index_and_may_be_a_leak(tmp_path: Path):
    """Prices that are all different whole numbers stay numbers; a leak is found by what is read, not by how it is written."""
    rows = [f'r{i},"${1000 + i * 37:,}","{i % 2 * 50 + i % 40},{i % 10}",{"ab"[i % 2]}' for i in range(200)]
    (tmp_path / "rows.csv").write_text("id,price,told,y\n" + "\n".join(rows) + "\n")
    schema, found = propose_schema(tmp_path / "rows.csv", label="y")
    assert schema["continuous"] == ("price", "told")
    assert ["suspected leak" in why for name, _, why in found if name in schema["continuous"]] == [False, True]
