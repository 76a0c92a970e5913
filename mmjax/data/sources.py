"""A table from a DataFrame, a CSV, JSON or Parquet file, the same way in: a header, and rows of strings, a chunk at a time.

A cell is what `DataFrame.to_csv(index=False)` writes of it, so that categories, missing values, ids and order do not depend on
where a table comes from: 3.0 is '3.0', True 'True', a missing value of any kind ''.
"""

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mmjax.data.csv_dialect import NOT_READABLE, open_bytes
from mmjax.data.csv_rows import open_rows
from mmjax.data.data_report import DataReport
from mmjax.errors import ConfigError, DataError

Source = str | Path | pd.DataFrame
"""A table, or where it lies."""

FRAME = "the DataFrame"
"""How messages name a table that is no file."""
_CHUNK = 20_000
_JSON = re.compile(rb"(\xef\xbb\xbf)?\s*(\[\s*\{|\{\s*\")")
"""How a list of objects begins, or an object a line."""


class OpenSource(NamedTuple):
    """An opened table.

    Attributes:
      name: for messages.
      header: names of the columns.
      rows: each as long as the header.
      size: bytes, in memory or on the disk.
    """

    name: str
    header: list[str]
    rows: Iterator[list[str]]
    size: int


def open_source(source: Source, report: DataReport) -> OpenSource:
    """Opens a table; a file is Parquet or JSON if it begins as one, else CSV.

    Raises:
      DataError: no such file, or it cannot be read as a table.
      ConfigError: a Parquet file, and pyarrow is not installed.
    """
    if isinstance(source, pd.DataFrame):
        header = [str(name).strip() for name in source.columns]
        if not header:
            raise DataError(f"{FRAME} has no columns.")
        rows = _frame_rows([source])
    else:
        path, start = Path(source), _start(Path(source))
        if start.startswith(b"PAR1"):
            header, rows = _open_parquet(path)
        else:
            header, rows = _open_json(path) if _JSON.match(start) else open_rows(path, report)
    name, size = measure(source)
    return OpenSource(name, header, rows, size)


def _frame_rows(frames: Iterable[pd.DataFrame]) -> Iterator[list[str]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    for frame in frames:
        for start in range(0, len(frame), _CHUNK):
            text = frame.iloc[start : start + _CHUNK].to_csv(index=False, header=False, lineterminator="\n")
            yield from csv.reader(io.StringIO(text, newline=""))


def measure(source: Source) -> tuple[str, int]:
    """A table's name for messages and its bytes, in memory or on the disk; 0 where there is no such file."""
    if isinstance(source, pd.DataFrame):
        return FRAME, int(source.memory_usage(index=False).sum())
    path = Path(source)
    return str(path), path.stat().st_size if path.is_file() else 0


def _start(path: Path) -> bytes:
    try:
        with open_bytes(path) as file:
            return file.read(4096)
    except NOT_READABLE:  # open_rows says it
        return b""


def _open_json(path: Path) -> tuple[list[str], Iterator[list[str]]]:
    """A list of objects, or an object a line; numbers keep their text."""
    hooks: dict[str, Any] = {"parse_int": str, "parse_float": str, "parse_constant": lambda _: None}
    advice = "a table is a list of objects, [{...}, {...}], or one object a line (JSON Lines)"
    try:
        with open_bytes(path) as file:
            content = file.read()
        text = content.decode(json.detect_encoding(content))
        one = text.lstrip().startswith("[")
        found = json.loads(text, **hooks) if one else [json.loads(line, **hooks) for line in text.splitlines() if line.strip()]
    except NOT_READABLE as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON that mmjax can read ({error}); {advice}.") from error
    if bad := next((n for n, row in enumerate(found, 1) if not isinstance(row, dict)), 0):
        raise DataError(f"{path}: row {bad} is no JSON object; {advice}.")
    if len(found) == 1 and not one and any(isinstance(value, dict | list) for value in found[0].values()):
        raise DataError(f"{path}: is one JSON object that holds columns; {advice}.")
    keys = list(dict.fromkeys(key for row in found for key in row))
    return [key.strip() for key in keys], ([_json_cell(row.get(key)) for key in keys] for row in found)


def _json_cell(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


def _open_parquet(path: Path) -> tuple[list[str], Iterator[list[str]]]:
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(f"{path}: Parquet needs pyarrow: pip install 'mmjax[parquet]', or save the table as CSV.") from error
    try:
        file = parquet.ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: is not a Parquet file mmjax can read: {error}.") from error
    header = [str(name).strip() for name in file.schema_arrow.empty_table().to_pandas().columns]  # without pandas' index

    def rows() -> Iterator[list[str]]:
        try:  # whole numbers stay so where some are missing
            yield from _frame_rows(batch.to_pandas(integer_object_nulls=True) for batch in file.iter_batches(_CHUNK))
        except (ArrowException, OSError) as error:
            raise DataError(f"{path}: is not a Parquet file mmjax can read: {error}.") from error

    return header, rows()
