"""Which rows a fold trains on, validates on and holds out; and those without a label, which teach what needs none (ADR 9)."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from mmjax.config import Settings
from mmjax.datasets.dataset import Dataset
from mmjax.datasets.splits import inner_split
from mmjax.tasks.base import Task

Rows = Int[np.ndarray, " n"]
_DRAW = 7
"""Of the stream that draws which labels are kept."""


@dataclass(frozen=True)
class FoldRows:
    """Row numbers of a fold, each array sorted.

    Attributes:
      train: labelled rows that are trained on.
      valid: labelled rows of the inner validation.
      test: held-out rows.
      unlabelled: rows without a label that may be learnt from.
      every: training and validation rows, those without a label among them; None: they are `train` and `valid`.
    """

    train: Rows
    valid: Rows
    test: Rows
    unlabelled: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    every: tuple[Rows, Rows] | None = None

    @property
    def labelled(self) -> Rows:
        """`train` and `valid`; of a single row or group, both are the same."""
        return np.union1d(self.train, self.valid)

    def split(self, task: Task) -> tuple[Rows, Rows]:
        """The rows that a task trains on, and those it is validated on."""
        return self.every if task.trains_on_every_row and self.every is not None else (self.train, self.valid)


def divide(
    dataset: Dataset, fold_N: Int[np.ndarray, " N"], label_N: Int[np.ndarray, " N"], settings: Settings
) -> list[FoldRows]:
    """The rows of every fold.

    Args:
      dataset: the table.
      fold_N: fold of each row, -1 for rows in none.
      label_N: a number a row whose shares are alike in all parts, see `Task.labels`.
      settings: of the run.
    """
    cv, group_N = settings.cv, dataset.table.group_N if settings.cv.group else None
    without, alike_N = np.flatnonzero((fold_N < 0) & dataset.usable), np.zeros(len(fold_N), np.int32)
    folds = []
    for number in range(cv.folds):
        rows, seed = np.flatnonzero((fold_N >= 0) & (fold_N != number)), cv.seed + number
        kept, test = _with_labels(rows, cv.labels, cv.seed, number), np.flatnonzero(fold_N == number)
        train, valid = inner_split(kept, label_N, fraction=cv.valid_fraction, seed=seed, group=group_N)
        other = np.union1d(without, np.setdiff1d(rows, kept)) if uses_unlabelled(settings) else rows[:0]
        every = None
        if len(other) > 1:
            more_train, more_valid = inner_split(other, alike_N, fraction=cv.valid_fraction, seed=seed)
            every = np.union1d(train, more_train), np.union1d(valid, more_valid)
        folds.append(FoldRows(train, valid, test, other, every))
    return folds


def uses_unlabelled(settings: Settings) -> bool:
    """Whether rows without a label are learnt from: else a table's junk rows would move vocabularies and quantiles."""
    return bool(settings.data.unlabelled or settings.cv.labels or settings.model.autoencoder.kind != "none")


def _with_labels(rows: Rows, labels: int, seed: int, fold: int) -> Rows:
    """`labels` of the rows, fewer labels being a part of more; 0: all."""
    if not labels or labels >= len(rows):
        return rows
    return np.sort(np.random.default_rng([seed, fold, _DRAW]).permutation(rows)[:labels])
