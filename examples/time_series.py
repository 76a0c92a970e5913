"""A modality of one's own in one file: a column of numbers over time, such as "0.1 0.4 -0.2 ...", as long in every row.

Import this file before training. Schema: series = "ecg" (or a list of columns). Config: model.modalities = ("tabular",
"series"), data.series_length = 64, model.series.maps = 16.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import mmjax
from mmjax.config_rules import positive
from mmjax.data.hashing import hash_rows
from mmjax.modalities.base import Columns, Encoder, Modality, Reader, Sizes, TableContext, Target, Tower
from mmjax.schema import SchemaKey


@mmjax.register_modality("series")
class Series(Modality):
    """One column; a row whose cell is not `series_length` finite numbers lacks it, and is reported."""

    schema_keys = (SchemaKey("series"),)

    @dataclass(frozen=True)
    class DataSettings:
        series_length: int = positive(64)

    @dataclass(frozen=True)
    class ModelSettings:
        maps: int = positive(16)

    def reader(self, source: TableContext) -> "SeriesReader":
        return SeriesReader(self.column, self.data.series_length, source)

    def fit(self, columns: "SeriesColumns", rows: np.ndarray) -> "SeriesEncoder":
        known_nxL = columns.value_NxL[rows][columns.present[rows]]
        if not known_nxL.size:
            return SeriesEncoder(columns.value_NxL.shape[1], 0.0, 1.0)
        return SeriesEncoder(known_nxL.shape[1], float(known_nxL.mean()), float(known_nxL.std()) or 1.0)

    @classmethod
    def load_encoder(cls, values: dict[str, Any]) -> "SeriesEncoder":
        return SeriesEncoder(**values)

    @staticmethod
    def arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
        return {"value": ((sizes["length"],), np.float32)}

    @staticmethod
    def tower(sizes: Sizes, model: Any, *, dtype: Any, axis_name: str | None) -> Tower:
        return Tower(SeriesTower(model.series.maps, model.width, dtype, parent=None), lambda inputs, _: (inputs["value"], {}))

    @staticmethod
    def target(sizes: Sizes, model: Any) -> Target:
        return Target(sizes["length"], lambda inputs, _, dtype: inputs["value"].astype(dtype))


class SeriesTower(nn.Module):
    """A 1-D convolution, its maximum and mean over time, one dense layer."""

    maps: int
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, value_BxL: Any, *, train: bool) -> Any:
        x_BxLxF = nn.relu(nn.Conv(self.maps, (5,), dtype=self.dtype)(value_BxL.astype(self.dtype)[..., None]))
        h_Bx2F = jnp.concatenate([x_BxLxF.max(axis=1), x_BxLxF.mean(axis=1)], axis=-1)
        return nn.relu(nn.Dense(self.width, dtype=self.dtype)(h_Bx2F))


@dataclass
class SeriesReader(Reader):
    column: str
    length: int
    source: TableContext
    values: list[np.ndarray] = field(default_factory=list)

    def take(self, columns: Mapping[str, Sequence[str]], first: int) -> None:
        self.values += [self.parse(cell, first + i) for i, cell in enumerate(columns[self.column])]

    def parse(self, cell: str, row: int) -> np.ndarray:
        try:
            value_L = np.array(cell.split(), np.float32)
        except ValueError:
            value_L = np.zeros(0, np.float32)
        if len(value_L) == self.length and np.isfinite(value_L).all():
            return value_L
        if cell.strip():
            place = {"file": self.source.path, "row": row, "column": self.column, "value": cell}
            self.source.report.add("series_unreadable", **place, action=f"absent: not {self.length} finite numbers")
        return np.full(self.length, np.nan, np.float32)

    def finish(self, ids: Sequence[str]) -> "SeriesColumns":
        return SeriesColumns(self.column, np.stack(self.values))


@dataclass(frozen=True)
class SeriesColumns(Columns):
    column: str
    value_NxL: np.ndarray

    @property
    def present(self) -> np.ndarray:
        return ~np.isnan(self.value_NxL[:, 0])

    def fingerprints(self) -> Iterator[tuple[str, np.ndarray]]:
        yield self.column, hash_rows(self.value_NxL)


@dataclass(frozen=True)
class SeriesEncoder(Encoder):
    length: int
    mean: float
    std: float

    @property
    def sizes(self) -> dict[str, int]:
        return {"length": self.length}

    def transform(self, columns: SeriesColumns | None, rows: int, allocate: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
        out_NxL = allocate((rows, self.length), np.float32)
        out_NxL[:] = 0 if columns is None else np.nan_to_num((columns.value_NxL - self.mean) / self.std)
        return {"value": out_NxL}, np.zeros(rows, bool) if columns is None else columns.present
