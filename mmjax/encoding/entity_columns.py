"""A column of many values, such as a seller or a brand, as numbers, and how many rows of the table share each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt64

from mmjax.data.arrays import GrowingArray
from mmjax.data.cells import MissingWords, number_categories, report_spellings
from mmjax.data.hashing import hash_texts
from mmjax.encoding.base import Columns, Reader, TableContext


@dataclass(frozen=True)
class EntityColumns(Columns):
    """All rows.

    Attributes:
      name: of the column.
      code_N: number of each row's value, -1 without one.
      values: by number.
      count_N: rows of the whole table with the same value.
    """

    name: str
    code_N: Int[np.ndarray, " N"]
    values: tuple[str, ...]
    count_N: Int[np.ndarray, " N"]

    @property
    def present(self) -> Bool[np.ndarray, " N"]:
        """Rows with a value."""
        return self.code_N >= 0

    def fingerprints(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """Of the values."""
        yield self.name, hash_texts((*self.values, ""))[self.code_N]


class EntityReader(Reader):
    """Numbers values in the order in which they appear."""

    def __init__(self, column: str, source: TableContext):
        self._column, self._source, self._missing = column, source, MissingWords()
        self._values: dict[str, int] = {}
        self._codes = GrowingArray(1, np.int32, source.spill)

    def take(self, columns: Mapping[str, Sequence[str]], first: int) -> None:
        """Adds a chunk."""
        del first
        cells = columns[self._column] if self._source.reading == 1 else self._missing.emptied(columns[self._column])
        self._codes.extend(np.array(number_categories(cells, self._values, self._source.reading), np.int32)[:, None])

    def finish(self, ids: Sequence[str]) -> EntityColumns:
        """All rows, counted."""
        del ids
        place = {"file": self._source.path, "column": self._column, "report": self._source.report}
        self._missing.report(**place)
        if not self._source.predicting:
            report_spellings("name_spelling", self._values, **place)
        values, code_N = tuple(self._values), np.asarray(self._codes.finish())[:, 0]
        if "" in self._values:
            code_N = np.where(code_N == self._values[""], -1, code_N)
        counts = np.bincount(code_N[code_N >= 0], minlength=len(values))
        return EntityColumns(self._column, code_N, values, np.where(code_N >= 0, counts[code_N], 0))
