"""Tables, good and bad: no row is dropped or moved, every problem is counted with its place."""

from pathlib import Path

import numpy as np
import pytest
from fuzz_targets import GOOD, SCHEMA, fuzz_table, table_mutants

from mmjax.data.csv_rows import open_rows
from mmjax.data.data_report import DataReport
from mmjax.errors import DataError, SchemaError
from tests.killing import record
from tests.reading import Read, read_file, schema_of


def read(tmp_path: Path, text: str | bytes, report: DataReport | None = None, **options) -> Read:
    file = tmp_path / "rows.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_file(file, SCHEMA, report=report or DataReport(), **options)


def test_columns(tmp_path: Path):
    report = DataReport()
    table = read(tmp_path, GOOD, report)
    assert table.ids.tolist() == ["1", "2", "3"]
    assert table.categories == (("red", ""),)
    assert table.categorical.tolist() == [[0], [1], [0]]
    np.testing.assert_array_equal(table.continuous, [[1.5], [np.nan], [np.nan]])
    assert [[table.word_list[w] for w in row if w] for row in table.words] == [["big", "dog"], [], ["don't", "stop"]]
    assert (table.classes, table.label.tolist()) == (("no", "yes"), [1, 0, 1])
    assert table.image.tolist() == ["a.jpg", "", "b.jpg"]
    # One number is left in column n: the column is constant.
    assert report.counts() == {"column_constant": 1, "number_infinite": 1, "number_unreadable": 1}
    assert report.entries("number_unreadable")[0] | {"file": ""} == {
        "file": "",
        "row": 2,
        "column": "n",
        "value": "x",
        "action": "missing",
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_and_marks(tmp_path: Path, encoding: str):
    report = DataReport()
    table = read(tmp_path, GOOD.replace("red", "weiß").encode(encoding), report)
    assert table.categories == (("weiß", ""),)
    assert ("encoding" in report.counts()) == (encoding == "cp1252")


def test_ragged_rows_stay_where_they_are(tmp_path: Path):
    """A short row ends in missing values, a long one has none but its name; neither shifts a column of another row."""
    report = DataReport()
    table = read(
        tmp_path, "id,c,n,t,p,y\n1,red,1\n2,blue,2,hi,a.jpg,no,extra,more\n3,red,3,yo,b.jpg,yes\n4,red,4,,,no,,\n", report
    )
    assert table.ids.tolist() == ["1", "2", "3", "4"]
    assert table.continuous[:, 0].tolist() == pytest.approx([1, np.nan, 3, 4], nan_ok=True)
    assert table.label.tolist() == [-1, -1, 1, 0]
    assert report.counts() == {"label_missing": 2, "row_long": 2, "row_short": 1}


def test_newlines_in_quotes_and_a_huge_cell(tmp_path: Path):
    huge = "word " * 2_000_000
    table = read(tmp_path, f'id,c,n,t,p,y\n1,"a\nb",1,"one\ntwo",,yes\n2,a,2,"{huge}",,no\n')
    assert len(table) == 2
    assert table.categories[0][0] == "a\nb"
    assert [table.word_list[w] for w in table.words[0] if w] == ["one", "two"]
    assert (table.words[1] > 0).all()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", DataError, "empty"),
        ("\n\n", DataError, "no header"),
        ("id,c,n,t,p,y\n", DataError, "no rows"),
        ("id,c,n,t,p\n1,2,3,4,5\n", SchemaError, "no column 'y'"),
        ("id,c,n,t,p,y,c\n", SchemaError, "'c' twice"),
        ("id,c,n,t,p,y\n1,a,1,,,yes\n2,a,1,,,yes\n", DataError, "1 class"),
    ],
)
def test_refusals(tmp_path: Path, text: str, error: type, message: str):
    with pytest.raises(error, match=message):
        read(tmp_path, text)


def test_missing_file_and_group_column(tmp_path: Path):
    with pytest.raises(DataError, match="cannot be read"):
        read_file(tmp_path / "none.csv", SCHEMA, report=DataReport())
    with pytest.raises(DataError, match="no column 'seller' to group"):
        read(tmp_path, GOOD, group="seller")


def test_strict_refuses_with_row_column_and_value(tmp_path: Path):
    with pytest.raises(DataError, match=r"row 2, column n, value 'x'"):
        read(tmp_path, GOOD, DataReport(strict=True))


def test_duplicate_ids_are_kept_and_counted(tmp_path: Path):
    report = DataReport()
    table = read(tmp_path, GOOD.replace("\n3,", "\n1,"), report)
    assert len(table) == 3
    assert report.counts()["id_twice"] == 1


def test_known_classes(tmp_path: Path):
    """Evaluating: a label not seen in training is reported, not renumbered; predicting: no label column is needed."""
    report = DataReport()
    table = read(tmp_path, GOOD, report, classes=("yes", "maybe"))
    assert table.label.tolist() == [0, -1, 0]
    assert report.counts()["label_unknown"] == 1
    without = "\n".join(line.rpartition(",")[0] for line in GOOD.splitlines())
    assert read(tmp_path, without, classes=("yes", "no"), require_label=False).label is None


def test_numeric_labels_are_in_numeric_order(tmp_path: Path):
    rows = "\n".join(f"{i},a,1,,,{i}" for i in (10, 9, 2, 0))
    assert read(tmp_path, f"id,c,n,t,p,y\n{rows}\n").classes == ("0", "2", "9", "10")


def test_thousands_of_categories_and_a_constant_column(tmp_path: Path):
    rows = "\n".join(f"{i},v{i},7,,,{'yes' if i % 2 else 'no'}" for i in range(5000))
    table = read(tmp_path, f"id,c,n,t,p,y\n{rows}\n")
    assert len(table.categories[0]) == 5000
    assert len(set(table.continuous[:, 0])) == 1


def test_a_large_table_goes_to_disk_and_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    small = read(tmp_path, GOOD)
    monkeypatch.setattr("mmjax.datasets.table._CHUNK", 2)
    large = read(tmp_path, GOOD, cache_dir=tmp_path / "cache")
    assert isinstance(large.words, np.memmap)
    np.testing.assert_array_equal(large.words, small.words)
    np.testing.assert_array_equal(large.categorical, small.categorical)
    del large


@pytest.mark.parametrize("last", ['"oops\n', 'x "oops\n', '"oops\n3,"b, c",1,ok,,yes\n'])
def test_a_quote_that_is_never_closed_swallows_no_row(tmp_path: Path, last: str):
    """A plain csv reader puts all that follows the quote into one field, and says nothing where it is the last one."""
    report = DataReport()
    text = f"id,c,n,p,y,t\n1,a,1,,yes,hi\n2,a,2,,no,{last}4,a,4,,yes,hi\n5,b,5,,no,ho\n"
    table = read(tmp_path, text, report)
    assert table.ids.tolist() == ["1", "2", *(["3"] if "3," in last else []), "4", "5"]
    assert [table.word_list[w] for w in table.words[1] if w][-1] == "oops"
    opened = last.startswith('"')
    assert report.counts().get("quote_unclosed", 0) == opened
    if opened:
        assert report.entries("quote_unclosed")[0]["row"] == 2


def test_a_text_with_unescaped_quotes_stays_one_row(tmp_path: Path):
    """Its second line does not look like a row of the table."""
    report = DataReport()
    table = read(tmp_path, 'id,c,n,p,y,t\n1,a,1,,yes,"one\nhe said "no" there"\n2,b,2,,no,hi\n', report)
    assert table.ids.tolist() == ["1", "2"]
    assert report.entries("quote_unclosed")[0]["action"] == "kept as one row"


def test_a_quote_open_for_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mmjax.data.csv_rows._LONGEST_ROW", 40)
    rows = "".join(f"{i},a,{i},,{'yes' if i % 2 else 'no'},hi\n" for i in range(2, 50))
    table = read(tmp_path, f'id,c,n,p,y,t\n1,a,1,,yes,"oops\n{rows}')
    assert table.ids.tolist() == [str(i) for i in range(1, 50)]


def test_columns_that_cannot_help_are_reported(tmp_path: Path):
    """Constant, a value a row, named nowhere; in a table to predict, where one row is constant throughout, only the last."""
    report = DataReport()
    rows = "\n".join(f"{i},v{i},7,,,{'yes' if i % 2 else 'no'},spare" for i in range(1200))
    read(tmp_path, f"id,c,n,t,p,y,more\n{rows}\n", report)
    assert report.counts() == {"column_constant": 1, "column_many_values": 1, "column_unused": 1}
    places = [report.entries(kind)[0]["column"] for kind in report.counts()]
    assert places == ["n", "c", "more"]
    report = DataReport()
    read(tmp_path, "id,c,n,t,p,y,more\n1,a,7,,,yes,spare\n", report, classes=("yes", "no"))
    assert report.counts() == {"column_unused": 1}
    with pytest.raises(DataError, match=r"column_unused: column more \(not read; name it in the schema's ignore list"):
        read(tmp_path, f"id,c,n,t,p,y,more\n{rows}\n", DataReport(strict=True))


@pytest.mark.parametrize("cell", ["1_000", "1e39", "-inf", "1,5", "12 kg"])
def test_what_is_no_number_is_missing_and_reported(tmp_path: Path, cell: str):
    report = DataReport()
    table = read(tmp_path, f'id,c,n,t,p,y\n1,a,"{cell}",,,yes\n2,b,2,,,no\n3,b,3,,,no\n', report)
    assert np.isnan(table.continuous[0, 0])
    kind = "number_infinite" if cell in ("1e39", "-inf") else "number_unreadable"
    assert report.counts() == {kind: 1}
    assert report.entries(kind)[0]["value"] == cell


def test_labels_written_as_floats(tmp_path: Path):
    """A spreadsheet writes 2 as 2.0 once a label is missing: it is the same class."""
    table = read(tmp_path, "id,c,n,t,p,y\n1,a,1,,,2.0\n2,b,2,,,0\n3,b,3,,,2\n")
    assert (table.classes, table.label.tolist()) == (("0", "2.0"), [1, 0, 1])
    assert read(tmp_path, "id,c,n,t,p,y\n1,a,1,,,2.0\n", classes=("1", "2")).label.tolist() == [1]


def test_a_class_may_be_called_none(tmp_path: Path):
    """Where the schema lists it; else it means no label."""
    file = tmp_path / "rows.csv"
    file.write_text("id,y\n1,None\n2,Some\n3,\n")
    schema = schema_of(id="id", label="y", classes=("None", "Some"))
    assert read_file(file, schema, report=DataReport()).label.tolist() == [0, 1, -1]


def test_rows_without_an_id_are_kept_and_counted(tmp_path: Path):
    report = DataReport()
    assert len(read(tmp_path, GOOD.replace("\n2,", "\n,").replace("\n3,", "\n,"), report)) == 3
    assert report.counts()["id_missing"] == 2


def test_utf16_without_a_mark(tmp_path: Path):
    report = DataReport()
    assert read(tmp_path, GOOD.encode("utf-16-le"), report).ids.tolist() == ["1", "2", "3"]
    assert report.counts()["encoding"] == 1


def test_mixed_separators_are_named(tmp_path: Path):
    header, *rows = GOOD.splitlines()
    with pytest.raises(DataError, match="separated by ';', its rows are not"):
        read(tmp_path, "\n".join([header.replace(",", ";"), *rows]))


@pytest.mark.parametrize(
    "start", [b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"PK\x03\x04\x14\0", b"PAR1\x15\x04", b"RIFF\x01\x02\0\0WEBPVP8 "]
)
def test_a_picture_or_a_spreadsheet_is_no_table(tmp_path: Path, start: bytes):
    (tmp_path / "rows.csv").write_bytes(start + bytes(range(256)) * 9)
    with pytest.raises(DataError, match="rows.csv: is no text table"):
        open_rows(tmp_path / "rows.csv", DataReport())


def test_the_report_shows_no_raw_control_character(tmp_path: Path):
    """A photo's name, a value or a column may hold newlines and terminal escapes, or be as long as the file."""
    report = DataReport()
    report.add("kind", file="a\nb\x1b[31m" + "x" * 10_000, row=0, column="c\td", value="v\r\n", action="kept")
    (line,) = report.summary_lines()
    assert line.isprintable()
    assert len(line) < 1000


def test_mutated_tables():
    read = sum(fuzz_table(data) for data in table_mutants(200, seed=0))
    assert 0 < read < 200


@pytest.mark.faults
def test_ten_thousand_mutated_tables():
    read = sum(fuzz_table(data) for data in table_mutants(10_000, seed=1))
    record("mutated tables", files=10_000, read=read, refused=10_000 - read)
