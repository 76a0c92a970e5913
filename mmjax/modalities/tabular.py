"""The tabular encoder: one-hot groups and min-max numbers, or quantile bins, fitted on the training rows of one fold."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from mmjax.batch import id_dtype
from mmjax.data.arrays import CHUNK, Allocate, in_memory
from mmjax.datasets.table import Table
from mmjax.errors import DataError


@dataclass(frozen=True)
class NumberColumn:
    """What was learnt of one continuous column.

    Attributes:
      name: column name, for messages.
      median: stands in for a missing value.
      low, high: range of the training rows.
      edges: lower edges of the bins after the first (discretised mode).
      missing: training rows without a value.
    """

    name: str
    median: float
    low: float
    high: float
    edges: tuple[float, ...]
    missing: int


@dataclass(frozen=True)
class TabularEncoder:
    """Source: SPEC "Input layer". Groups are the categorical columns, then the discretised ones.

    Attributes:
      values: the categories of each categorical column seen in training, sorted; '' is the missing value's own.
      numbers_of: one entry a continuous column.
      discretize: numbers become one-hot groups of quantile bins, and none is left as a number.
      names: categorical column names, for messages.
      missing: training rows with a missing value, for each categorical column.
    """

    values: tuple[tuple[str, ...], ...]
    numbers_of: tuple[NumberColumn, ...]
    discretize: bool = False
    names: tuple[str, ...] = ()
    missing: tuple[int, ...] = field(default=())

    @classmethod
    def fit(
        cls,
        table: Table,
        rows: NDArray[np.integer],
        *,
        discretize: bool = False,
        bins: int = 10,
        categorical_names: Sequence[str] = (),
        continuous_names: Sequence[str] = (),
    ) -> "TabularEncoder":
        """Learns categories, medians, ranges and bin edges from `rows` alone.

        Args:
          table: the whole table; rows outside `rows` are not read.
          rows: indices of the training rows, at least one.
          discretize: paper row #5; quantile bins instead of min-max numbers.
          bins: most bins a column is cut into; equal edges are merged.
          categorical_names: column names for `notes`.
          continuous_names: column names for `notes`.

        Raises:
          DataError: there are no columns or no training rows.
        """
        if len(rows) == 0:
            raise DataError(f"{table.path}: a fold has no training rows; use fewer folds or more rows.")
        if table.categorical.shape[1] + table.continuous.shape[1] == 0:
            raise DataError(f"{table.path}: the schema names no categorical or continuous column; name one or drop 'tabular'.")
        values, missing = [], []
        for c, categories in enumerate(table.categories):
            # Sorted by text: the order of table.categories may depend on rows this fold must not see.
            counts = np.bincount(table.categorical[rows, c], minlength=len(categories))
            seen = {categories[i]: int(counts[i]) for i in np.flatnonzero(counts)}
            values.append(tuple(sorted(seen)))
            missing.append(seen.get("", 0))
        names = _names(categorical_names, len(values), "categorical")
        number_names = _names(continuous_names, table.continuous.shape[1], "continuous")
        numbers = [_fit_number(name, table.continuous[rows, s], bins) for s, name in enumerate(number_names)]
        return cls(tuple(values), tuple(numbers), discretize, names, tuple(missing))

    @property
    def onehot(self) -> int:
        """D_c, the number of one-hot columns."""
        bins = sum(len(n.edges) + 1 for n in self.numbers_of) if self.discretize else 0
        return sum(map(len, self.values)) + bins

    @property
    def groups(self) -> int:
        """C, the number of one-hot groups."""
        return len(self.values) + (len(self.numbers_of) if self.discretize else 0)

    @property
    def numbers(self) -> int:
        """S, the number of continuous inputs."""
        return 0 if self.discretize else len(self.numbers_of)

    def transform(
        self, table: Table, allocate: Allocate = in_memory
    ) -> tuple[Int[np.ndarray, "N C"], Float[np.ndarray, "N S"]]:
        """Encodes every row of `table`, which may be another table with other category lists, into what `allocate` makes.

        Returns:
          tabular_id: `id_dtype` N x C, column of the one-hot block, -1 for a category not seen in training.
          tabular_number: float32 N x S in [0, 1].

        Raises:
          DataError: the table has another number of columns.
        """
        if (len(table.categories), table.continuous.shape[1]) != (len(self.values), len(self.numbers_of)):
            raise DataError(
                f"{table.path}: has {len(table.categories)} categorical and {table.continuous.shape[1]} continuous columns, "
                f"but training had {len(self.values)} and {len(self.numbers_of)}; use the training schema."
            )
        rows = len(table.continuous)
        id_NxC = allocate((rows, self.groups), id_dtype(self.onehot))
        number_NxS = allocate((rows, self.numbers), np.float32)
        lookups = self._lookups(table, id_NxC.dtype)
        for start in range(0, rows, CHUNK):
            part = slice(start, start + CHUNK)
            for c, lookup in enumerate(lookups):
                id_NxC[part, c] = lookup[table.categorical[part, c]]
            offset = sum(map(len, self.values))
            for s, number in enumerate(self.numbers_of):
                filled_n = _filled(table.continuous[part, s], number.median)
                if self.discretize:
                    id_NxC[part, len(lookups) + s] = offset + np.searchsorted(number.edges, filled_n, side="right")
                    offset += len(number.edges) + 1
                else:
                    number_NxS[part, s] = _scaled(filled_n, number)
        return id_NxC, number_NxS

    def _lookups(self, table: Table, dtype: np.dtype) -> list[Int[np.ndarray, " v"]]:
        """For each categorical column of `table`: its values' columns of the one-hot block."""
        lookups, offset = [], 0
        for values, categories in zip(self.values, table.categories, strict=True):
            column = {value: offset + i for i, value in enumerate(values)}
            lookups.append(np.array([column.get(value, -1) for value in categories] or [-1], dtype))
            offset += len(values)
        return lookups

    def notes(self) -> list[str]:
        """One sentence for each column with missing values in the training rows, and for each constant one."""
        lines = [
            f"{name}: {count} training rows have no value; they form a category of their own."
            for name, count in zip(self.names, self.missing, strict=True)
            if count
        ]
        for number in self.numbers_of:
            if number.missing:
                lines.append(
                    f"{number.name}: {number.missing} training rows have no number; the median {number.median:g} stands in."
                )
            if number.low == number.high:
                lines.append(f"{number.name}: has one value in the training rows, so it tells nothing.")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict(to_dict())` encodes alike."""
        return {
            "values": [list(v) for v in self.values],
            "numbers": [{**vars(n), "edges": list(n.edges)} for n in self.numbers_of],
            "discretize": self.discretize,
            "names": list(self.names),
            "missing": list(self.missing),
        }

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "TabularEncoder":
        """Inverse of `to_dict`."""
        numbers = tuple(NumberColumn(**{**n, "edges": tuple(map(float, n["edges"]))}) for n in d["numbers"])
        values = tuple(tuple(map(str, v)) for v in d["values"])
        return cls(values, numbers, bool(d["discretize"]), tuple(d["names"]), tuple(d["missing"]))


def _names(given: Sequence[str], count: int, kind: str) -> tuple[str, ...]:
    return tuple(given) if given else tuple(f"{kind} column {i + 1}" for i in range(count))


def _fit_number(name: str, value_N: Float[np.ndarray, " N"], bins: int) -> NumberColumn:
    known_N = np.asarray(value_N, np.float64)
    known_N = known_N[np.isfinite(known_N)]
    missing = len(value_N) - len(known_N)
    if len(known_N) == 0:
        return NumberColumn(name, 0.0, 0.0, 0.0, (), missing)
    # Edges are values of the column, so no bin is empty in training; halves keep the median of huge values finite.
    edges = np.unique(np.quantile(known_N, np.arange(1, bins) / bins, method="inverted_cdf"))
    edges = edges[edges > known_N.min()]
    median = float(np.clip(2 * np.median(known_N / 2), known_N.min(), known_N.max()))
    return NumberColumn(name, median, float(known_N.min()), float(known_N.max()), tuple(edges.tolist()), missing)


def _filled(value_N: Float[np.ndarray, " N"], median: float) -> Float[np.ndarray, " N"]:
    value_N = np.asarray(value_N, np.float64)
    return np.where(np.isfinite(value_N), value_N, median)


def _scaled(value_N: Float[np.ndarray, " N"], number: NumberColumn) -> Float[np.ndarray, " N"]:
    """Min-max to [0, 1], clipped outside the training range; a constant column is 0."""
    half_span = number.high / 2 - number.low / 2  # halves: the span of huge values would overflow
    if half_span <= 0:
        return np.zeros_like(value_N)
    clipped_N = np.clip(value_N, number.low, number.high)
    return np.clip((clipped_N / 2 - number.low / 2) / half_span, 0, 1)
