"""Permutation importance (Breiman 2001): how much worse held-out rows are predicted when a column's cells are shuffled."""

from collections.abc import Callable, Sequence
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
      advance: told (how many folds are done, of how many).

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
        for key, change in zip(names, fold.changes(names), strict=True):
            found.setdefault(key, []).append(change)
        if advance is not None:
            advance(done + 1, len(ensemble.members))
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

    def changes(self, names: Sequence[tuple[str, str]]) -> list[dict[str, float]]:
        """How metrics change when each modality or column is shuffled.

        All variants that leave pictures alone are asked at once, so that the pictures are looked at once.
        """
        variants = [self._modality(name) if kind == "modality" else self._column(name) for kind, name in names]
        pictures = {f"{m.name}/{part}" for m in self.rereader.modalities for part in m.pictures}
        asked: list[list[dict[str, float]]] = [[] for _ in names]
        light = [i for i, own in enumerate(variants) if not pictures & own[-1].keys()]
        for group in (light, *([i] for i in range(len(names)) if i not in light)):
            flat = [(i, arrays) for i in group for arrays in variants[i]]
            changed = {key for _, arrays in flat for key in arrays}
            stacked = {key: np.stack([arrays.get(key, self.answers.arrays[key]) for _, arrays in flat]) for key in changed}
            for (i, _), p_nxK in zip(flat, self.answers.varied(stacked) if flat else (), strict=True):
                asked[i].append(self.answers.metrics(p_nxK))
        return [_difference(base, shuffled) for base, *shuffled in asked]

    def _modality(self, name: str) -> list[Arrays]:
        """The arrays as they are, then shuffled between rows."""
        return [{"present": self.answers.arrays["present"]}, *(self._shuffled({}, (name,), order) for order in self.orders)]

    def _column(self, name: str) -> list[Arrays]:
        """What changes when a column's cells are shuffled; first what is read of the cells as they are.

        What reads this column alone is shuffled as it is: no photo is decoded twice. Whatever reads more is read again, the
        cells as they are, too, since a table that is read for its own counts its own rows.
        """
        readers = self.rereader.readers(name)
        alone = [m.name for m in readers if m.reads == (name,)]
        again = [m.name for m in readers if m.reads != (name,)]
        read = [self._read(name, order, again) for order in (np.arange(len(self.cells)), *self.orders)]
        return [read[0], *(self._shuffled(own, alone, order) for own, order in zip(read[1:], self.orders, strict=True))]

    def _read(self, column: str, order: Int[np.ndarray, " n"], names: list[str]) -> Arrays:
        if not names:
            return {"present": self.answers.arrays["present"]}
        cells = self.cells.assign(**{column: self.cells[column].to_numpy()[order]})
        (arrays,) = self.rereader.read(cells, names, self.rereader.ensemble.members[self.place : self.place + 1])
        return merged(self.answers.arrays, arrays, names, self.modalities)

    def _shuffled(self, changed: Arrays, names: Sequence[str], order: Int[np.ndarray, " n"]) -> Arrays:
        arrays = self.answers.arrays
        moved = {k: v[order] for k, v in arrays.items() if any(k.startswith(f"{name}/") for name in names)}
        present_NxM, at = changed.get("present", arrays["present"]).copy(), [self.modalities.index(name) for name in names]
        present_NxM[:, at] = arrays["present"][order][:, at]
        return changed | moved | {"present": present_NxM}


def _difference(base: dict[str, float], shuffled: list[dict[str, float]]) -> dict[str, float]:
    found = metrics.summarise(shuffled)["mean"]
    return {name: found[name] - base[name] for name in found}
