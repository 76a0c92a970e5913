"""Labels of the nearest training texts by cosine similarity of their TF-IDF."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from mmjax.encoding.base import TrainingLabels
from mmjax.encoding.term_weights import Sparse

_BLOCK, _MOST = 1024, 50_000
_POWER, _PRIOR = 3, 0.1
"""A neighbour counts its cosine to the power of 3, so that a near copy outweighs many that share a topic; the overall label
frequencies count as a neighbour of weight 0.1."""


@dataclass(frozen=True)
class Neighbours:
    """Training rows that are searched: all, or a draw of 50,000.

    Attributes:
      data, index, start: their TF-IDF, rows of length 1, as a sparse matrix has it (`csr_matrix`).
      terms: columns of that matrix.
      label: class index of each, -1 without one.
      group: of each where folds keep groups together, else its number in the table: no row is a neighbour of its own group.
      prior: label frequencies.
      count: neighbours whose labels are read.
    """

    data: Float[np.ndarray, " v"]
    index: Int[np.ndarray, " v"]
    start: Int[np.ndarray, " n1"]
    terms: int
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
        arrays = kept.data.astype(np.float32), kept.indices, kept.indptr, kept.shape[1]
        return cls(*arrays, label_n.astype(np.int32), own_group(rows, labels), prior_K, count)

    def labels_near(self, weight_NxV: Sparse, group_N: Int[np.ndarray, " N"] | None = None) -> Float[np.ndarray, "N L"]:
        """Frequency of each class among the nearest, the nearer counting more, less the overall one; largest and mean cosine.

        Args:
          weight_NxV: TF-IDF of the rows to look at.
          group_N: `own_group` of each, where they are training rows.
        """
        count = min(self.count, len(self.label))
        searched = csr_matrix((self.data, self.index, self.start), shape=(len(self.label), self.terms)).T.tocsc()
        onehot_nxK = np.eye(len(self.prior) + 1, dtype=np.float32)[self.label][:, : len(self.prior)]
        out_NxL = np.zeros((weight_NxV.shape[0], len(self.prior) + 2), np.float32)
        for begin in range(0, len(out_NxL), _BLOCK):
            part = slice(begin, begin + _BLOCK)
            cosine_bxn = (weight_NxV[part] @ searched).toarray()
            if group_N is not None:
                cosine_bxn[group_N[part, None] == self.group[None]] = 0
            near_bxk = np.argpartition(-cosine_bxn, count - 1, axis=1)[:, :count]
            cosine_bxk = np.take_along_axis(cosine_bxn, near_bxk, axis=1)
            weight_bxk = cosine_bxk**_POWER
            sum_bxK = np.einsum("bk,bkc->bc", weight_bxk, onehot_nxK[near_bxk]) + _PRIOR * self.prior
            out_NxL[part, :-2] = sum_bxK / (weight_bxk.sum(axis=1, keepdims=True) + _PRIOR) - self.prior
            out_NxL[part, -2], out_NxL[part, -1] = cosine_bxk.max(axis=1), cosine_bxk.mean(axis=1)
        return out_NxL


def own_group(rows: Int[np.ndarray, " n"], labels: TrainingLabels) -> Int[np.ndarray, " n"]:
    """What a row's neighbours may not share with it: its group where folds keep groups together, else itself."""
    return np.asarray(rows if labels.group_N is None else labels.group_N[rows])
