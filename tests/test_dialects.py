"""Text tables as other programs write them: what separates cells, escaped quotes, lines before the header, gzip, JSON."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmjax.data.csv_rows import Misfit
from mmjax.data.data_report import DataReport
from mmjax.data.sources import open_source
from mmjax.errors import DataError, SchemaError
from tests.reading import read_file, schema_of

ROWS = [["id", "size", "text", "y"], ["r0", "8.50", "one, two; three", "A"], ["r1", "", 'say "hi", ok', "B"]]


def _written(rows: list[list[str]], separator: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows(rows)
    return out.getvalue()


def _opened(tmp_path: Path, content: str | bytes, name: str = "rows.csv", strict: bool = True) -> tuple[list, DataReport]:
    """Header and rows; strict, since a dialect is no problem that anybody need mend."""
    file, report = tmp_path / name, DataReport(strict)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    source = open_source(file, report)
    return [source.header, *source.rows], report


OBJECTS = [dict(zip(ROWS[0], row, strict=True)) for row in ROWS[1:]]
OBJECTS[0]["size"] = None
NUMBERS = "[" + ", ".join(json.dumps(o).replace("null", "8.50") for o in OBJECTS) + "]"
BACKSLASH = _written(ROWS).replace('""hi""', '\\"hi\\"')


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        (_written(ROWS), []),
        (_written(ROWS, ";"), ["separator"]),
        (_written(ROWS, "\t"), ["separator"]),
        (_written(ROWS, "|").encode("utf-16"), ["separator"]),
        ("sep=;\r\n" + _written(ROWS, ";"), ["first_line", "separator"]),
        ('"sep=,"\n' + _written(ROWS), ["first_line"]),
        ("# exported, by a tool\n# in 2024\n" + _written(ROWS), ["first_line"]),
        (gzip.compress(_written(ROWS).encode(), mtime=0), []),
        (gzip.compress(NUMBERS.encode(), mtime=0), []),
        (BACKSLASH, ["quote_escape"]),
        (BACKSLASH.replace(", ok", " ok"), ["quote_escape"]),
        (NUMBERS, []),
        ("\ufeff" + "\n".join(json.dumps(o).replace("null", "8.50") for o in OBJECTS) + "\n", []),
    ],
)
def test_one_table_in_many_spellings(tmp_path: Path, content: str | bytes, kinds: list[str]):
    """Fails where a common file is refused or its cells are cut elsewhere, or where an unusual reading is not said."""
    found, report = _opened(tmp_path, content)
    expected = [[cell.replace(", ok", " ok") for cell in row] for row in ROWS] if 'hi\\" ok' in str(content) else ROWS
    assert [list(row) for row in found][:2] == expected[:2]
    assert found[2][2].replace(",", "") == 'say "hi" ok'
    assert list(report.counts()) == kinds


@pytest.mark.parametrize(
    "text", ["#id,size\n1,2\n", "a;b,c\n1,2\n", "text\none; two\n", 'a,b\n"C:\\dir\\",x\n', "a,b\nC:\\new,\\N\n"]
)
def test_what_only_looks_like_a_dialect(tmp_path: Path, text: str):
    """A header may begin with #, a name hold a semicolon, a path end in a backslash."""
    found, report = _opened(tmp_path, text)
    assert found == list(csv.reader(io.StringIO(text)))
    assert report.counts() == {}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text('ab"\\, \n', max_size=8), st.text('ab"\\,;', max_size=8)), min_size=1, max_size=5))
def test_escaped_quotes_come_back(rows: list[tuple[str, str]]):
    """As MySQL and Spark write cells: a quote or a backslash in a cell has a backslash before it."""
    import tempfile

    def quoted(cell: str) -> str:
        return '"' + cell.replace("\\", "\\\\").replace('"', '\\"') + '"'

    cells = [["a", 'a "word", more'], *map(list, rows)]
    text = "n,t\n" + "".join(",".join(map(quoted, row)) + "\n" for row in cells)
    with tempfile.TemporaryDirectory() as folder:
        found, report = _opened(Path(folder), text)
    assert found[1:] == cells
    assert report.counts() == {"quote_escape": 1}


@pytest.mark.parametrize(
    ("text", "misfits"),
    [
        ("id,text,n,y\n0,good, really,1,A\n1,nice,2,B\n", [True, False]),
        ("id,text,n,y\n0,nice,2,B,,\n", [False]),  # a spreadsheet's empty columns
        ("id,text,n,y\n0,good\nreally,1,A\n1,nice,2,B\n", [True, True, False]),  # a line break without quotes
        ("id,text,n,y\n0,good\n1,nice,2,B\n2\n", [False, False, False]),  # ends that were left out
    ],
)
def test_a_row_that_does_not_fit_has_no_cells(tmp_path: Path, text: str, misfits: list[bool]):
    """Its cells may be another column's: neither they nor its label are read; its name is, and it keeps its place."""
    found, report = _opened(tmp_path, text, strict=False)
    assert [isinstance(row, Misfit) for row in found[1:]] == misfits
    assert all(not any(row) for row in found[1:] if isinstance(row, Misfit))
    assert sum(report.counts().values()) == sum(len(line.split(",")) != 4 for line in text.splitlines())
    if misfits[:2] == [True, False]:
        table = read_file(
            tmp_path / "rows.csv", schema_of(id="id", label="y", continuous=["n"]), report=report, classes=("A", "B")
        )
        assert table.ids.tolist() == ["0", "1"]
        assert table.label is not None
        assert table.label.tolist() == [-1, 1]


def test_a_label_of_a_short_row_is_another_row_s_too(tmp_path: Path):
    """Else it is the cell beside it: a cell was left out before it."""
    file, report = tmp_path / "rows.csv", DataReport()
    file.write_text("id,y,n,t\n0,A,1,x\n1,B,2,x\n2,3.5,x\n3,B,1,x\n4,A\n")
    read = read_file(file, schema_of(id="id", label="y"), report=report)
    assert read.classes == ("A", "B")
    assert read.label is not None
    assert read.label.tolist() == [0, 1, -1, 1, 0]
    assert report.entries("label_shifted")[0]["row"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"rows": [{"a": 1}], "count": 1}', "one JSON object that holds columns"),
        ('{"id": {"0": 1}}', "one JSON object that holds columns"),
        ('[{"a": 1}, 2]', "row 2 is no JSON object"),
        ('{"a": 1}\n{"a": \n', "is not JSON that mmjax can read"),
        ('[{"a": 1}', "is not JSON that mmjax can read"),
    ],
)
def test_other_json_is_refused_in_a_sentence(tmp_path: Path, text: str, message: str):
    with pytest.raises(DataError, match=message):
        _opened(tmp_path, text)


def test_a_damaged_archive_is_refused(tmp_path: Path):
    for content in (gzip.compress(b"a,b\n1,2\n" * 999)[:40], b"\x1f\x8b\x08" + b"\0" * 50):
        with pytest.raises(DataError, match="rows.csv: cannot be read"):
            _opened(tmp_path, content)


def test_a_column_that_differs_in_case_is_named(tmp_path: Path):
    with pytest.raises(SchemaError, match="did you mean 'ID'"):
        schema_of(id="id", continuous=["n"]).check(["ID", "n"], "rows.csv")
