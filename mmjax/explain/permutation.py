"""Permutation importance (Breiman 2001): how much worse held-out rows are predicted when a column's cells are shuffled."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int

from mmjax.datasets.dataset import Dataset
from mmjax.datasets.locations import find_files
from mmjax.explain.answers import Arrays, FoldAnswers
from mmjax.explain.cells import Rereader, merged, read_cells
from mmjax.inference import Ensemble
from mmjax.tasks import metrics

LOSS = "log_loss"


@dataclass(frozen=True)
class Importance:
    """Of one modality or column.

    Attributes:
      name: of the modality or column.
      kind: modality | column.
      fall: by how much the task's first metric falls, the mean over the folds.
      fall_std: deviation over the folds.
      rise_loss, rise_loss_std: by how much the log loss rises.
    """

    name: str
    kind: str
    fall: float
    fall_std: float
    rise_loss: float
    rise_loss_std: float


def permutation_importance(
    ensemble: Ensemble,
    dataset: Dataset,
    fold_N: Int[np.ndarray, " N"],
    *,
    rows_per_fold: int = 500,
    repeats: int = 3,
    seed: int = 0,
    advance: Callable[[int, int], None] | None = None,
) -> list[Importance]:
    """Importance of every modality and column, on rows that a fold did not see.

    A modality's arrays are shuffled between rows as a whole. A column's cells are shuffled in the table, which is then read
    again by whatever reads it. Two columns that say the same share their importance.

    Args:
      ensemble: the finished folds.
      dataset: the table that they were trained on.
      fold_N: fold of each row, -1 for rows in none.
      rows_per_fold: at most so many held-out rows are asked.
      repeats: shuffles of each.
      seed: of rows and shuffles.
      advance: told (how much is done, of how much).

    Returns:
      The most important first, modalities before columns.

    Raises:
      WorkdirError: the ensemble predicts no classes.
    """
    table, rereader = find_files(ensemble.settings.data, ensemble.schema).table, Rereader(ensemble)
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for done, member in enumerate(ensemble.members):
        draw = np.random.default_rng([seed, member.number])
        test = np.flatnonzero((fold_N == member.number) & (dataset.label >= 0))
        rows = np.sort(draw.permutation(test)[:rows_per_fold])
        everything = member.encoders.encode(dataset)
        answers = FoldAnswers(ensemble, member, {name: values[rows] for name, values in everything.items()})
        orders = [draw.permutation(len(rows)) for _ in range(repeats)]
        fold = _Fold(answers, rereader, list(ensemble.spec.modalities), orders, read_cells(table, rows), done)
        names = [("modality", name) for name in ensemble.spec.modalities]
        names += [("column", name) for name in rereader.columns(fold.cells.columns)]
        for at, (kind, name) in enumerate(names):
            change = fold.modality(name) if kind == "modality" else fold.column(name)
            found.setdefault((kind, name), []).append(change)
            if advance is not None:
                advance(done * len(names) + at + 1, len(ensemble.members) * len(names))
    primary = ensemble.chain[-1].primary
    return sorted((_summary(kind, name, falls, primary) for (kind, name), falls in found.items()), key=_order)


def _order(importance: Importance) -> tuple[bool, float]:
    return importance.kind == "column", -importance.rise_loss


def _summary(kind: str, name: str, falls: list[dict[str, float]], primary: str) -> Importance:
    over = metrics.summarise(falls)
    mean, std = over["mean"], over["std"]
    return Importance(name, kind, -mean[primary], std[primary], mean[LOSS], std[LOSS])


@dataclass
class _Fold:
    """A fold's held-out rows, its answers and the shuffles."""

    answers: FoldAnswers
    rereader: Rereader
    modalities: list[str]
    orders: list[Int[np.ndarray, " n"]]
    cells: pd.DataFrame
    place: int

    def __post_init__(self) -> None:
        self._as_it_is = self.answers.metrics()

    def modality(self, name: str) -> dict[str, float]:
        """How metrics change when a modality's arrays are shuffled."""
        return self._changes([self._shuffled(self.answers.arrays, (name,), order) for order in self.orders], self._as_it_is)

    def column(self, name: str) -> dict[str, float]:
        """How metrics change when a column's cells are shuffled.

        What reads this column alone is shuffled as it is: no photo is decoded twice. Whatever reads more is read again, the
        cells as they are, too, since a table that is read for its own counts its own rows.
        """
        readers = self.rereader.readers(name)
        alone = [m.name for m in readers if m.reads == (name,)]
        again = [m.name for m in readers if m.reads != (name,)]
        if not again:
            return self._changes([self._shuffled(self.answers.arrays, alone, order) for order in self.orders], self._as_it_is)
        same, *changed = (self._read(name, order, again) for order in (np.arange(len(self.cells)), *self.orders))
        changed = [self._shuffled(arrays, alone, order) for arrays, order in zip(changed, self.orders, strict=True)]
        return self._changes(changed, self.answers.metrics(same))

    def _read(self, column: str, order: Int[np.ndarray, " n"], names: list[str]) -> Arrays:
        cells = self.cells.assign(**{column: self.cells[column].to_numpy()[order]})
        (arrays,) = self.rereader.read(cells, names, self.rereader.ensemble.members[self.place : self.place + 1])
        return merged(self.answers.arrays, arrays, names, self.modalities)

    def _shuffled(self, arrays: Arrays, names: list[str] | tuple[str, ...], order: Int[np.ndarray, " n"]) -> Arrays:
        moved = {k: v[order] for k, v in arrays.items() if any(k.startswith(f"{name}/") for name in names)}
        present_NxM = arrays["present"].copy()
        at = [self.modalities.index(name) for name in names]
        present_NxM[:, at] = present_NxM[order][:, at]
        return arrays | moved | {"present": present_NxM}

    def _changes(self, variants: list[Arrays], base: dict[str, float]) -> dict[str, float]:
        found = metrics.summarise([self.answers.metrics(arrays) for arrays in variants])["mean"]
        return {name: found[name] - base[name] for name in found}
