"""A table as integer columns: read once in chunks, tokenised once, shared by all folds (ADR 3)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from mmjax.data.arrays import GrowingArray
from mmjax.data.cells import Words, find_classes, number_categories, number_labels, number_words, photo_names, read_numbers
from mmjax.data.data_report import DataReport
from mmjax.data.sources import Source, open_source
from mmjax.errors import DataError
from mmjax.schema import Schema, listed

_CHUNK = 20_000
_LARGE = 256 << 20  # bytes of a table from which its columns go to disk
_MANY = 1000  # values of a categorical column from which it is reported


@dataclass
class Table:
    """N rows of integer columns; the two-dimensional ones are memory maps where the file is large.

    Attributes:
      path: file it was read from.
      ids: N strings.
      categorical: N x C numbers of values; column c's values are `categories[c]`, '' being the missing one.
      categories: values of each categorical column, in order of appearance.
      continuous: N x S, nan where missing.
      words: N x T numbers of words, 0 padding.
      word_list: words by number; '' at 0.
      label: N class indices, -1 missing; None without a label column.
      classes: class names.
      group: N group numbers; None without a group column.
      image: N photo paths relative to the photo folder, '' for none.
    """

    path: str
    ids: NDArray[np.object_]
    categorical: Int[np.ndarray, "N C"]
    categories: tuple[tuple[str, ...], ...]
    continuous: Float[np.ndarray, "N S"]
    words: Int[np.ndarray, "N T"]
    word_list: Sequence[str]
    label: Int[np.ndarray, " N"] | None
    classes: tuple[str, ...]
    group: Int[np.ndarray, " N"] | None
    image: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.ids)


def read_table(
    source: Source,
    schema: Schema,
    *,
    text_length: int,
    report: DataReport,
    classes: Sequence[str] = (),
    require_label: bool = True,
    cache_dir: Path | None = None,
    max_rows: int = 0,
    group: str = "",
) -> Table:
    """Reads a table. No row is dropped or moved, whatever is in it.

    Args:
      source: a CSV or Parquet file, or a DataFrame.
      schema: which column is what.
      text_length: T, tokens kept of a text.
      report: told of every problem.
      classes: known classes (predicting, evaluating): another label becomes missing. Empty: the schema's, or all found.
      require_label: a label column must be there.
      cache_dir: where the columns of a large file go.
      max_rows: first rows only; 0: all.
      group: column of groups; '': none.

    Raises:
      DataError: no file, no rows, no labels.
      SchemaError: the header lacks a column of the schema.
    """
    path, header, rows, size = open_source(source, report)
    schema.check(header, path, optional=() if require_label or not schema.label else (schema.label,))
    if group and group not in header:
        raise DataError(f"{path}: has no column {group!r} to group folds by (config.cv.group); columns are {listed(header)}.")
    for name in schema.unused(header):
        if name and name != group:
            advice = "the model was trained without it" if classes else "name it in the schema's ignore list if that is meant"
            report.add("column_unused", file=path, column=name, action=f"not read; {advice}")
    reader = _Reader(path, schema, header, text_length, report, group, cache_dir if size > _LARGE else None)
    left = max_rows or None
    while chunk := list(islice(rows, _CHUNK if left is None else min(_CHUNK, left))):
        reader.take(chunk)
        left = None if left is None else left - len(chunk)
        if left == 0:
            break
    return reader.table(tuple(classes) or schema.classes, fixed=bool(classes), require_label=require_label)


@dataclass
class _Reader:
    path: str
    schema: Schema
    header: list[str]
    text_length: int
    report: DataReport
    group: str
    spill: Path | None
    rows: int = 0
    ids: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values: list[dict[str, int]] = [{} for _ in self.schema.categorical]
        self.codes = GrowingArray(len(self.values), np.int32, self.spill)
        self.numbers = GrowingArray(len(self.schema.continuous), np.float64, self.spill)
        self.words = Words()
        self.tokens = GrowingArray(self.text_length if self.schema.text else 0, np.int32, self.spill)
        self.labels: list[str] = []
        self.spellings: dict[str, str] = {}  # one string a label, not one a row
        self.groups: dict[str, int] = {}
        self.group_codes: list[int] = []

    def take(self, chunk: list[list[str]]) -> None:
        """Adds rows."""
        columns: dict[str, Sequence[str]] = dict(zip(self.header, zip(*chunk, strict=True), strict=True))
        schema, first, file = self.schema, self.rows, str(self.path)
        self.rows += len(chunk)
        self.ids += [v.strip() for v in columns[schema.id]] if schema.id else [str(i) for i in range(first, self.rows)]
        codes = [number_categories(columns[c], seen) for c, seen in zip(schema.categorical, self.values, strict=True)]
        self.codes.extend(np.array(codes, np.int32).reshape(len(codes), len(chunk)).T)
        numbers = [read_numbers(columns[c], file=file, name=c, first=first, report=self.report) for c in schema.continuous]
        self.numbers.extend(np.array(numbers, np.float64).reshape(len(numbers), len(chunk)).T)
        if schema.text:
            self.tokens.extend(number_words(columns[schema.text], self.words, self.text_length))
        else:
            self.tokens.extend(np.zeros((len(chunk), 0), np.int32))
        if schema.label and schema.label in columns:
            self.labels += [self.spellings.setdefault(v, v.strip()) for v in columns[schema.label]]
        if self.group:
            self.group_codes += number_categories(columns[self.group], self.groups)
        self.images += photo_names(schema, columns, len(chunk))

    def table(self, classes: tuple[str, ...], *, fixed: bool, require_label: bool) -> Table:
        """The finished table; `fixed` classes are those of a trained model."""
        if not self.rows:
            raise DataError(f"{self.path}: has a header but no rows.")
        self._check_ids()
        label, classes = self._label(classes, fixed=fixed, require_label=require_label)
        table = Table(
            path=self.path,
            ids=np.array(self.ids, object),
            categorical=self.codes.finish(),
            categories=tuple(tuple(seen) for seen in self.values),
            continuous=self.numbers.finish(),
            words=self.tokens.finish(),
            word_list=list(self.words),
            label=label,
            classes=classes,
            group=np.array(self.group_codes, np.int32) if self.group else None,
            image=np.array(self.images, object),
        )
        if not fixed:  # a table to predict may well be one row
            _check_columns(table, self.schema, self.report)
        return table

    def _check_ids(self) -> None:
        seen: dict[str, int] = {}
        if len({"", *self.ids}) > len(self.ids):  # all differ, and none is empty
            return
        for row, name in enumerate(self.ids):
            place = {"file": self.path, "row": row, "column": self.schema.id}
            if not name:
                self.report.add("id_missing", **place, action="kept, without a name")
            elif seen.setdefault(name, row) != row:
                self.report.add("id_twice", **place, value=name, action=f"kept; the same id is in row {seen[name] + 1}")

    def _label(
        self, classes: tuple[str, ...], *, fixed: bool, require_label: bool
    ) -> tuple[np.ndarray | None, tuple[str, ...]]:
        if not self.labels:
            return None, classes
        name = self.schema.label
        classes = classes or find_classes(self.labels)
        label_N = number_labels(self.labels, classes, file=self.path, name=name, report=self.report)
        kinds = len(np.unique(label_N[label_N >= 0]))
        if require_label and not fixed and kinds < 2:
            raise DataError(f"{self.path}: the label {name!r} has {kinds} class(es); a classifier needs two.")
        return label_N, classes


def _check_columns(table: Table, schema: Schema, report: DataReport) -> None:
    """Reports columns that say nothing, and those that are nearly a name a row."""
    for name, values in zip(schema.categorical, table.categories, strict=True):
        if len(values) == 1:
            report.add("column_constant", file=table.path, column=name, value=values[0], action="kept; it says nothing")
        elif len(values) > _MANY:
            value, action = f"{len(values)} values", "kept; one column for each value of the training rows"
            report.add("column_many_values", file=table.path, column=name, value=value, action=action)
    for name, number_N in zip(schema.continuous, table.continuous.T, strict=True):
        known = np.unique(number_N[~np.isnan(number_N)])
        if len(known) <= 1:
            value = f"{known[0]:g}" if len(known) else "no number"
            report.add("column_constant", file=table.path, column=name, value=value, action="kept; it says nothing")
