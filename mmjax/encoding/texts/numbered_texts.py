"""A text column as numbers of its words, which all folds share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Bool, Int, UInt64

from mmjax.data.arrays import GrowingArray
from mmjax.data.cells import READING, MissingWords
from mmjax.data.hashing import hash_rows, hash_texts
from mmjax.encoding.base import Columns, Reader, TableContext
from mmjax.encoding.texts.text_lengths import TextLengths
from mmjax.encoding.texts.tokens import words

_LONGEST_WORD = 64
_LONG = 20  # words of a text that nobody writes twice
_COUNTED = 20_000  # characters of a text in which its words are counted


@dataclass(frozen=True)
class TextColumns(Columns):
    """All rows.

    Attributes:
      name: of the column, for messages.
      word_NxT: numbers of words, 0 padding.
      words: words by number; '' at 0.
    """

    name: str
    word_NxT: Int[np.ndarray, "N T"]
    words: Sequence[str]

    @property
    def present(self) -> Bool[np.ndarray, " N"]:
        """Rows with a word."""
        return np.asarray(self.word_NxT[:, 0] > 0)

    def fingerprints(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """Words count, not their numbers."""
        yield self.name, hash_rows(self.word_NxT, hash_texts(self.words))

    def copies(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """The same words, where there are too many to be the same by chance."""
        least = min(_LONG, self.word_NxT.shape[1])
        long_N = self.word_NxT[:, least - 1] > 0 if least >= _LONG // 2 else np.zeros(len(self.word_NxT), bool)
        yield "text", np.where(long_N, hash_rows(self.word_NxT, hash_texts(self.words)), np.uint64(0))


class TextReader(Reader):
    """Tokenises a column once, for all folds."""

    def __init__(self, column: str, length: int, source: TableContext):
        self._column, self._length, self._source = column, length, source
        self._missing, self._lengths = MissingWords(), TextLengths(length)
        self._words, self._tokens = Words(), GrowingArray(length, np.int32, source.spill)

    def take(self, columns: Mapping[str, Sequence[str]], first: int) -> None:
        """Adds a chunk."""
        reading, cells = self._source.reading, columns[self._column]
        cells = self._missing.emptied(cells) if reading > 1 else cells
        word_nxT, number_n = number_words(cells, self._words, self._length, reading)
        self._tokens.extend(word_nxT)
        self._lengths.take(number_n, first)

    def finish(self, ids: Sequence[str]) -> TextColumns:
        """All rows; tells of words for no text, of texts that are cut, and of the length that would hold nearly all."""
        del ids
        self._missing.report(self._source.path, self._column, self._source.report)
        self._lengths.report(self._source, self._column)
        return TextColumns(self._column, self._tokens.finish(), list(self._words))


class Words(dict[str, int]):
    """Number of each word, 0 being padding; a word it does not know gets the next number."""

    def __init__(self) -> None:
        super().__init__({"": 0})

    def __missing__(self, word: str) -> int:
        return self.setdefault(word[:_LONGEST_WORD], len(self))


def number_words(
    column: Sequence[str], known: Words, length: int, reading: int = READING
) -> tuple[Int[np.ndarray, "n T"], list[int]]:
    """The first `length` words of each text by number, 0 padding, and how many each text has; `known` learns new ones."""
    flat: list[int] = []
    number_n: list[int] = []
    for text in column:
        found = list(words(text[:_COUNTED], reading))  # of a longer text only the beginning is searched
        if len(text) > _COUNTED and len(found) <= length:
            found = list(islice(words(text, reading), length + 1))
        number_n.append(len(found))
        flat += map(known.__getitem__, found[:length])
    out_NxT = np.zeros((len(column), length), np.int32)
    out_NxT[np.arange(length) < np.array(number_n, np.int64)[:, None]] = flat
    return out_NxT, number_n
