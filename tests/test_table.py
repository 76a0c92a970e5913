"""Tables, good and bad: no row is dropped or moved, every problem is counted with its place."""

import random
from pathlib import Path

import numpy as np
import pytest

from mmjax.data.report import DataReport
from mmjax.data.table import Table, read_table
from mmjax.errors import DataError, MmjaxError, SchemaError
from mmjax.schema import Schema

SCHEMA = Schema(id="id", label="y", categorical=("c",), continuous=("n",), text="t", image="p")
GOOD = "id,c,n,t,p,y\n1,red,1.5,Big dog,a.jpg,yes\n2,,x,,,no\n3,red,inf,don't  stop,b.jpg,yes\n"


def read(tmp_path: Path, text: str | bytes, report: DataReport | None = None, **options) -> Table:
    file = tmp_path / "rows.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(file, SCHEMA, text_length=4, report=report or DataReport(), **options)


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
    assert report.counts() == {"number_infinite": 1, "number_unreadable": 1}
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
    """A short row ends in missing values, a long one loses its surplus; neither shifts a column of another row."""
    report = DataReport()
    table = read(tmp_path, "id,c,n,t,p,y\n1,red,1\n2,blue,2,hi,a.jpg,no,extra,more\n3,red,3,yo,b.jpg,yes\n", report)
    assert table.ids.tolist() == ["1", "2", "3"]
    assert table.continuous[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert table.label.tolist() == [-1, 0, 1]
    assert report.counts() == {"label_missing": 1, "row_long": 1, "row_short": 1}


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
        read_table(tmp_path / "none.csv", SCHEMA, text_length=4, report=DataReport())
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
    monkeypatch.setattr("mmjax.data.table._LARGE", 1)
    monkeypatch.setattr("mmjax.data.table._CHUNK", 2)
    large = read(tmp_path, GOOD, cache_dir=tmp_path / "cache")
    assert isinstance(large.words, np.memmap)
    np.testing.assert_array_equal(large.words, small.words)
    np.testing.assert_array_equal(large.categorical, small.categorical)
    del large


def mutated(rng: random.Random) -> bytes:
    """The good table with bytes flipped, cut, doubled or made odd."""
    data = bytearray(GOOD.encode() * rng.randint(1, 3))
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data))
        what = rng.randrange(5)
        if what == 0:
            data[at] = rng.randrange(256)
        elif what == 1:
            del data[at : at + rng.randint(1, 20)]
        elif what == 2:
            data[at:at] = bytes(rng.choice([b'"', b"\0", b"\r", b"\n\n", b",,,,,", b"\xff\xfe", b"1e999", b"'" * 9]))
        elif what == 3:
            data[at:at] = data[: rng.randint(1, 40)]
        if not data:
            break
    return bytes(data)


def fuzz(tmp_path: Path, files: int, seed: int) -> int:
    """Reads mutated tables; how many were refused. Any error but our own escapes and fails the test."""
    rng, refused = random.Random(seed), 0
    for _ in range(files):
        report = DataReport()
        try:
            table = read(tmp_path, mutated(rng), report)
            assert len(table.ids) == len(table.categorical) == len(table.words) == len(table.image)
        except MmjaxError as error:
            assert "\n" not in str(error).replace("\\n", "") or str(error)
            refused += 1
    return refused


def test_mutated_tables(tmp_path: Path):
    assert 0 < fuzz(tmp_path, 300, 0) < 300


@pytest.mark.faults
def test_ten_thousand_mutated_tables(tmp_path: Path):
    print(f"10,000 mutated tables: {fuzz(tmp_path, 10_000, 1)} refused, no other error")
