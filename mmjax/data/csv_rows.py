"""A CSV file as rows of strings, whatever is in it: encodings, byte-order marks, ragged rows, broken quotes, huge cells."""

import codecs
import csv
import re
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from mmjax.data.data_report import DataReport
from mmjax.errors import DataError

_BLOCK = 1 << 20
_MARKS = (  # the four bytes before the two they begin with
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXT = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8[79]a|RIFF.{4}WEBP|II\*\0|MM\0\*|PK\x03\x04|\xd0\xcf\x11\xe0|%PDF-|\x1f\x8b|PAR1\x15|\x7fELF",
    re.DOTALL,
)
"""How pictures, spreadsheets, archives, Parquet files and programs begin; a text may hold any character."""
_LONGEST_ROW = 64 << 20
"""Characters of a row of several lines; a quote open for longer is one that was never closed."""


def open_rows(path: Path, report: DataReport) -> tuple[list[str], Iterator[list[str]]]:
    """Header and an iterator over the data rows, each as long as the header.

    A row with too few fields ends in missing values, one with too many loses the surplus; both are reported, no row is dropped.

    Raises:
      DataError: no such file, an empty one, no header, or text the csv reader cannot take.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    rows = _rows(path, _encoding(path, report), report)
    header = [name.strip() for name in next(rows, [])]
    if not any(header):
        raise DataError(f"{path}: the file is empty or has no header line; the first line must name the columns.")
    if len(header) == 1 and (other := [mark for mark in (";", "\t", "|") if header[0].count(mark) > 1]):
        raise DataError(f"{path}: its first line is separated by {other[0]!r}, not by commas; save it as comma-separated.")
    return header, _even(path, len(header), rows, report)


class _Lines:
    """Lines of a file that remembers those of the current row, and takes some back."""

    def __init__(self, handle: TextIO):
        self._handle, self._again = handle, deque[str]()
        self.row: list[str] = []
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.row:
            if self._size > _LONGEST_ROW:
                raise StopIteration  # for now: the csv reader ends the row and asks again
            self._size += len(self.row[-1])
        line = self._again.popleft() if self._again else next(self._handle)
        self.row.append(line)
        return line

    def end_row(self, give_back: int = 0) -> None:
        """Forgets the row's lines, but for the last `give_back`, which will be read again."""
        self._again.extendleft(reversed(self.row[len(self.row) - give_back :]))
        self.row, self._size = [], 0


def _rows(path: Path, encoding: str, report: DataReport) -> Iterator[list[str]]:
    number, width = -1, 0
    try:
        with path.open(encoding=encoding, errors="replace", newline="") as handle:
            lines = _Lines(handle)
            for row in csv.reader(lines):
                taken, give_back = len(lines.row), 0
                if taken > 1 and not _well_quoted(lines.row):
                    # Where the next line looks like a row, a quote was never closed, and this row must not swallow it.
                    swallowed = width > 1 and len(next(csv.reader([lines.row[1]]), [])) == width
                    give_back = taken - 1 if swallowed else 0
                    action = "the quote ends with its line" if swallowed else "kept as one row"
                    value = f"{taken} lines; {lines.row[0]}"
                    report.add("quote_unclosed", file=str(path), row=number, value=value, action=action)
                if give_back:
                    row = _mended(lines.row[0], width)  # noqa: PLW2901 - the mended row is what goes on
                lines.end_row(give_back)
                if row:  # a blank line is no row
                    width = width or len(row)
                    number += 1
                    yield row
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (csv.Error, UnicodeError) as error:
        raise DataError(f"{path}: is not a CSV file mmjax can read: {error}.") from error


def _mended(line: str, width: int) -> list[str]:
    """The fields of a line with a stray quote: it is a letter, or closed at the line's end, as the width tells."""
    letter = next(csv.reader([line], quoting=csv.QUOTE_NONE), [])
    closed = next(csv.reader([line.rstrip("\r\n") + '"']), [])
    return closed if len(closed) == width else letter


def _well_quoted(lines: list[str]) -> bool:
    try:
        return len(list(csv.reader(lines, strict=True))) == 1
    except csv.Error:
        return False


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
            start = handle.read(4096)
            if _NO_TEXT.match(start):
                raise DataError(f"{path}: is no text table but a picture, spreadsheet or archive; save it as comma-separated.")
            marked = next((name for mark, name in _MARKS if start.startswith(mark)), "")
            if not marked and (marked := _unmarked(start)):
                report.add("encoding", file=str(path), action=f"read as {marked}, which it looks like; it has no mark")
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


def _unmarked(start: bytes) -> str:
    """Every second byte of Latin text in UTF-16 is zero."""
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) * 3 < len(start):
        return ""
    return "utf-16-be" if even > odd else "utf-16-le"
