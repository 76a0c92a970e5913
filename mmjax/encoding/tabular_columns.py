"""A table's categorical and continuous columns, read from cells a chunk at a time."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from mmjax.data.arrays import GrowingArray
from mmjax.data.cells import MISSING, is_missing, number_categories, report_spellings
from mmjax.data.data_report import DataReport
from mmjax.data.hashing import hash_numbers, hash_texts
from mmjax.encoding.base import Columns, Reader, TableContext
from mmjax.encoding.number_format import NumberFormat, find_format, is_number
from mmjax.errors import SchemaError
from mmjax.schema import Schema

_MANY = 1000  # values of a categorical column from which it is reported
_SAMPLE = 1000  # cells in which a number's format is looked for
_FAR = 10  # widths of the middle half of a column's values
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class TabularColumns(Columns):
    """All rows.

    Attributes:
      path: the table's, for messages.
      names: categorical columns; number_names: continuous ones.
      code_NxC: numbers of values; column c's values are `categories[c]`, '' being the missing one.
      categories: values of each categorical column, in order of appearance.
      number_NxS: nan where missing.
    """

    path: str
    names: tuple[str, ...]
    number_names: tuple[str, ...]
    code_NxC: Int[np.ndarray, "N C"]
    categories: tuple[tuple[str, ...], ...]
    number_NxS: Float[np.ndarray, "N S"]

    @property
    def present(self) -> Bool[np.ndarray, " N"]:
        """Every row."""
        return np.ones(len(self.code_NxC), bool)

    def fingerprints(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """Values count, not their numbers, which shift with every value that is new."""
        for name, values, code_N in zip(self.names, self.categories, self.code_NxC.T, strict=True):
            yield name, hash_texts(values)[code_N]
        for name, number_N in zip(self.number_names, self.number_NxS.T, strict=True):
            yield name, hash_numbers(number_N)


class TabularReader(Reader):
    """Columns of strings as integer and number columns; every value that cannot be read is reported."""

    def __init__(self, schema: Schema, source: TableContext):
        self._names, self._number_names, self._source = schema["categorical"], schema["continuous"], source
        self._formats = {name: NumberFormat.of(example, name) for name, example in schema.number_format.items()}
        if stray := [name for name in self._formats if name not in self._number_names]:
            raise SchemaError(
                f"the schema gives a number_format to {stray[0]!r}, which it does not name as continuous; drop one."
            )
        self._values: list[dict[str, int]] = [{} for _ in self._names]
        self._codes = GrowingArray(len(self._names), np.int32, source.spill)
        self._numbers = GrowingArray(len(self._number_names), np.float64, source.spill)

    def take(self, columns: Mapping[str, Sequence[str]], first: int) -> None:
        """Adds a chunk."""
        codes = [
            number_categories(columns[c], seen, self._source.reading) for c, seen in zip(self._names, self._values, strict=True)
        ]
        place = {"file": self._source.path, "first": first, "report": self._source.report}
        numbers = [read_numbers(self._plain(columns[c], c, first), name=c, **place) for c in self._number_names]
        rows = len(next(iter(columns.values())))
        self._codes.extend(np.array(codes, np.int32).reshape(len(codes), rows).T)
        self._numbers.extend(np.array(numbers, np.float64).reshape(len(numbers), rows).T)

    def _plain(self, column: Sequence[str], name: str, first: int) -> Sequence[str]:
        """Numbers by the schema's format; a format that it does not know is told of."""
        if name in self._formats:
            return list(map(self._formats[name].plain, column))
        sample = [v for v in column[:_SAMPLE] if not is_missing(v)] if first == 0 else []
        unread = [v for v in sample if not is_number(v)]
        if 2 * len(unread) > len(sample) and (example := find_format(sample)):
            action = f'no number; number_format = {{"{name}" = "{example}"}} in the schema reads such cells'
            self._source.report.add("number_format", file=self._source.path, column=name, value=unread[0], action=action)
        return column

    def finish(self, ids: Sequence[str]) -> TabularColumns:
        """All rows; tells of columns that say nothing and of those that are nearly a name a row."""
        del ids
        categories = tuple(tuple(seen) for seen in self._values)
        path = self._source.path
        columns = TabularColumns(
            path, self._names, self._number_names, self._codes.finish(), categories, self._numbers.finish()
        )
        if not self._source.predicting:  # a table to predict may well be one row
            _check_columns(columns, self._source.report)
        return columns


def read_numbers(column: Sequence[str], *, file: str, name: str, first: int, report: DataReport) -> list[float]:
    """Numbers, nan where there is none.

    Args:
      column: cells.
      file: the table's path.
      name: of the column.
      first: row number of the first cell.
      report: told of words (`number_unreadable`) and of what float32 cannot hold (`number_infinite`).
    """
    try:  # nearly every column is good throughout, and is then read in a fifth of the time
        out = list(map(float, column))
        if all(abs(number) <= _LARGEST for number in out) and not any("_" in text for text in column):
            return out
    except ValueError:
        pass
    out = []
    for i, text in enumerate(column):
        try:
            number = math.nan if "_" in text else float(text)  # float takes 1_000, which no table means
        except ValueError:
            number = math.nan
        if not abs(number) <= _LARGEST:  # nan compares false
            if not math.isnan(number):
                report.add("number_infinite", file=file, row=first + i, column=name, value=text, action="missing")
            elif text.strip().lower() not in MISSING:
                report.add("number_unreadable", file=file, row=first + i, column=name, value=text, action="missing")
            number = math.nan
        out.append(number)
    return out


def _check_columns(columns: TabularColumns, report: DataReport) -> None:
    for name, values in zip(columns.names, columns.categories, strict=True):
        report_spellings("category_spelling", values, file=columns.path, column=name, report=report)
        if len(values) == 1:
            report.add("column_constant", file=columns.path, column=name, value=values[0], action="kept; it says nothing")
        elif len(values) > _MANY:
            value, action = f"{len(values)} values", "kept; one column for each value of the training rows"
            report.add("column_many_values", file=columns.path, column=name, value=value, action=action)
    for name, number_N in zip(columns.number_names, columns.number_NxS.T, strict=True):
        _report_far(columns.path, name, number_N, report)
        known = np.unique(number_N[~np.isnan(number_N)])
        if len(known) <= 1:
            value = f"{known[0]:g}" if len(known) else "no number"
            report.add("column_constant", file=columns.path, column=name, value=value, action="kept; it says nothing")


def _report_far(path: str, name: str, number_N: Float[np.ndarray, " N"], report: DataReport) -> None:
    """Tells of values so far out that a column's range says nothing of the others: typing errors, or words for no value."""
    known_N = number_N[~np.isnan(number_N)]
    low, high = np.quantile(known_N, [0.25, 0.75]) if len(known_N) else (0.0, 0.0)
    far = np.flatnonzero((number_N < low - _FAR * (high - low)) | (number_N > high + _FAR * (high - low)))
    if low == high or not len(far):
        return
    value = f"{number_N[far[0]]:.15g}"
    action = (
        f'{len(far)} row(s) as far from the middle half, {low:g} to {high:g}; kept: missing = ["{value}"] would leave them out'
    )
    report.add("number_far", file=path, row=int(far[0]), column=name, value=value, action=action, refuse=False)
