"""A CSV file as rows of strings, whatever is in it: encodings, dialects, ragged rows, broken quotes, huge cells."""

import codecs
import csv
import re
import sys
from collections import deque
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, TextIO

from mmjax.data.csv_dialect import NOT_READABLE, Dialect, find_dialect, open_bytes, open_text
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
    rb"\xff\xd8\xff|\x89PNG|GIF8[79]a|RIFF.{4}WEBP|II\*\0|MM\0\*|PK\x03\x04|\xd0\xcf\x11\xe0|%PDF-|PAR1\x15|\x7fELF",
    re.DOTALL,
)
"""How pictures, spreadsheets, archives, Parquet files and programs begin; a text may hold any character."""
_LONGEST_ROW = 64 << 20
"""Characters of a row of several lines; a quote open for longer is one that was never closed."""


class Misfit(list[str]):
    """An empty row in place of one whose cells cannot be told apart; `first` is its first cell, which nothing has shifted."""

    def __init__(self, width: int, first: str):
        super().__init__([""] * width)
        self.first = first


class Short(list[str]):
    """A row that was filled at its end: a cell left out before would have shifted those after it."""


def open_rows(path: Path, report: DataReport) -> tuple[list[str], Iterator[list[str]]]:
    """Header and an iterator over the data rows, each as long as the header.

    A row with too few fields ends in missing values, one with too many is a `Misfit`; both are reported, no row is dropped.

    Raises:
      DataError: no such file, an empty one, no header, or text the csv reader cannot take.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    encoding, escapes = _encoding(path, report)
    dialect = find_dialect(path, encoding, escapes, report)
    rows = _rows(path, encoding, dialect, report)
    header = [name.strip() for name in next(rows, [])]
    if not any(header):
        raise DataError(f"{path}: the file is empty or has no header line; the first line must name the columns.")
    if len(header) == 1 and (other := [mark for mark in (";", "\t", "|") if header[0].count(mark) > 1]):
        raise DataError(f"{path}: its first line is separated by {other[0]!r}, its rows are not; save it as comma-separated.")
    return header, _even(path, len(header), rows, report)


class _Lines:
    """Lines of a file that remembers those of the current row, and takes some back."""

    def __init__(self, handle: TextIO, dialect: Dialect):
        self._handle, self._again, self._dialect = handle, deque[str](), dialect
        self.row: list[str] = []
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.row:
            if self._size > _LONGEST_ROW:
                raise StopIteration  # for now: the csv reader ends the row and asks again
            self._size += len(self.row[-1])
        line = self._again.popleft() if self._again else self._dialect.line(next(self._handle))
        self.row.append(line)
        return line

    def end_row(self, give_back: int = 0) -> None:
        """Forgets the row's lines, but for the last `give_back`, which will be read again."""
        self._again.extendleft(reversed(self.row[len(self.row) - give_back :]))
        self.row, self._size = [], 0


def _rows(path: Path, encoding: str, dialect: Dialect, report: DataReport) -> Iterator[list[str]]:
    number, width, options = -1, 0, dialect.options()
    try:
        with open_text(path, encoding, dialect.skip) as handle:
            lines = _Lines(handle, dialect)
            for row in csv.reader(lines, **options):
                taken, give_back = len(lines.row), 0
                if taken > 1 and not _well_quoted(lines.row, options):
                    # Where the next line looks like a row, a quote was never closed, and this row must not swallow it.
                    swallowed = width > 1 and len(next(csv.reader([lines.row[1]], **options), [])) == width
                    give_back = taken - 1 if swallowed else 0
                    action = "the quote ends with its line" if swallowed else "kept as one row"
                    value = f"{taken} lines; {lines.row[0]}"
                    report.add("quote_unclosed", file=str(path), row=number, value=value, action=action)
                if give_back:
                    row = _mended(lines.row[0], width, options)  # noqa: PLW2901 - the mended row is what goes on
                lines.end_row(give_back)
                if row:  # a blank line is no row
                    width = width or len(row)
                    number += 1
                    yield row
    except NOT_READABLE as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    except (csv.Error, UnicodeError) as error:
        raise DataError(f"{path}: is not a CSV file mmjax can read: {error}.") from error


def _mended(line: str, width: int, options: dict[str, Any]) -> list[str]:
    """The fields of a line with a stray quote: it is a letter, or closed at the line's end, as the width tells."""
    letter = next(csv.reader([line], quoting=csv.QUOTE_NONE, **options), [])
    closed = next(csv.reader([line.rstrip("\r\n") + '"'], **options), [])
    return closed if len(closed) == width else letter


def _well_quoted(lines: list[str], options: dict[str, Any]) -> bool:
    try:
        return len(list(csv.reader(lines, strict=True, **options))) == 1
    except csv.Error:
        return False


def _even(path: Path, width: int, rows: Iterator[list[str]], report: DataReport) -> Iterator[list[str]]:
    torn = False
    for number, (row, after) in enumerate(pairwise(chain(rows, [[]]))):
        if len(row) == width:
            torn = False
            yield row
            continue
        kind = "row_long" if len(row) > width else "row_short"
        # A line break that no quotes hold leaves two short rows, which together have one field too many.
        begins = not torn and max(len(row), len(after)) < width and len(row) + len(after) == width + 1
        if torn or begins or any(map(str.strip, row[width:])):
            even, what = Misfit(width, row[0]), "cells and label not read: which columns they belong to is not known"
        else:
            even = row[:width] if len(row) > width else Short(row + [""] * (width - len(row)))
            what = "empty surplus fields dropped" if len(row) > width else "missing fields left empty"
        torn = begins
        report.add(kind, file=str(path), row=number, value=f"{len(row)} fields, header has {width}", action=what)
        yield even


def _encoding(path: Path, report: DataReport) -> tuple[str, bool]:
    """UTF-8 (or what a byte-order mark says) if the whole file is, else Western European, which decodes any byte.

    Also whether a backslash stands before a quote anywhere.
    """
    escapes, end = False, b""
    try:
        with open_bytes(path) as handle:
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
                escapes = escapes or b'\\"' in end + block
                end = block[-1:]
            decoder.decode(b"", final=True)
    except UnicodeError as error:
        fallback = marked or "cp1252"
        action = f"read as {fallback}; undecodable bytes replaced"
        report.add("encoding", file=str(path), value=str(error)[:60], action=action)
        return fallback, True
    except NOT_READABLE as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}; check the path.") from error
    if not start:
        raise DataError(f"{path}: the file is empty; the first line must name the columns.")
    return marked or "utf-8", escapes or bool(marked)  # of other encodings the bytes look otherwise


def _unmarked(start: bytes) -> str:
    """Every second byte of Latin text in UTF-16 is zero."""
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) * 3 < len(start):
        return ""
    return "utf-16-be" if even > odd else "utf-16-le"
