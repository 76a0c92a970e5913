"""A row's table and texts as a few numbers of which a mean says something: shares of categories, of bins, text statistics."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mmjax.encoding.quantiles import place_among, quantile_edges
from mmjax.encoding.whole_rows import WholeRows

_CATEGORIES, _BINS = 8, 4


@dataclass(frozen=True)
class RowDescription:
    """What of each column is described.

    Attributes:
      categories: the most frequent of the training rows, by column.
      slots: numbers of each column: as many as the whole table has categories, 8 at most, so that folds do not differ.
      edges: quantiles of each continuous column.
    """

    categories: tuple[tuple[str, ...], ...]
    slots: tuple[int, ...]
    edges: tuple[tuple[float, ...], ...]

    @classmethod
    def fit(cls, columns: WholeRows, rows: Int[np.ndarray, " n"]) -> "RowDescription":
        """Learns from `rows`, the training rows of a fold, alone."""
        table, categories = columns.table, []
        slots = tuple(min(_CATEGORIES, len(values)) for values in table.categories)
        for c, values in enumerate(table.categories):
            counts = np.bincount(table.code_NxC[rows, c], minlength=len(values))
            often = sorted(np.flatnonzero(counts), key=lambda v: (-counts[v], values[v]))
            categories.append(tuple(values[v] for v in often[: slots[c]]))
        edges = []
        for number_n in table.number_NxS[rows].T:
            edges.append(tuple(quantile_edges(number_n[np.isfinite(number_n)].astype(np.float64), _BINS).tolist()))
        return cls(tuple(categories), slots, tuple(edges))

    def size(self, texts: int) -> int:
        """P, numbers of a row with so many text columns."""
        return sum(self.slots) + (_BINS + 1) * len(self.edges) + 6 * texts

    def describe(self, columns: WholeRows) -> Float[np.ndarray, "N P"]:
        """Every row."""
        table, rows = columns.table, len(columns.present)
        parts = []
        for c, (kept, slots) in enumerate(zip(self.categories, self.slots, strict=True)):
            at = {value: i for i, value in enumerate(kept)}
            at_V = np.array([at.get(value, slots) for value in table.categories[c]], np.int64)
            parts.append(np.eye(slots + 1, slots, dtype=np.float32)[at_V[table.code_NxC[:, c]]])
        for s, edges in enumerate(self.edges):
            place_N = place_among(edges, table.number_NxS[:, s].astype(np.float64))
            filled_NxT = np.clip(place_N[:, None] - np.arange(_BINS), 0, 1)
            parts.append(np.concatenate([filled_NxT, place_N[:, None] < 0], axis=1).astype(np.float32))
        for c in range(len(columns.texts.names)) if columns.texts is not None else ():
            assert columns.texts is not None
            parts.append(columns.texts.statistics(c).astype(np.float32))
        return np.concatenate(parts, axis=1) if parts else np.zeros((rows, 0), np.float32)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "RowDescription":
        """Inverse of `dataclasses.asdict`."""
        categories = tuple(tuple(map(str, values)) for values in d["categories"])
        return cls(categories, tuple(map(int, d["slots"])), tuple(tuple(map(float, e)) for e in d["edges"]))
