"""Folds: stratified (paper), or grouped so that no group straddles two; seeded; saved as id,fold."""

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from mmjax.data.data_report import DataReport
from mmjax.errors import DataError, WorkdirError
from mmjax.io.atomic import write_text

FOLDS = "folds.csv"
"""In a workdir."""

Rows = Int[np.ndarray, " n"]


def make_folds(
    label_N: Int[np.ndarray, " N"],
    *,
    folds: int,
    seed: int,
    group_N: Int[np.ndarray, " N"] | None = None,
    path: str = "table",
) -> Int[np.ndarray, " N"]:
    """Fold number of every row, -1 for a row without a label.

    Args:
      label_N: class indices; -1 rows are left out.
      folds: number of folds.
      seed: shuffles.
      group_N: group numbers; None: stratified folds of single rows.
      path: the table's, for messages.

    Raises:
      DataError: fewer rows or groups than folds.
    """
    rows = np.flatnonzero(label_N >= 0)
    units = len(rows) if group_N is None else len(np.unique(group_N[rows]))
    if units < folds:
        what = "labelled rows" if group_N is None else "groups"
        advice = (
            f"set config.cv.folds to at most {units}"
            if units > 1
            else "no fold could be held out: use more rows, or other groups"
        )
        raise DataError(f"{path}: has {units} {what}, fewer than {folds} folds; {advice}.")
    label_n = label_N[rows]
    fold_N = np.full(len(label_N), -1, np.int32)
    group_n = None if group_N is None else group_N[rows]
    splitter = (StratifiedKFold if group_N is None else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a small class is reported by `report_folds`, in our own words
        try:
            splits = [held_out for _, held_out in splitter.split(rows, label_n, group_n)]
        except ValueError:  # every class is smaller than the number of folds: nothing to stratify
            splits = []
    if not splits or min(map(len, splits)) == 0:  # greedy grouping may leave a fold without a row
        splits = _unstratified(np.arange(len(rows)) if group_n is None else group_n, folds, seed)
    for number, held_out in enumerate(splits):
        fold_N[rows[held_out]] = number
    return fold_N


def _unstratified(unit_n: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    """Rows of each fold: units in a seeded order, the largest first, each to the fold with the fewest rows."""
    units, size_u = np.unique(unit_n, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(units))
    filled = np.zeros(folds, int)
    fold_of = {}
    for unit in sorted(order, key=lambda u: -size_u[u]):
        fold_of[units[unit]] = number = int(np.argmin(filled))
        filled[number] += size_u[unit]
    fold_n = np.array([fold_of[u] for u in unit_n])
    return [np.flatnonzero(fold_n == number) for number in range(folds)]


def report_folds(
    label_N: np.ndarray, fold_N: np.ndarray, folds: int, report: DataReport, path: str = "table", classes: Sequence[str] = ()
) -> None:
    """Tells of a class with fewer rows than folds and of a fold with one class, whether the folds were just made or loaded."""
    counts = np.bincount(label_N[label_N >= 0])
    for index in np.flatnonzero((counts > 0) & (counts < folds)):
        value = f"class {classes[int(index)] if classes else index}: {counts[index]} rows"
        report.add("class_small", file=path, value=value, action=f"fewer rows than {folds} folds: some folds hold none of it")
    for number in range(folds) if np.count_nonzero(counts) > 1 else ():
        if len(np.unique(label_N[fold_N == number])) == 1:
            report.add("fold_one_class", file=path, value=f"fold {number}", action="kept; its kappa and F1 say little")


def inner_split(
    rows: Rows, label_N: Int[np.ndarray, " N"], *, fraction: float, seed: int, group: Int[np.ndarray, " N"] | None = None
) -> tuple[Rows, Rows]:
    """Training rows and validation rows for early stopping, both sorted, out of a fold's training rows.

    Args:
      rows: the fold's training rows.
      label_N: class indices of all rows; stratifies.
      fraction: share of `rows` to validate on; at least one row each side.
      seed: shuffles.
      group: group numbers of all rows: no group on both sides.
    """
    parts = max(2, round(1 / fraction))
    units = len(rows) if group is None else len(np.unique(group[rows]))
    parts = min(parts, units)
    if parts < 2:  # one row or one group: it trains and validates, since there is nothing else
        return rows, rows
    held_out = make_folds(label_N[rows], folds=parts, seed=seed, group_N=None if group is None else group[rows]) == 0
    return rows[~held_out], rows[held_out]


def save_folds(path: Path, ids: np.ndarray, fold_N: np.ndarray) -> None:
    """Writes id,fold, a line a row, in the table's order."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("id", "fold"))
    writer.writerows(zip(ids.tolist(), fold_N.tolist(), strict=True))
    write_text(path, out.getvalue())


def read_folds(path: Path) -> tuple[list[str], Int[np.ndarray, " N"]]:
    """Ids and fold numbers that `save_folds` wrote.

    Raises:
      WorkdirError: the file is absent or damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle))[1:]
        return [r[0] for r in rows], np.array([int(r[1]) for r in rows], np.int32)
    except (OSError, ValueError, OverflowError, IndexError, csv.Error) as error:
        raise WorkdirError(f"{path}: the saved folds cannot be read ({error}); use another workdir.") from error


def load_folds(path: Path, ids: np.ndarray) -> Int[np.ndarray, " N"]:
    """Fold number of each row of a table, as `save_folds` wrote them.

    Raises:
      WorkdirError: the file is damaged, or made for another table.
    """
    names, numbers = read_folds(path)
    if names != [str(i) for i in ids]:
        raise WorkdirError(
            f"{path}: the saved folds are of another table ({len(names)} rows, now {len(ids)}); use another workdir."
        )
    return numbers
