"""What a fold learns of a table: categories, ranges, bins and frequent values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from mmjax.data.arrays import CHUNK, Allocate, in_memory
from mmjax.data.data_report import DataReport
from mmjax.encoding.base import Encoder, id_dtype
from mmjax.encoding.quantiles import place_among, quantile_edges
from mmjax.encoding.tabular_columns import TabularColumns
from mmjax.errors import DataError

_MOST_EXACT = 64
_ROBUST_BINS = 32


@dataclass(frozen=True)
class NumberColumn:
    """What was learnt of one continuous column.

    Attributes:
      name: column name, for messages.
      median: stands in for a missing value.
      low, high: range of the training rows.
      edges: lower edges of the bins after the first (discretised), or all edges (piecewise linear).
      missing: training rows without a value.
      exact: values that have one-hot columns of their own, sorted.
    """

    name: str
    median: float
    low: float
    high: float
    edges: tuple[float, ...]
    missing: int
    exact: tuple[float, ...] = ()

    def groups(self, discretize: bool) -> int:
        """One-hot columns it has."""
        return len(self.edges) + 1 if discretize else len(self.exact)


@dataclass(frozen=True)
class TabularEncoder(Encoder):
    """SPEC "Input layer". Groups are the categorical columns, then one for each number with one-hot columns.

    Attributes:
      values: the categories of each categorical column seen in training, sorted; '' is the missing value's own.
      numbers_of: one entry a continuous column.
      discretize: numbers become one-hot groups of quantile bins, and none is left as a number.
      piecewise: a number is its place among its edges, -1 if missing: see mmjax/ops/piecewise.py.
      robust: a number is its place among its edges over their number, in [0, 1]: no far value moves the others.
      names: categorical column names, for messages.
      missing: training rows with a missing value, for each categorical column.
    """

    values: tuple[tuple[str, ...], ...]
    numbers_of: tuple[NumberColumn, ...]
    discretize: bool = False
    names: tuple[str, ...] = ()
    missing: tuple[int, ...] = field(default=())
    piecewise: bool = False
    robust: bool = False

    @classmethod
    def fit(
        cls,
        columns: TabularColumns,
        rows: NDArray[np.integer],
        *,
        discretize: bool = False,
        bins: int = 10,
        piecewise: bool = False,
        exact: int = 0,
        robust: bool = False,
        most: int | None = None,
    ) -> "TabularEncoder":
        """Learns categories, medians, ranges and bin edges from `rows` alone.

        Args:
          columns: the whole table; rows outside `rows` are not read.
          rows: indices of the training rows, at least one.
          discretize: paper row #5; quantile bins instead of min-max numbers.
          bins: most bins a column is cut into; equal edges are merged.
          piecewise: numbers by their place among quantiles (Gorishniy et al. 2022).
          exact: a number's value seen in so many training rows has a one-hot column of its own, beside; 0: none.
          robust: numbers by their place among quantiles, in [0, 1].
          most: categories of a column that are kept, the most frequent ones; None: all.

        Raises:
          DataError: there are no training rows.
        """
        if len(rows) == 0:
            raise DataError(f"{columns.path}: a fold has no training rows; use fewer folds or more rows.")
        values, missing = [], []
        for c, categories in enumerate(columns.categories):
            # Sorted by text: the order of the table's categories may depend on rows this fold must not see.
            counts = np.bincount(columns.code_NxC[rows, c], minlength=len(categories))
            seen = {categories[i]: int(counts[i]) for i in np.flatnonzero(counts)}
            values.append(tuple(sorted(sorted(seen, key=lambda value: (-seen[value], value))[:most])))
            missing.append(seen.get("", 0))
        options = {"bins": _ROBUST_BINS if robust else bins, "piecewise": piecewise or robust, "exact": exact}
        numbers = [_fit_number(n, columns.number_NxS[rows, s], **options) for s, n in enumerate(columns.number_names)]
        return cls(tuple(values), tuple(numbers), discretize, columns.names, tuple(missing), piecewise, robust)

    @property
    def sizes(self) -> dict[str, int]:
        """onehot: D_c one-hot columns; groups: C one-hot groups; numbers: S continuous inputs; bins: of piecewise ones."""
        bins = {"bins": max((len(n.edges) - 1 for n in self.numbers_of), default=0)} if self.piecewise else {}
        return {"onehot": self.onehot, "groups": self.groups, "numbers": self.numbers, **bins}

    @property
    def onehot(self) -> int:
        """D_c, the number of one-hot columns."""
        return sum(self.group_widths)

    @property
    def group_widths(self) -> tuple[int, ...]:
        """One-hot columns of each group."""
        widths = (n.groups(self.discretize) for n in self.numbers_of)
        return (*map(len, self.values), *(width for width in widths if width))

    @property
    def groups(self) -> int:
        """C, the number of one-hot groups."""
        return len(self.group_widths)

    @property
    def numbers(self) -> int:
        """S, the number of continuous inputs."""
        return 0 if self.discretize else len(self.numbers_of)

    def transform(
        self, columns: TabularColumns | None, rows: int, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """Encodes every row of a table, which may be another one with other category lists.

        Returns:
          id: `id_dtype` N x C, column of the one-hot block, -1 for a category not seen in training.
          number: float32 N x S in [0, 1]; piecewise: in [0, the column's bins], -1 for a missing one.

        Raises:
          DataError: the table has another number of columns.
        """
        assert columns is not None  # the schema checks that they are there
        if (len(columns.categories), columns.number_NxS.shape[1]) != (len(self.values), len(self.numbers_of)):
            raise DataError(
                f"{columns.path}: has {len(columns.categories)} categorical and {columns.number_NxS.shape[1]} continuous "
                f"columns, but training had {len(self.values)} and {len(self.numbers_of)}; use the training schema."
            )
        id_NxC = allocate((rows, self.groups), id_dtype(self.onehot))
        number_NxS = allocate((rows, self.numbers), np.float32)
        lookups = self._lookups(columns, id_NxC.dtype)
        for start in range(0, rows, CHUNK):
            part = slice(start, start + CHUNK)
            for c, lookup in enumerate(lookups):
                id_NxC[part, c] = lookup[columns.code_NxC[part, c]]
            offset, group = sum(map(len, self.values)), len(lookups)
            for s, number in enumerate(self.numbers_of):
                value_n = np.asarray(columns.number_NxS[part, s], np.float64)
                if size := number.groups(self.discretize):
                    id_NxC[part, group] = _bin(value_n, number, offset) if self.discretize else _known(value_n, number, offset)
                    offset, group = offset + size, group + 1
                if self.piecewise:
                    number_NxS[part, s] = place_among(number.edges, value_n)
                elif self.robust:
                    filled_n = _filled(value_n, number.median)
                    number_NxS[part, s] = place_among(number.edges, filled_n) / (len(number.edges) - 1)
                elif not self.discretize:
                    number_NxS[part, s] = _scaled(_filled(value_n, number.median), number)
        return {"id": id_NxC, "number": number_NxS}, columns.present

    def _lookups(self, columns: TabularColumns, dtype: np.dtype) -> list[Int[np.ndarray, " v"]]:
        """For each categorical column of a table: its values' columns of the one-hot block."""
        lookups, offset = [], 0
        for values, categories in zip(self.values, columns.categories, strict=True):
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
                instead = "a flag says so" if self.piecewise else f"the median {number.median:g} stands in"
                lines.append(f"{number.name}: {number.missing} training rows have no number; {instead}.")
            if number.low == number.high:
                lines.append(f"{number.name}: has one value in the training rows, so it tells nothing.")
        return lines

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "TabularEncoder":
        """Inverse of `to_dict`."""
        numbers = tuple(NumberColumn(**n | {k: tuple(map(float, n[k])) for k in ("edges", "exact")}) for n in d["numbers_of"])
        values = tuple(tuple(map(str, v)) for v in d["values"])
        return cls(
            values,
            numbers,
            bool(d["discretize"]),
            tuple(d["names"]),
            tuple(d["missing"]),
            bool(d["piecewise"]),
            bool(d.get("robust")),
        )


def report_drift(
    name: str, number_N: Float[np.ndarray, " N"], seen: Sequence[NumberColumn], path: str, report: DataReport
) -> None:
    """Tells how many numbers of a table to predict lie beyond what any fold was trained on, and of a lack that none knew.

    Args:
      name: of the column.
      number_N: nan where missing.
      seen: the column of each fold's encoder.
      path: the table's.
      report: told once a column.
    """
    low, high = min(n.low for n in seen), max(n.high for n in seen)
    outside = np.flatnonzero((number_N < low) | (number_N > high))
    place: dict[str, Any] = {"file": path, "column": name}
    if len(outside):
        found = f"{number_N[outside].min():g} to {number_N[outside].max():g}"
        action = f"in {len(outside)} of {len(number_N)} rows it is beyond {low:g} to {high:g}, the range of the training rows"
        report.add("number_outside", **place, row=int(outside[0]), value=found, action=action)
    lacking = np.flatnonzero(np.isnan(number_N))
    if len(lacking) and not any(n.missing for n in seen):
        action = f"missing in {len(lacking)} of {len(number_N)} rows, as in no training row"
        report.add("number_never_missing", **place, row=int(lacking[0]), action=action)


def _fit_number(name: str, value_N: Float[np.ndarray, " N"], *, bins: int, piecewise: bool, exact: int) -> NumberColumn:
    known_N = np.asarray(value_N, np.float64)
    known_N = known_N[np.isfinite(known_N)]
    missing = len(value_N) - len(known_N)
    if len(known_N) == 0:
        return NumberColumn(name, 0.0, 0.0, 0.0, tuple(quantile_edges(known_N, bins).tolist()) if piecewise else (), missing)
    # Edges are values of the column, so no bin is empty in training; halves keep the median of huge values finite.
    edges = np.unique(np.quantile(known_N, np.arange(1, bins) / bins, method="inverted_cdf"))
    edges = edges[edges > known_N.min()]
    if piecewise:
        edges = quantile_edges(known_N, bins)
    often = _frequent(known_N, exact) if exact else ()
    median = float(np.clip(2 * np.median(known_N / 2), known_N.min(), known_N.max()))
    return NumberColumn(name, median, float(known_N.min()), float(known_N.max()), tuple(edges.tolist()), missing, often)


def _frequent(known_N: Float[np.ndarray, " N"], least: int) -> tuple[float, ...]:
    """The values seen in at least so many rows, `_MOST_EXACT` of them at most."""
    values, counts = np.unique(known_N, return_counts=True)
    often = np.flatnonzero(counts >= least)
    often = often[np.argsort(-counts[often], kind="stable")[:_MOST_EXACT]]
    return tuple(np.sort(values[often]).tolist())


def _bin(value_n: Float[np.ndarray, " n"], number: NumberColumn, offset: int) -> Int[np.ndarray, " n"]:
    return offset + np.searchsorted(number.edges, _filled(value_n, number.median), side="right")


def _known(value_n: Float[np.ndarray, " n"], number: NumberColumn, offset: int) -> Int[np.ndarray, " n"]:
    """One-hot column of a value that has one, else -1."""
    exact = np.asarray(number.exact)
    at_n = np.minimum(np.searchsorted(exact, value_n), len(exact) - 1)
    return np.where(exact[at_n] == value_n, offset + at_n, -1)


def _filled(value_N: Float[np.ndarray, " N"], median: float) -> Float[np.ndarray, " N"]:
    return np.where(np.isfinite(value_N), value_N, median)


def _scaled(value_N: Float[np.ndarray, " N"], number: NumberColumn) -> Float[np.ndarray, " N"]:
    """Min-max to [0, 1], clipped outside the training range; a constant column is 0."""
    half_span = number.high / 2 - number.low / 2  # halves: the span of huge values would overflow
    if half_span <= 0:
        return np.zeros_like(value_N)
    clipped_N = np.clip(value_N, number.low, number.high)
    return np.clip((clipped_N / 2 - number.low / 2) / half_span, 0, 1)
