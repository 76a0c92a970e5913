"""Any cells, written as CSV and read again: no row moves, no value changes column."""

import csv
import io
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from fuzz_targets import fuzz_table
from hypothesis import given, settings
from hypothesis import strategies as st

from mmjax.data.csv_rows import open_rows
from mmjax.data.data_report import DataReport
from tests.reading import Read, read_file, schema_of

few = settings(max_examples=40, deadline=None)
cells = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SCHEMA = schema_of(id="id", categorical=("c",), continuous=("n",), text="t", image="p")
HEADER = ["id", "c", "n", "t", "p"]


def written(rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([HEADER, *rows])
    return out.getvalue()


def parsed(text: str, encoding: str = "utf-8") -> tuple[list[list[str]], DataReport]:
    report = DataReport()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        file.write_bytes(text.encode(encoding))
        return list(open_rows(file, report)[1]), report


def read(text: str) -> Read:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        file.write_bytes(text.encode())
        return read_file(file, SCHEMA, text_length=3, report=DataReport())


@few
@given(
    st.lists(st.lists(cells, min_size=5, max_size=5), min_size=1, max_size=6), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])
)
def test_quoted_cells_come_back(rows: list[list[str]], encoding: str):
    """Commas, quotes, newlines and control characters within quotes are a cell's own."""
    found, report = parsed(written(rows), encoding)
    assert found == rows
    assert report.counts() == {}


@few
@given(st.lists(st.lists(st.text("ab,\n'", max_size=6), min_size=1, max_size=8), min_size=1, max_size=6))
def test_ragged_rows_keep_their_place(rows: list[list[str]]):
    """A row's fields are its own: filled at the end or none at all, never shifted, never the next row's."""
    found, report = parsed(written(rows))
    for row, cells in zip(rows, found, strict=True):
        assert cells in ([""] * 5, (row + [""] * 5)[:5])
        assert any(cells) or not any(row) or len(row) != 5
        assert not any(cells) or not any(cell.strip() for cell in row[5:])
    assert sum(report.counts().values()) == sum(len(row) != 5 for row in rows)


@few
@given(st.lists(st.tuples(cells, st.floats(width=32) | cells), min_size=1, max_size=8))
def test_a_table_holds_its_cells(rows: list[tuple]):
    table = read(written([[f"r{i}", c, str(n), c, c] for i, (c, n) in enumerate(rows)]))
    assert table.ids.tolist() == [f"r{i}" for i in range(len(rows))]
    assert table.image.tolist() == [c.strip() for c, _ in rows]
    for i, (value, number) in enumerate(rows):
        name = table.categories[0][table.categorical[i, 0]]
        assert name == value.strip() or f"{name}.0" == value.strip()
        if isinstance(number, float):
            assert table.continuous[i, 0] == number if math.isfinite(number) else np.isnan(table.continuous[i, 0])
        assert not np.isinf(table.continuous[i, 0])


@few
@given(st.lists(cells, min_size=1, max_size=9))
def test_the_size_of_a_chunk_changes_nothing(texts: list[str]):
    text = written([[str(i), t, str(i), t, t] for i, t in enumerate(texts)])
    whole = read(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmjax.datasets.table._CHUNK", 2)
        pieces = read(text)
    assert pieces.word_list == whole.word_list
    assert pieces.categories == whole.categories
    np.testing.assert_array_equal(pieces.words, whole.words)
    np.testing.assert_array_equal(pieces.categorical, whole.categorical)


@few
@given(st.binary(max_size=80))
def test_any_bytes_are_a_table_or_refused(data: bytes):
    fuzz_table(data)
    fuzz_table(b"id,c,n,t,p,y\n" + data)
