"""How a text table is written: packed or not, what separates cells, how quotes are escaped, where the header is."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO, cast

from mmjax.data.data_report import DataReport

_ESCAPE = re.compile(r"""\\(["\\])|\\""")
"""A backslash that says something, or one that is a letter: a path's, or MySQL's \\N."""
_SEP = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
"""Excel's own first line."""
_SAMPLE, _LONGEST = 50, 1 << 20
"""Lines that tell what separates cells, and characters of a line that are looked at."""
NOT_READABLE = (OSError, EOFError, zlib.error)


class Dialect(NamedTuple):
    """How a file is written.

    Attributes:
      separator: of cells.
      escaped: a backslash stands before a quote that is a letter (MySQL, Spark), not another quote.
      skip: lines before the header.
    """

    separator: str = ","
    escaped: bool = False
    skip: int = 0

    def options(self) -> dict[str, Any]:
        """For `csv.reader`."""
        return {"delimiter": self.separator, "escapechar": "\\" if self.escaped else None}

    def line(self, line: str) -> str:
        """A line in which only quotes and backslashes are escaped."""
        return _ESCAPE.sub(lambda m: m[0] if m[1] else "\\\\", line) if self.escaped else line


def open_bytes(path: Path) -> BinaryIO:
    """A file's bytes, unpacked where gzip has packed them."""
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def open_text(path: Path, encoding: str, skip: int = 0) -> TextIO:
    """A file's text after its first `skip` lines; undecodable bytes are replaced."""
    handle = io.TextIOWrapper(open_bytes(path), encoding, "replace", newline="")
    for _ in range(skip):
        handle.readline()
    return handle


def find_dialect(path: Path, encoding: str, escapes: bool, report: DataReport) -> Dialect:
    """What separates cells, how quotes are escaped, and where the header is; what is not usual is reported.

    Args:
      path: the file.
      encoding: of its text.
      escapes: whether a backslash stands before a quote anywhere.
      report: told of it.
    """
    with open_text(path, encoding) as handle:
        lines = [line for _ in range(_SAMPLE) if (line := handle.readline(_LONGEST))]
    first = lines[0].strip() if lines else ""
    given = _SEP.fullmatch(first) if len(lines) > 1 else None
    skip = 1 if given else 0
    skip += _comments(lines[skip:])
    dialect = Dialect(given[1] if given else _separator(lines[skip:]), False, skip)
    if skip:
        action = f"the first {skip} line(s) are no header and are not read"
        report.add("first_line", file=str(path), value=first, action=action, refuse=False)
    if dialect.separator != ",":
        report.add("separator", file=str(path), value=dialect.separator, action="read as what separates cells", refuse=False)
    other = dialect._replace(escaped=True)
    if escapes and _faults(path, encoding, other) < _faults(path, encoding, dialect):
        report.add("quote_escape", file=str(path), action="read with quotes escaped by a backslash", refuse=False)
        return other
    return dialect


def _comments(lines: Sequence[str]) -> int:
    """How many lines begin with # and have fewer fields than the first that does not; a first column may be called '#'."""
    rest = [line for line in lines if not line.startswith("#")]
    separator = _separator(rest)

    def width(line: str) -> int:
        return len(next(csv.reader([line], delimiter=separator), []))

    is_comment = (line.startswith("#") and width(line) < width(rest[0]) for line in lines if rest)
    return sum(takewhile(bool, is_comment))


def _separator(lines: Sequence[str]) -> str:
    """What splits the header into most fields, and most of the rows into as many; else a comma."""
    best, most = ",", 1
    for mark in ",;\t|":
        try:
            header, *rows = [len(row) for row in csv.reader(lines, delimiter=mark) if row] or [0]
        except csv.Error:
            continue
        if header > most and 2 * rows.count(header) >= len(rows):
            best, most = mark, header
    return best


def _faults(path: Path, encoding: str, dialect: Dialect) -> int:
    """Rows of another length than the header, or with a quote where none may be."""
    width = found = 0
    with open_text(path, encoding, dialect.skip) as handle:
        rows = csv.reader(map(dialect.line, handle), strict=True, **dialect.options())
        while True:
            try:
                row = next(rows)
                width = width or len(row)
                found += bool(row) and len(row) != width
            except csv.Error:
                found += 1
            except StopIteration:
                return found
