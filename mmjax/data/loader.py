"""Grain loader: which rows are in which batch, seeded, resumable at the exact next batch.

An element is what one dispatch eats: the row numbers of S batches. Where the rows live on the device that is all Grain has to
yield; otherwise a `map` gathers them on the host, in Grain's threads, ahead of the device.
"""

import json
from collections.abc import Callable
from typing import Any

import grain
import numpy as np
from jaxtyping import Float32, Int, Int32

from mmjax.data.arrays import Allocate, Reused

Arrays = dict[str, np.ndarray]


class DispatchSource(grain.sources.RandomAccessDataSource if hasattr(grain, "sources") else object):  # type: ignore[misc]
    """Row numbers of every dispatch of a run; element i is a function of (seed, i) alone.

    Each epoch visits the rows in a fresh order drawn from (seed, epoch) and drops the remainder of less than a batch
    (our reading); a dispatch past the fold's own number of steps is filled with the first row and never applied. With
    `share` (i, n) a batch is the i-th of n equal parts of the run's batch: what process i of n reads.
    """

    def __init__(
        self,
        rows: Int[np.ndarray, " N"],
        *,
        batch_size: int,
        steps_per_dispatch: int,
        dispatches: int,
        epochs: int,
        seed: int,
        share: tuple[int, int] = (0, 1),
    ):
        self._rows = np.ascontiguousarray(rows, dtype=np.int32)
        self._batch_size, self._steps, self._dispatches = batch_size, steps_per_dispatch, dispatches
        self._epochs, self._seed, self._share = epochs, seed, share
        self._cached: tuple[int, np.ndarray] = (-1, self._rows)

    def __len__(self) -> int:
        return self._dispatches * self._epochs

    def __getitem__(self, i: int) -> Int32[np.ndarray, "S B"]:  # type: ignore[override]
        epoch, dispatch = divmod(int(i), self._dispatches)
        order = self._order(epoch)
        first, count = dispatch * self._steps * self._batch_size, self._steps * self._batch_size
        usable = len(order) // self._batch_size * self._batch_size
        index = np.full(count, self._rows[0], np.int32)
        taken = order[first : min(first + count, usable)]
        index[: len(taken)] = taken
        part, parts = self._share
        return index.reshape(self._steps, parts, self._batch_size // parts)[:, part]

    def _order(self, epoch: int) -> np.ndarray:
        cached_epoch, order = self._cached  # one tuple, so Grain's threads read a consistent pair
        if cached_epoch != epoch:
            order = np.random.Generator(np.random.Philox(key=[self._seed, epoch])).permutation(self._rows)
            self._cached = (epoch, order)
        return order


class Loader:
    """Iterator over dispatches whose position can be saved and restored.

    Args:
      source: which rows each dispatch takes.
      gather: row numbers S x B -> dict of arrays S x B x ...; None yields the row numbers.
      threads: Grain's reading threads for `gather`.
      prefetch: dispatches kept ready.
    """

    def __init__(
        self, source: DispatchSource, gather: Callable[[np.ndarray], Any] | None = None, *, threads: int = 2, prefetch: int = 2
    ):
        data = grain.MapDataset.source(source)
        if gather is not None:
            data = data.map(gather)
        options = grain.ReadOptions(num_threads=threads if gather else 0, prefetch_buffer_size=prefetch if gather else 0)
        self._iterator = iter(data.to_iter_dataset(options))

    def __next__(self) -> Any:
        return next(self._iterator)

    def __iter__(self) -> "Loader":
        return self

    def position(self) -> str:
        """Grain's own iterator state, as JSON: the next element is the one after the last one taken."""
        return json.dumps(self._iterator.get_state(), default=lambda b: b.decode())

    def seek(self, position: str) -> None:
        """Goes on from a saved position."""
        self._iterator.set_state(json.loads(position))


def evaluation_batch_size(rows: int, most: int) -> int:
    """B, at most `most`: as few batches as hold `rows`, padded no further than to a multiple of eight."""
    batches = max(1, -(-rows // most))
    return min(most, max(8, -(-rows // (8 * batches)) * 8))


def evaluation_batches(
    rows: Int[np.ndarray, " N"], batch_size: int, batches: int = 0
) -> tuple[Int32[np.ndarray, "E B"], Float32[np.ndarray, "E B"]]:
    """Every row once, in order, the last batch padded.

    Args:
      rows: row numbers.
      batch_size: B.
      batches: E, at least what the rows need; 0: just that. Folds evaluated together share one E.

    Returns:
      Row numbers and their weights, 0 for padding.
    """
    needed = max(1, -(-len(rows) // batch_size))
    total = max(batches, needed) * batch_size
    index = np.zeros(total, np.int32)
    weight = np.zeros(total, np.float32)
    index[: len(rows)], weight[: len(rows)] = rows, 1.0
    return index.reshape(-1, batch_size), weight.reshape(-1, batch_size)


def gather_rows(arrays: Arrays) -> Callable[[np.ndarray], Arrays]:
    """Row numbers S x B -> the rows' arrays, for rows that do not live on the device; a batch's memory is used again.

    Raises:
      IndexError: (when called) there is no such row.
    """
    allocate, rows = Reused(), min(map(len, arrays.values()), default=0)

    def gather(index: np.ndarray) -> Arrays:
        if index.size and not 0 <= index.min() <= index.max() < rows:
            raise IndexError(f"rows {index.min()} to {index.max()} of {rows}")
        return {name: _take(values, index, allocate) for name, values in arrays.items()}

    return gather


def _take(values: np.ndarray, index: np.ndarray, allocate: Allocate) -> np.ndarray:
    out = allocate(index.shape + values.shape[1:], values.dtype)
    return np.take(values, index, axis=0, out=out, mode="clip")  # 'raise' would fill an array of its own first
