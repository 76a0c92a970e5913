"""A CSV file as rows of strings, whatever is in it: encodings, byte-order marks, ragged rows, quoted newlines, huge cells."""

import codecs
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from mmjax.data.report import DataReport
from mmjax.errors import DataError

_BLOCK = 1 << 20
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def open_rows(path: Path, report: DataReport) -> tuple[list[str], Iterator[list[str]]]:
    """Header and an iterator over the data rows, each as long as the header.

    A row with too few fields ends in missing values, one with too many loses the surplus; both are reported, no row is dropped.

    Raises:
      DataError: no such file, an empty one, no header, or text the csv reader cannot take.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    encoding = _encoding(path, report)
    rows = _rows(path, encoding)
    header = [name.strip() for name in next(rows, [])]
    if not any(header):
        raise DataError(f"{path}: the file is empty or has no header line; the first line must name the columns.")
    return header, _even(path, len(header), rows, report)


def _rows(path: Path, encoding: str) -> Iterator[list[str]]:
    try:
        with path.open(encoding=encoding, errors="replace", newline="") as handle:
            # A blank line is no row: csv yields [] for it.
            yield from (row for row in csv.reader(handle) if row)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (csv.Error, UnicodeError) as error:
        raise DataError(f"{path}: is not a CSV file mmjax can read: {error}.") from error


def _even(path: Path, width: int, rows: Iterator[list[str]], report: DataReport) -> Iterator[list[str]]:
    for number, row in enumerate(rows):
        if len(row) != width:
            kind, what = (
                ("row_long", "surplus fields dropped") if len(row) > width else ("row_short", "missing fields left empty")
            )
            report.add(kind, file=str(path), row=number, value=f"{len(row)} fields, header has {width}", action=what)
            row = (row + [""] * width)[:width]  # noqa: PLW2901 - the mended row is what goes on
        yield row


def _encoding(path: Path, report: DataReport) -> str:
    """UTF-8 (or what a byte-order mark says) if the whole file is; else Western European, which decodes any byte."""
    try:
        with path.open("rb") as handle:
            start = handle.read(4)
            marked = next((name for mark, name in _MARKS if start.startswith(mark)), "")
            handle.seek(0)
            decoder = codecs.getincrementaldecoder(marked or "utf-8")("strict")
            while block := handle.read(_BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeError as error:
        fallback = marked or "cp1252"
        action = f"read as {fallback}; undecodable bytes replaced"
        report.add("encoding", file=str(path), value=str(error)[:60], action=action)
        return fallback
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; check the path.") from error
    if not start:
        raise DataError(f"{path}: the file is empty; the first line must name the columns.")
    return marked or "utf-8"
