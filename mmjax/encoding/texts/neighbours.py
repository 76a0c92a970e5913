"""Labels of the nearest training texts by cosine similarity of their TF-IDF."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from mmjax.encoding.base import TrainingLabels
from mmjax.encoding.texts.term_weights import Sparse

_BLOCK, _MOST = 1024, 50_000
_COMMON_SHARE, _COMMON_ROWS = 0.01, 200
"""A term in more training rows than this share, and than so many, finds no neighbours: nearly every row would share a term with
every other, and nine tenths of the time would go to pairs that are far apart."""
_POWER, _PRIOR = 3, 0.1
"""A neighbour counts its cosine to the power of 3, so that a near copy outweighs many that share a topic; the overall label
frequencies count as a neighbour of weight 0.1."""


@dataclass(frozen=True)
class Neighbours:
    """Training rows that are searched: all, or a draw of 50,000.

    Attributes:
      term: places of the terms that count among those of the TF-IDF.
      data, index, start: their TF-IDF, as a sparse matrix has it (`csr_matrix`); a row's length is 1 with the terms left out.
      label: class index of each, -1 without one.
      group: of each where folds keep groups together, else its number in the table: no row is a neighbour of its own group.
      prior: label frequencies.
      count: neighbours whose labels are read.
    """

    term: Int[np.ndarray, " T"]
    data: Float[np.ndarray, " v"]
    index: Int[np.ndarray, " v"]
    start: Int[np.ndarray, " n1"]
    label: Int[np.ndarray, " n"]
    group: Int[np.ndarray, " n"]
    prior: Float[np.ndarray, " K"]
    count: int

    @classmethod
    def fit(cls, weight_NxV: Sparse, labels: TrainingLabels, count: int) -> "Neighbours":
        """Keeps the training rows; others are not read."""
        rows = labels.rows
        if len(rows) > _MOST:
            rows = np.sort(np.random.default_rng(0).choice(rows, _MOST, replace=False))
        kept, label_n = weight_NxV[rows], labels.label_N[rows]
        prior_K = np.bincount(label_n[label_n >= 0], minlength=labels.classes) / max(1, np.sum(label_n >= 0))
        rows_V = np.bincount(kept.indices, minlength=kept.shape[1])
        term = np.flatnonzero(rows_V <= max(_COMMON_ROWS, _COMMON_SHARE * len(rows))).astype(np.int32)
        kept = kept[:, term]
        arrays = kept.data.astype(np.float32), kept.indices, kept.indptr
        return cls(term, *arrays, label_n.astype(np.int32), labels.unit_N[rows], prior_K, count)

    def labels_near(self, weight_NxV: Sparse, group_N: Int[np.ndarray, " N"] | None = None) -> Float[np.ndarray, "N L"]:
        """Frequency of each class among the nearest, the nearer counting more, less the overall one; largest and mean cosine.

        Args:
          weight_NxV: TF-IDF of the rows to look at.
          group_N: `TrainingLabels.unit_N`, where they are training rows.
        """
        searched = csr_matrix((self.data, self.index, self.start), shape=(len(self.label), len(self.term))).T.tocsr()
        onehot_nxK = np.eye(len(self.prior) + 1, dtype=np.float32)[self.label][:, : len(self.prior)]
        out_NxL = np.zeros((weight_NxV.shape[0], len(self.prior) + 2), np.float32)
        for begin in range(0, len(out_NxL), _BLOCK):
            part = slice(begin, begin + _BLOCK)
            cosine_bxn = weight_NxV[part][:, self.term] @ searched
            for b, (at, end) in enumerate(zip(cosine_bxn.indptr[:-1], cosine_bxn.indptr[1:], strict=True), begin):
                near_n, cosine_n = cosine_bxn.indices[at:end], cosine_bxn.data[at:end]
                if group_N is not None:
                    others_n = self.group[near_n] != group_N[b]
                    near_n, cosine_n = near_n[others_n], cosine_n[others_n]
                out_NxL[b] = self._summary(near_n, cosine_n, onehot_nxK)
        return out_NxL

    def _summary(
        self, near_n: Int[np.ndarray, " n"], cosine_n: Float[np.ndarray, " n"], onehot_nxK: Float[np.ndarray, "n K"]
    ) -> Float[np.ndarray, " L"]:
        """Of one row, by all that share a term with it."""
        if len(near_n) > self.count:
            nearest = np.argpartition(-cosine_n, self.count - 1)[: self.count]
            near_n, cosine_n = near_n[nearest], cosine_n[nearest]
        weight_k = cosine_n**_POWER
        sum_K = weight_k @ onehot_nxK[near_n] + _PRIOR * self.prior
        frequency_K = sum_K / (weight_k.sum() + _PRIOR) - self.prior
        return np.append(frequency_K, [cosine_n.max(initial=0), cosine_n.sum() / self.count]).astype(np.float32)
