"""What must not be an input: numbers of rows, and a column that tells the label alone."""

import re
from collections.abc import Callable

import numpy as np

from mmjax.data.cells import MISSING

_INDEX = re.compile(
    r"|#|unnamed: ?\d+|index|idx|level_\d+|(row|record|line)[ _.-]?(number|num|no|nr|index|idx|id)?", re.IGNORECASE
)
"""Names that programs give to numbers of rows; pandas writes them under no name at all."""
_NEARLY_ALL = 0.9
_MOST_ROWS, _LEAST_ROWS, _TOLD = 5000, 20, 0.98
"""Rows that a leak is looked for in, and the share of their labels that a suspected column tells."""


def row_number(name: str, numbers: list[str]) -> str:
    """Why a column of numbers names rows, or ''."""
    value_n = np.array(numbers, np.float64)
    if len(value_n) < 2 or (value_n % 1).any():
        return ""
    kinds = len(np.unique(value_n))
    if kinds == len(value_n):
        return "whole numbers, all different: they name rows, as an index does (make it continuous if it measures something)"
    if _INDEX.fullmatch(name) and kinds > len(value_n) / 2:
        return "an index that another program wrote: it names rows"
    step_n = np.diff(value_n)
    if kinds > _NEARLY_ALL * len(value_n) and ((step_n >= 0).all() or (step_n <= 0).all()):
        return "whole numbers in the order of the rows, as an index (make it continuous if it measures something)"
    return ""


def suspected_leak(values: list[str], labels: list[str], read: Callable[[str], float] | None = None) -> str:
    """A warning where a decision tree on one column tells the labels of rows that are held out, or ''.

    Args:
      values: of the column.
      labels: of the same rows.
      read: a value as a number; None: each value is learnt one by one.
    """
    known = [i for i, label in enumerate(labels) if label.lower() not in MISSING]
    known = known[:: -(-len(known) // _MOST_ROWS) or 1]
    label_n = np.array([labels[i] for i in known])
    classes, counts = np.unique(label_n, return_counts=True)
    if len(classes) < 2 or len(known) < max(_LEAST_ROWS, 2 * len(classes)):
        return ""
    from sklearn.model_selection import KFold, cross_val_predict  # noqa: PLC0415 - slow to import
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    if read is None:
        # In the order of appearance values would tell the place in the table, and a sorted table's place the label.
        kinds = sorted({values[i] for i in known})
        if 2 * len(kinds) > len(known):  # a value that does not come again tells nothing of another row
            return ""
        read = dict(zip(kinds, np.random.default_rng(0).permutation(len(kinds)).tolist(), strict=True)).__getitem__
    value_nx1 = np.array([[read(values[i])] for i in known], np.float64).clip(-1e30, 1e30)
    folds = KFold(5, shuffle=True, random_state=0)
    told = float(np.mean(cross_val_predict(DecisionTreeClassifier(random_state=0), value_nx1, label_n, cv=folds) == label_n))
    if told < _TOLD or 1 - told > 0.1 * (1 - counts.max() / len(known)):
        return ""
    what = f"suspected leak: alone it gives the label away in {told:.1%} of held-out rows"
    return f"; {what}: leave it out if it is not known before the label is"
