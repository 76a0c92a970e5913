"""A DataFrame, the CSV it writes and the Parquet file it writes are one table."""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmjax.data.data_report import DataReport
from mmjax.data.sources import Source, open_source
from mmjax.datasets.infer_schema import propose_schema
from mmjax.errors import ConfigError, DataError
from tests.reading import Read, read_file, schema_of

DAYS = ["2024-01-01 10:00", None, "2024-03-01 00:00", "2024-01-01 00:00", "2024-01-02 00:00"]
COLUMNS = {
    "float": [3.0, 1.5, np.nan, 1e-7, 1e22],
    "float32": np.array([0.1, 1, 2, 3.3, np.inf], np.float32),
    "int": [1, 2, 3, -4, 5],
    "bool": [True, False, True, False, True],
    "object": [None, "a", float("nan"), pd.NA, "3.0"],
    "string": pd.array(["x", "y", None, "z", "NA"], dtype="string"),
    "category": pd.Categorical(["a", None, "b", "a", "b"]),
    "numbers": pd.Categorical([1.0, 2.5, None, 1.0, 2.5]),
    "day": pd.to_datetime(["2024-01-01", None, "2024-03-01", "2024-01-01", "2024-01-02"]),
    "time": pd.to_datetime(DAYS),
    "zone": pd.to_datetime(DAYS).tz_localize("UTC"),
    "Int64": pd.array([1, None, 3, 4, 5], dtype="Int64"),
    "Float64": pd.array([1, None, 3, 4.5, 5], dtype="Float64"),
    "boolean": pd.array([True, None, False, True, True], dtype="boolean"),
    "text": ["a,b", 'q"q', "two\nlines", " lead", "é"],
}


def read(source: Source) -> list[list[str]]:
    _, header, rows, _ = open_source(source, DataReport(strict=True))
    return [header, *rows]


@pytest.mark.parametrize("name", COLUMNS)
def test_cells_are_those_of_the_csv_file_that_pandas_writes(name: str):
    """Of every dtype; breaks if a missing value, a float or a date gets a text of its own."""
    frame = pd.DataFrame({name: COLUMNS[name], "more": range(5)})
    assert read(frame) == list(csv.reader(io.StringIO(frame.to_csv(index=False))))


def test_a_frame_a_csv_and_a_parquet_file_are_one_table(tmp_path: Path):
    """Same ids, categories, numbers, words, labels and order, with an index of its own that no column is made of."""
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(COLUMNS | {"y": pd.Categorical(list("abbab"))}, index=list("vwxyz"))
    frame["object"] = frame["object"].astype(str)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    schema = schema_of(
        id="int",
        label="y",
        categorical=["bool", "object", "string", "category", "numbers", "day", "time", "zone", "boolean"],
        continuous=["float", "float32", "Int64", "Float64"],
        text="text",
    )

    def table(source: Source) -> Read:
        return read_file(source, schema, text_length=4, report=DataReport())

    expected = table(tmp_path / "rows.csv")
    for source in (frame, tmp_path / "rows.parquet", pd.read_parquet(tmp_path / "rows.parquet")):
        found = table(source)
        assert found.categories == expected.categories
        assert (found.classes, list(found.word_list)) == (expected.classes, list(expected.word_list))
        for name in ("ids", "categorical", "continuous", "words", "label"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert propose_schema(source, label="y") == propose_schema(tmp_path / "rows.csv", label="y")


def test_chunks_do_not_show(tmp_path: Path):
    """40,001 rows are three chunks; whole numbers of which only the last chunk lacks one are whole throughout."""
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"n": pd.array([*range(40_000), None], dtype="Int64"), "s": ["x"] * 40_001})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows")  # told by what is in it, not by its name
    assert read(frame) == read(tmp_path / "rows.csv") == read(tmp_path / "rows")
    import pyarrow

    plain = pyarrow.table({"n": [*range(40_000), None], "s": ["x"] * 40_001})  # as other programs write it
    pyarrow.parquet.write_table(plain, tmp_path / "other.parquet")
    assert read(tmp_path / "other.parquet") == read(frame)


def test_tables_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DataError, match="the DataFrame has no columns"):
        open_source(pd.DataFrame(), DataReport())
    with pytest.raises(DataError, match="no such|No such"):
        open_source(tmp_path / "absent.parquet", DataReport())
    (tmp_path / "cut.parquet").write_bytes(b"PAR1\x15\x04")
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="is not a Parquet file"):
        open_source(tmp_path / "cut.parquet", DataReport())
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'mmjax\[parquet\]'"):
        open_source(tmp_path / "cut.parquet", DataReport())
