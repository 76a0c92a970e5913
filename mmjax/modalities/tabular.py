"""The table: categorical columns as one-hot groups, numbers min-max scaled or cut into quantile bins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from mmjax.config_rules import below_one, positive
from mmjax.data.arrays import CHUNK, Allocate, in_memory
from mmjax.data.data_report import DataReport
from mmjax.errors import DataError
from mmjax.modalities.base import Encoder, Modality, Sizes, TableContext, Target, Tower, id_dtype
from mmjax.modalities.tabular_columns import TabularColumns, TabularReader
from mmjax.models.mlp import MLP
from mmjax.ops.onehot import onehot_product, onehot_vector
from mmjax.registry import register_modality
from mmjax.schema import Schema, SchemaKey


@register_modality("tabular")
class Tabular(Modality):
    """All categorical and continuous columns as one modality, which every row has."""

    in_paper = True
    schema_keys = (SchemaKey("categorical", listed=True), SchemaKey("continuous", listed=True))
    nominal_sizes: ClassVar[dict[str, int]] = {"onehot": 378, "groups": 15, "numbers": 4}  # PetFinder's whole table

    @dataclass(frozen=True)
    class DataSettings:
        """Joins `config.data`."""

        discretize: bool = False  # paper: row #5
        bins: int = positive(10)  # our reading: quantile bins

    @dataclass(frozen=True)
    class ModelSettings:
        """`config.model.tabular`: dense layers with ReLU and dropout."""

        hidden: tuple[int, ...] = (256,)  # paper: 256 -> 128 (the last is `model.width`)
        dropout: float = below_one(0.2)  # paper

    @classmethod
    def all_of(cls, schema: Schema, data: Any) -> list[Modality]:
        """One, if the schema names any column."""
        return [cls(cls.kind, "", schema, data)] if schema["categorical"] + schema["continuous"] else []

    @property
    def reads(self) -> tuple[str, ...]:
        """All its columns."""
        return self.schema["categorical"] + self.schema["continuous"]

    def lacking(self, header: Sequence[str], source: TableContext) -> str:
        """Never as a whole: the schema checks that every column is there."""
        del header, source
        return ""

    def reader(self, source: TableContext) -> TabularReader:
        """Reads its columns."""
        return TabularReader(self.schema, source)

    def fit(self, columns: TabularColumns, rows: NDArray[np.integer]) -> "TabularEncoder":
        """Learns categories, medians, ranges and bin edges."""
        return TabularEncoder.fit(columns, rows, discretize=self.data.discretize, bins=self.data.bins)

    def report_unseen(self, fitted: Sequence["TabularEncoder"], columns: TabularColumns, report: DataReport) -> None:
        """Tells of every category that none of the folds was trained on; a row of it has none of its column's."""
        for c, seen in enumerate(zip(*(encoder.values for encoder in fitted), strict=True)):
            known, values = set().union(*seen), columns.categories[c]
            found = np.unique(columns.code_NxC[:, c], return_index=True, return_counts=True)
            for code, row, count in zip(*found, strict=True):
                if values[code] not in known:
                    place = {"file": columns.path, "row": row, "column": columns.names[c], "value": values[code]}
                    action = f"no category in its {count} row(s): no training row has it"
                    report.add("category_unseen", **place, action=action)

    @classmethod
    def load_encoder(cls, values: dict[str, Any]) -> "TabularEncoder":
        """Inverse of `TabularEncoder.to_dict`."""
        return TabularEncoder.from_dict(values)

    @staticmethod
    def arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
        """`id`: column of the one-hot block of each group, -1 for a value unseen in training; `number` in [0, 1]."""
        return {"id": ((sizes["groups"],), np.dtype(id_dtype(sizes["onehot"]))), "number": ((sizes["numbers"],), np.float32)}

    @staticmethod
    def constants(sizes: Sizes, own: Sizes) -> dict[str, np.ndarray]:
        """`column_weight`: which of the D padded columns are the fold's own."""
        width, own_width = (s["numbers"] + s["onehot"] for s in (sizes, own))
        return {"column_weight": (np.arange(width) < own_width).astype(np.float32)}

    @staticmethod
    def tower(sizes: Sizes, model: Any, *, dtype: Any, axis_name: str | None) -> Tower:
        """An MLP (paper, section 4.1, #1)."""
        module = MLP((*model.tabular.hidden, model.width), model.tabular.dropout, dtype, axis_name, parent=None)
        size = sizes["onehot"]

        def read(inputs: Mapping[str, Any], dtype: Any) -> tuple[Any, dict[str, Any]]:
            parts = inputs["number"], inputs["id"], size
            return onehot_vector(*parts, dtype), {"product": onehot_product(*parts)}

        return Tower(module, read)

    @staticmethod
    def target(sizes: Sizes, model: Any) -> Target:
        """The input vector; a column that only pads does not count."""
        del model
        size = sizes["onehot"]
        return Target(
            size=sizes["numbers"] + size,
            flatten=lambda inputs, _, dtype: onehot_vector(inputs["number"], inputs["id"], size, dtype),
            weight=lambda inputs, present_Bx1: present_Bx1 * inputs["column_weight"][None],
        )


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
class TabularEncoder(Encoder):
    """TableContext: SPEC "Input layer". Groups are the categorical columns, then the discretised ones.

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
        cls, columns: TabularColumns, rows: NDArray[np.integer], *, discretize: bool = False, bins: int = 10
    ) -> "TabularEncoder":
        """Learns categories, medians, ranges and bin edges from `rows` alone.

        Args:
          columns: the whole table; rows outside `rows` are not read.
          rows: indices of the training rows, at least one.
          discretize: paper row #5; quantile bins instead of min-max numbers.
          bins: most bins a column is cut into; equal edges are merged.

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
            values.append(tuple(sorted(seen)))
            missing.append(seen.get("", 0))
        numbers = [_fit_number(name, columns.number_NxS[rows, s], bins) for s, name in enumerate(columns.number_names)]
        return cls(tuple(values), tuple(numbers), discretize, columns.names, tuple(missing))

    @property
    def sizes(self) -> dict[str, int]:
        """onehot: D_c one-hot columns; groups: C one-hot groups; numbers: S continuous inputs."""
        return {"onehot": self.onehot, "groups": self.groups, "numbers": self.numbers}

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
        self, columns: TabularColumns | None, rows: int, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """Encodes every row of a table, which may be another one with other category lists.

        Returns:
          id: `id_dtype` N x C, column of the one-hot block, -1 for a category not seen in training.
          number: float32 N x S in [0, 1].

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
            offset = sum(map(len, self.values))
            for s, number in enumerate(self.numbers_of):
                filled_n = _filled(columns.number_NxS[part, s], number.median)
                if self.discretize:
                    id_NxC[part, len(lookups) + s] = offset + np.searchsorted(number.edges, filled_n, side="right")
                    offset += len(number.edges) + 1
                else:
                    number_NxS[part, s] = _scaled(filled_n, number)
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
                lines.append(
                    f"{number.name}: {number.missing} training rows have no number; the median {number.median:g} stands in."
                )
            if number.low == number.high:
                lines.append(f"{number.name}: has one value in the training rows, so it tells nothing.")
        return lines

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "TabularEncoder":
        """Inverse of `to_dict`."""
        numbers = tuple(NumberColumn(**{**n, "edges": tuple(map(float, n["edges"]))}) for n in d["numbers_of"])
        values = tuple(tuple(map(str, v)) for v in d["values"])
        return cls(values, numbers, bool(d["discretize"]), tuple(d["names"]), tuple(d["missing"]))


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
