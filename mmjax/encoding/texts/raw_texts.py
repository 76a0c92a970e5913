"""Text columns as they were read, for encoders that count words and pieces of words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt64

from mmjax.data.arrays import GrowingArray
from mmjax.data.cells import READING, MissingWords
from mmjax.data.hashing import hash_texts
from mmjax.encoding.base import Columns, Reader, TableContext
from mmjax.encoding.texts.term_weights import Sparse, TermWeights, count_terms

LONGEST = 20_000
"""Characters of a text that are read."""
_KEPT = 4
"""Folds are encoded in as many threads as there are cores, and two modalities may read the same column."""

_LONG = 100  # characters of a text that nobody writes twice


@dataclass(frozen=True)
class RawTexts(Columns):
    """Some text columns of all rows, as UTF-8 side by side: they may lie on the disk.

    Attributes:
      names: of the columns.
      byte_n: all texts, row by row and column by column.
      end_NxC: where each text ends in `byte_n`.
      start: where the first one begins.
      reading: how words are found, see `data/cells.py`.
    """

    names: tuple[str, ...]
    byte_n: UInt8[np.ndarray, " n"]
    end_NxC: Int[np.ndarray, "N C"]
    start: int = 0
    reading: int = READING
    _counts: dict[tuple[int, str], Sparse] = field(default_factory=dict, compare=False, repr=False)
    _weights: dict[tuple[int, str], list[tuple[TermWeights, Sparse]]] = field(default_factory=dict, compare=False, repr=False)
    _statistics: dict[int, Float[np.ndarray, "N 6"]] = field(default_factory=dict, compare=False, repr=False)
    _lock: Any = field(default_factory=RLock, compare=False, repr=False)

    def part(self, rows: slice) -> Self:
        """Consecutive rows."""
        first = self.end_NxC[rows.start - 1, -1] if rows.start else self.start
        part = type(self)(self.names, self.byte_n, self.end_NxC[rows], int(first), self.reading)
        part._statistics.update({c: value_Nx6[rows] for c, value_Nx6 in self._statistics.items()})
        return part

    def texts(self, column: int) -> list[str]:
        """A column's texts."""
        start_N = np.concatenate([[self.start], self.end_NxC.ravel()[:-1]])[column :: len(self.names)]
        spans = zip(start_N.tolist(), self.end_NxC[:, column].tolist(), strict=True)
        return [self.byte_n[a:b].tobytes().decode("utf-8", "replace") for a, b in spans]

    def counts(self, column: int, analyzer: str) -> Sparse:
        """How often each term occurs in a column's texts (`term_weights.count_terms`), counted once for all folds."""
        with self._lock:  # folds are encoded in threads
            if (column, analyzer) not in self._counts:
                self._counts[column, analyzer] = count_terms(analyzer, self.texts(column), self.reading)
            return self._counts[column, analyzer]

    def statistics(self, column: int) -> Float[np.ndarray, "N 6"]:
        """Length, words, exclamation and question marks, capitals and digits of each text, counted once for all folds."""
        with self._lock:
            if column not in self._statistics:
                self._statistics[column] = _statistics(self.texts(column))
            return self._statistics[column]

    def weights(self, column: int, terms: TermWeights) -> Sparse:
        """TF-IDF of a column's texts; those of the last few terms that were asked for are kept."""
        kept = self._weights.setdefault((column, terms.analyzer), [])
        for known, weight_NxV in list(kept):
            if known is terms:
                return weight_NxV
        weight_NxV = terms.transform(self.counts(column, terms.analyzer))
        kept.append((terms, weight_NxV))
        del kept[:-_KEPT]
        return weight_NxV

    @property
    def characters(self) -> int:
        """Of all texts, about: bytes."""
        return int(self.end_NxC[-1, -1]) - self.start if len(self.end_NxC) else 0

    @property
    def present(self) -> Bool[np.ndarray, " N"]:
        """Rows with a character in any column."""
        before_N = np.concatenate([[self.start], self.end_NxC[:-1, -1]])
        return self.end_NxC[:, -1] > before_N

    def fingerprints(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """Of the texts."""
        for c, name in enumerate(self.names):
            yield name, hash_texts(self.texts(c))

    def copies(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """The same long texts."""
        for c in range(len(self.names)):
            texts = self.texts(c)
            value_N, long_N = hash_texts(texts), [len(text) >= _LONG for text in texts]
            yield "text", np.where(long_N, value_N, np.uint64(0))


class RawTextReader(Reader):
    """Collects the columns, once for all modalities that read them."""

    def __init__(self, names: Sequence[str], source: TableContext):
        self._names, self._at, self._rows, self._source = tuple(names), 0, 0, source
        self._missing = {name: MissingWords() for name in names}
        self._bytes, self._ends = GrowingArray(1, np.uint8, source.spill), GrowingArray(len(names), np.int64, source.spill)
        self._finished: RawTexts | None = None

    @classmethod
    def of(cls, names: Sequence[str], source: TableContext) -> "RawTextReader":
        """The table's reader of these columns."""
        key = (cls, *names)
        if key not in source.shared:
            source.shared[key] = cls(names, source)
        return source.shared[key]

    def take(self, columns: Mapping[str, Sequence[str]], first: int) -> None:
        """Adds a chunk, unless another modality has brought it already."""
        if first < self._rows:
            return
        blank = [""] * len(next(iter(columns.values())))  # a table to predict may lack a column
        given = [columns.get(name, blank) for name in self._names]
        if self._source.reading > 1:
            given = [words.emptied(cells) for words, cells in zip(self._missing.values(), given, strict=True)]
        cells = list(zip(*given, strict=True))
        for row, texts in enumerate(cells, first):
            for name, text in zip(self._names, texts, strict=True):
                if len(text) > LONGEST:
                    place = {"file": self._source.path, "row": row, "column": name, "value": f"{len(text)} characters"}
                    self._source.report.add("text_cut", **place, action=f"its first {LONGEST} are read", refuse=False)
        encoded = [[text[:LONGEST].strip().encode("utf-8", "surrogatepass") for text in row] for row in cells]
        ends = self._at + np.cumsum([len(text) for row in encoded for text in row])
        self._bytes.extend(np.frombuffer(b"".join(text for row in encoded for text in row), np.uint8)[:, None])
        self._ends.extend(ends.reshape(-1, len(self._names)))
        self._at = int(ends[-1]) if len(ends) else self._at
        self._rows = first + len(cells)

    def finish(self, ids: Sequence[str]) -> RawTexts:
        """All rows."""
        del ids
        if self._finished is None:
            self._finished = RawTexts(self._names, self._bytes.finish()[:, 0], self._ends.finish(), 0, self._source.reading)
            for name, words in self._missing.items():
                words.report(self._source.path, name, self._source.report)
        return self._finished


def _statistics(texts: Sequence[str]) -> Float[np.ndarray, "N 6"]:
    """Length, words, exclamation and question marks, capitals and digits of each text."""

    def of(text: str) -> tuple[float, ...]:
        size = len(text) + 1
        capitals, digits = sum(map(str.isupper, text)) / size, sum(map(str.isdigit, text)) / size
        return np.log1p(len(text)), np.log1p(len(text.split())), text.count("!"), text.count("?"), capitals, digits

    return np.array([of(text) for text in texts], np.float64).reshape(len(texts), 6)
