"""A table read once, in chunks: ids, labels, groups, and every modality's columns, shared by all folds (ADR 3)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from mmjax.data.cells import READING, category_name, folded, is_missing, number_categories, report_spellings
from mmjax.data.csv_rows import Misfit, Short
from mmjax.data.data_report import DataReport
from mmjax.data.sources import Source, open_source
from mmjax.errors import DataError
from mmjax.modalities.base import Reader
from mmjax.schema import Schema, listed

_CHUNK = 20_000
LARGE = 256 << 20
"""Bytes of a table from which its columns go to disk."""


@dataclass
class Table:
    """N rows.

    Attributes:
      path: file it was read from.
      ids: N strings.
      labels: N strings; None without a label column.
      group_N: group numbers, in order of appearance; None without a group column.
      further: rows at the end that are another file's, of rows without a label.
    """

    path: str
    ids: NDArray[np.object_]
    labels: list[str] | None = None
    group_N: Int[np.ndarray, " N"] | None = None
    further: int = 0

    def __len__(self) -> int:
        return len(self.ids)


def read_table(
    source: Source,
    schema: Schema,
    readers: Sequence[Reader],
    *,
    report: DataReport,
    require_label: bool = True,
    max_rows: int = 0,
    group: str = "",
    unused: str = "name it in the schema's ignore list if that is meant",
    reading: int = READING,
    further: Source | None = None,
) -> Table:
    """Reads a table. No row is dropped or moved, whatever is in it.

    Args:
      source: a CSV or Parquet file, or a DataFrame.
      schema: which column is what.
      readers: take every chunk's columns.
      report: told of every problem.
      require_label: a label column must be there.
      max_rows: first rows only; 0: all.
      group: column of groups; '': none.
      unused: advice about columns that nothing reads.
      reading: how cells are read, see `data/cells.py`.
      further: a table of rows without a label, which follow.

    Raises:
      DataError: no file, no rows.
      SchemaError: the header lacks a column of the schema.
    """
    path, header, rows, _ = open_source(source, report)
    separators = [entry["value"] for entry in report.entries("separator") if entry["file"] == path]
    where = f"{path} (separated by {separators[0]!r})" if separators else path
    schema.check(header, where, optional=() if require_label or not schema.label else (schema.label,))
    if group and group not in header:
        raise DataError(f"{path}: has no column {group!r} to group folds by (config.cv.group); columns are {listed(header)}.")
    for name in schema.unused(header):
        if name and name != group:
            report.add("column_unused", file=path, column=name, action=f"not read; {unused}")
    collected = _Collected(schema, group, reading)
    _take_rows(rows, header, collected, readers, max_rows)
    own = len(collected.ids)
    if further is not None:
        name, header, rows, _ = open_source(further, report)
        optional = {*filter(None, (schema.label, group))} - {*header}
        schema.check(header, name, optional=tuple(optional))
        report.goes_on(path, own, name)
        _take_rows(rows, header, collected, readers, 0, blank=(schema.label, *optional))
        if len(collected.ids) == own:
            raise DataError(f"{name}: has a header but no rows.")
    return collected.table(path, report, own)


def _take_rows(
    rows: Iterator[list[str]],
    header: Sequence[str],
    collected: "_Collected",
    readers: Sequence[Reader],
    max_rows: int,
    blank: Sequence[str] = (),
) -> None:
    """Chunk by chunk; `blank` columns are empty, whatever the file has."""
    schema, left = collected.schema, max_rows or None
    while chunk := list(islice(rows, _CHUNK if left is None else min(_CHUNK, left))):
        columns: dict[str, Sequence[str]] = dict(zip(header, zip(*chunk, strict=True), strict=True))
        if header[0] == schema.id:
            columns[schema.id] = [row.first if isinstance(row, Misfit) else row[0] for row in chunk]
        columns |= {name: [""] * len(chunk) for name in blank if name}
        _respell(columns, schema)
        first = len(collected.ids)
        collected.take(columns, len(chunk))
        collected.short += [first + i for i, row in enumerate(chunk) if isinstance(row, Short)]
        for reader in readers:
            reader.take(columns, first)
        left = None if left is None else left - len(chunk)
        if left == 0:
            break


def _respell(columns: dict[str, Sequence[str]], schema: Schema) -> None:
    """Cells that the schema says mean no value are empty, and spellings that it says are one are."""
    missing = frozenset(map(category_name, schema.missing))
    for name in schema.roles() if missing else ():
        if name in columns and name != schema.id:
            columns[name] = ["" if category_name(v) in missing else v for v in columns[name]]
    for name in schema.one_spelling:
        if name in columns:
            columns[name] = list(map(folded, columns[name]))


@dataclass
class _Collected:
    schema: Schema
    group: str
    reading: int
    ids: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    spellings: dict[str, str] = field(default_factory=dict)  # one string a label, not one a row
    groups: dict[str, int] = field(default_factory=dict)
    group_codes: list[int] = field(default_factory=list)
    short: list[int] = field(default_factory=list)

    def take(self, columns: Mapping[str, Sequence[str]], rows: int) -> None:
        schema, first = self.schema, len(self.ids)
        self.ids += [v.strip() for v in columns[schema.id]] if schema.id else [str(i) for i in range(first, first + rows)]
        if schema.label and schema.label in columns:
            self.labels += [self.spellings.setdefault(v, v.strip()) for v in columns[schema.label]]
        if self.group:
            self.group_codes += number_categories(columns[self.group], self.groups, self.reading)

    def table(self, path: str, report: DataReport, own: int) -> Table:
        if not self.ids:
            raise DataError(f"{path}: has a header but no rows.")
        self._check_ids(path, report)
        self._check_labels(path, report)
        group_N = self._groups(path, report) if self.group else None
        return Table(path, np.array(self.ids, object), self.labels or None, group_N, len(self.ids) - own)

    def _groups(self, path: str, report: DataReport) -> Int[np.ndarray, " N"]:
        """Numbers of groups; a row without one is a group of its own."""
        group_N, place = np.array(self.group_codes, np.int32), {"file": path, "column": self.group}
        report_spellings("group_spelling", self.groups, **place, report=report)
        missing = [number for name, number in self.groups.items() if is_missing(name)] if self.reading > 1 else []
        lone = np.flatnonzero(np.isin(group_N, missing))
        if len(lone):
            group_N[lone] = len(self.groups) + np.arange(len(lone))
            action = "each is a group of its own"
            report.add("group_missing", row=lone[0], value=f"{len(lone)} row(s)", **place, action=action, refuse=False)
        return group_N

    def _check_labels(self, path: str, report: DataReport) -> None:
        """The label of a row with too few cells counts only if other rows have it: it may be another column's cell."""
        if not self.short or not self.labels:
            return
        short = set(self.short)
        known = {label for row, label in enumerate(self.labels) if row not in short}
        for row in self.short:
            if self.labels[row] and self.labels[row] not in known:
                place = {"file": path, "row": row, "column": self.schema.label, "value": self.labels[row]}
                report.add(
                    "label_shifted", **place, action="no label: the row has too few cells, and no other row has this one"
                )
                self.labels[row] = ""

    def _check_ids(self, path: str, report: DataReport) -> None:
        seen: dict[str, int] = {}
        if len({"", *self.ids}) > len(self.ids):  # all differ, and none is empty
            return
        for row, name in enumerate(self.ids):
            place = {"file": path, "row": row, "column": self.schema.id}
            if not name:
                report.add("id_missing", **place, action="kept, without a name")
            elif seen.setdefault(name, row) != row:
                report.add("id_twice", **place, value=name, action=f"kept; the same id is in row {seen[name] + 1}")
