"""TF-IDF of words, pairs of words and pieces of words, by scikit-learn, as something a fold can save."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mmjax.data.cells import READING
from mmjax.encoding.texts.tokens import words

_BUCKETS = 2**22
"""Terms are numbered by a hash: no vocabulary is kept, and among 300,000 terms one in fourteen shares its number."""
_OLD_WORD = r"(?u)\w+|[\u2600-\u27BF\U0001F300-\U0001FAFF]"
"""Of folds of reading 1, see `data/cells.py`."""
Sparse = Any
"""A `csr_matrix`: scipy's types do not say what its operations return."""


def _analyzer(name: str, reading: int) -> dict[str, Any]:
    if name == "char":
        return {"analyzer": "char_wb", "ngram_range": (2, 5)}
    if reading == 1:
        return {"analyzer": "word", "token_pattern": _OLD_WORD, "ngram_range": (1, 2)}
    tokens = {"tokenizer": lambda text: list(words(text, reading)), "token_pattern": None}
    return {"analyzer": "word", "lowercase": False, "ngram_range": (1, 2), **tokens}


@dataclass(frozen=True)
class TermWeights:
    """Terms of a column that a fold keeps.

    Attributes:
      analyzer: word (words and pairs) | char (pieces of 2 to 5 characters inside words).
      term: hashes of the terms, sorted.
      idf: weight of each.
    """

    analyzer: str
    term: Int[np.ndarray, " V"]
    idf: Float[np.ndarray, " V"]

    @classmethod
    def fit(cls, analyzer: str, count_NxH: Sparse, *, least: int = 2, most: int = 100_000) -> "TermWeights":
        """Keeps the terms seen in at least `least` of the rows, the `most` frequent.

        Args:
          analyzer: of the counts.
          count_NxH: of training rows, see `count_terms`.
          least: rows that a term must be in.
          most: terms kept.
        """
        rows_H = np.bincount(count_NxH.indices, minlength=0)
        term = np.flatnonzero(rows_H >= least)
        if len(term) > most:
            term = np.sort(term[np.argsort(-rows_H[term], kind="stable")[:most]])
        idf = np.log((1 + count_NxH.shape[0]) / (1 + rows_H[term])) + 1
        return cls(analyzer, term.astype(np.int32), idf.astype(np.float32))

    def transform(self, count_NxH: Sparse) -> Sparse:
        """Weights of each row, of length 1: (1 + log count) idf (Salton and Buckley 1988)."""
        from sklearn.preprocessing import normalize  # noqa: PLC0415 - a second, and only this modality needs it

        weight_NxV = count_NxH[:, self.term].astype(np.float32)
        weight_NxV.data = np.log(weight_NxV.data) + 1
        weight_NxV.data *= self.idf[weight_NxV.indices]
        return normalize(weight_NxV, copy=False) if weight_NxV.shape[1] else weight_NxV


def count_terms(analyzer: str, texts: Sequence[str], reading: int = READING) -> Sparse:
    """How often each term occurs in each text: float32 N x 2^22."""
    from sklearn.feature_extraction.text import HashingVectorizer  # noqa: PLC0415 - a second, and only this modality needs it

    options = {"n_features": _BUCKETS, "norm": None, "alternate_sign": False, "dtype": np.float32}
    return HashingVectorizer(**_analyzer(analyzer, reading), **options).transform(texts)
