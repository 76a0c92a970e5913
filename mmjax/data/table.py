"""A table as integer columns: read once in chunks, tokenised once, shared by all folds (ADR 3)."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from mmjax.data.csv_rows import open_rows
from mmjax.data.growing import GrowingArray
from mmjax.data.report import DataReport
from mmjax.errors import DataError
from mmjax.schema import Schema

_CHUNK = 20_000
_LARGE = 256 << 20  # bytes of CSV from which word numbers go to disk
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none"))
_LONGEST_WORD = 64


@dataclass
class Table:
    """N rows of integer columns.

    Attributes:
      path: file it was read from.
      ids: N strings.
      categorical: N x C numbers of values; column c's values are `categories[c]`, '' being the missing one.
      categories: values of each categorical column, in order of appearance.
      continuous: N x S, nan where missing.
      words: N x T numbers of words, 0 padding; a memory map where the file is large.
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
    path: str | Path,
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
    """Reads a CSV file. No row is dropped or moved, whatever is in it.

    Args:
      path: the file.
      schema: which column is what.
      text_length: T, tokens kept of a text.
      report: told of every problem.
      classes: known classes (predicting, evaluating): another label becomes missing. Empty: the schema's, or all found.
      require_label: a label column must be there.
      cache_dir: where word numbers of a large file go.
      max_rows: first rows only; 0: all.
      group: column of groups; '': none.

    Raises:
      DataError: no file, no rows, no labels.
      SchemaError: the header lacks a column of the schema.
    """
    path = Path(path)
    header, rows = open_rows(path, report)
    schema.check(header, str(path), optional=() if require_label or not schema.label else (schema.label,))
    if group and group not in header:
        raise DataError(
            f"{path}: has no column {group!r} to group folds by (config.cv.group); columns are {', '.join(header)}."
        )
    reader = _Reader(path, schema, header, text_length, report, group, cache_dir if path.stat().st_size > _LARGE else None)
    left = max_rows or None
    while chunk := list(islice(rows, _CHUNK if left is None else min(_CHUNK, left))):
        reader.take(chunk)
        left = None if left is None else left - len(chunk)
        if left == 0:
            break
    return reader.table(tuple(classes) or schema.classes, fixed=bool(classes), require_label=require_label)


@dataclass
class _Reader:
    path: Path
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
        self.at = {name: i for i, name in enumerate(self.header)}
        self.values: list[dict[str, int]] = [{} for _ in self.schema.categorical]
        self.codes = GrowingArray(len(self.values), np.int32)
        self.numbers = GrowingArray(len(self.schema.continuous), np.float64)
        self.words: dict[str, int] = {"": 0}
        self.tokens = GrowingArray(self.text_length if self.schema.text else 0, np.int32, self.spill)
        self.labels: list[str] = []
        self.groups: dict[str, int] = {}
        self.group_codes: list[int] = []

    def take(self, chunk: list[list[str]]) -> None:
        """Adds rows."""
        columns = list(zip(*chunk, strict=True))
        schema, first = self.schema, self.rows
        self.rows += len(chunk)
        self.ids += [v.strip() for v in columns[self.at[schema.id]]] if schema.id else [str(i) for i in range(first, self.rows)]
        codes = [_code(seen, columns[self.at[c]]) for c, seen in zip(schema.categorical, self.values, strict=True)]
        self.codes.extend(np.array(codes, np.int32).reshape(len(codes), len(chunk)).T)
        numbers = [self._numbers(c, columns[self.at[c]], first) for c in schema.continuous]
        self.numbers.extend(np.array(numbers, np.float64).reshape(len(numbers), len(chunk)).T)
        self.tokens.extend(self._tokens(columns[self.at[schema.text]]) if schema.text else np.zeros((len(chunk), 0), np.int32))
        if schema.label and schema.label in self.at:
            self.labels += [v.strip() for v in columns[self.at[schema.label]]]
        if self.group:
            self.group_codes += _code(self.groups, columns[self.at[self.group]])
        self.images += self._images(columns, len(chunk))

    def _numbers(self, name: str, column: Sequence[str], first: int) -> list[float]:
        out = []
        for i, text in enumerate(column):
            try:
                number = float(text)
            except ValueError:
                number = math.nan
                if text.strip().lower() not in _MISSING:
                    self.report.add(
                        "number_unreadable", file=str(self.path), row=first + i, column=name, value=text, action="missing"
                    )
            else:
                if not math.isfinite(number):
                    if math.isinf(number):
                        self.report.add(
                            "number_infinite", file=str(self.path), row=first + i, column=name, value=text, action="missing"
                        )
                    number = math.nan
            out.append(number)
        return out

    def _tokens(self, column: Sequence[str]) -> np.ndarray:
        out = np.zeros((len(column), self.text_length), np.int32)
        number = self.words.setdefault
        for i, text in enumerate(column):
            # Enough characters for T words of ordinary length: a 10 MB cell costs what a page does.
            found = islice(_WORD.finditer(text[: self.text_length * _LONGEST_WORD].lower()), self.text_length)
            ids = [number(m[0][:_LONGEST_WORD], len(self.words)) for m in found]
            out[i, : len(ids)] = ids
        return out

    def _images(self, columns: Sequence[Sequence[str]], count: int) -> list[str]:
        if self.schema.image:
            return [v.strip() for v in columns[self.at[self.schema.image]]]
        if not self.schema.image_pattern:
            return [""] * count
        names = self.schema.pattern_columns
        parts = [columns[self.at[n]] for n in names]
        pieces = re.split(r"\{[^{}]*\}", self.schema.image_pattern)
        return ["".join(p + v.strip() for p, v in zip(pieces, (*row, ""), strict=True)) for row in zip(*parts, strict=True)]

    def table(self, classes: tuple[str, ...], *, fixed: bool, require_label: bool) -> Table:
        """The finished table."""
        if not self.rows:
            raise DataError(f"{self.path}: has a header but no rows.")
        self._check_ids()
        label, classes = self._label(classes, fixed=fixed, require_label=require_label)
        return Table(
            path=str(self.path),
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

    def _check_ids(self) -> None:
        seen: dict[str, int] = {}
        for row, name in enumerate(self.ids):
            if seen.setdefault(name, row) != row:
                action = f"kept; the same id is in row {seen[name] + 1}"
                self.report.add("id_twice", file=str(self.path), row=row, column=self.schema.id, value=name, action=action)

    def _label(
        self, classes: tuple[str, ...], *, fixed: bool, require_label: bool
    ) -> tuple[np.ndarray | None, tuple[str, ...]]:
        if not self.labels:
            return None, classes
        found = dict.fromkeys(v for v in self.labels if v.lower() not in _MISSING)
        classes = classes or tuple(sorted(found, key=_label_key(found)))
        if require_label and not fixed and len(found) < 2:
            raise DataError(f"{self.path}: the label {self.schema.label!r} has {len(found)} class(es); a classifier needs two.")
        index = {name: i for i, name in enumerate(classes)}
        label = np.array([index.get(v, -1) for v in self.labels], np.int32)
        for row in np.flatnonzero(label < 0):
            value = self.labels[row]
            kind = "label_missing" if value.lower() in _MISSING else "label_unknown"
            action = "row is left out of folds and scores"
            self.report.add(kind, file=str(self.path), row=int(row), column=self.schema.label, value=value, action=action)
        return label, classes


def _code(seen: dict[str, int], column: Sequence[str]) -> list[int]:
    number = seen.setdefault
    return [number(_category(v), len(seen)) for v in column]


def _category(text: str) -> str:
    """A value's name: trimmed, and a whole number written as a float ('2.0') is that number, as spreadsheets export it."""
    text = text.strip()
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text


def _label_key(found: dict[str, None]) -> Callable[[str], tuple]:
    try:
        numbers = {name: float(name) for name in found}
    except ValueError:
        return lambda name: (name,)
    return lambda name: (numbers[name], name)
