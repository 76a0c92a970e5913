"""Rows of a table compared two by two, fold by fold."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjax.reproduce.row_report import RowReport
from mmjax.reproduce.statistics import Comparison, corrected_resampled_t_test, holm


@dataclass(frozen=True)
class Difference:
    """What row b scores more than row a, on the folds that hold the same rows for both.

    Attributes:
      mean: of b - a over folds.
      folds: how many differences, over all repeats.
      repeats: repeats that the folds are of.
      test: None with one fold.
    """

    mean: float
    folds: int
    repeats: int
    test: Comparison | None


def compare(a: RowReport, b: RowReport, metric: str) -> Difference | None:
    """Compares two rows on every fold of every repeat that both have finished; None where they share no fold.

    A repeat whose row-to-fold assignment is not the same for both is left out.
    """
    of_a, of_b = a.values(metric), b.values(metric)
    same = {r for r, (x, y) in enumerate(zip(a.folds_digests, b.folds_digests, strict=False)) if x == y}
    shared = [key for key in of_a if key in of_b and key[0] in same]
    if not shared:
        return None
    scores = [of_b[key] for key in shared], [of_a[key] for key in shared]
    test = corrected_resampled_t_test(*scores, test_rows=a.test_rows, train_rows=a.train_rows) if len(shared) > 1 else None
    mean = test.difference if test else float(np.subtract(*scores).mean())
    return Difference(mean, len(shared), len({repeat for repeat, _ in shared}), test)


def paired_differences(rows: Sequence[RowReport], metric: str) -> list[dict[str, Any]]:
    """Every pair of rows, compared as `compare` says.

    Returns:
      One entry a pair: a, b, metric, folds (of all repeats), difference (b - a, mean over folds), its 95% interval (low, high),
      t, p and p_holm (Holm 1979, over these pairs). With fewer than two folds all but the difference are None; t is None where
      it is infinite. Pairs without a fold of the same rows are left out.
    """
    pairs: list[dict[str, Any]] = []
    for a, b in itertools.combinations(rows, 2):
        found = compare(a, b, metric)
        if found is None:
            continue
        pair = {"a": a.paper.number, "b": b.paper.number, "metric": metric, "folds": found.folds, "difference": found.mean}
        pair |= dict.fromkeys(("low", "high", "t", "p", "p_holm"))
        if test := found.test:
            pair |= {"low": test.low, "high": test.high, "t": test.t if math.isfinite(test.t) else None, "p": test.p}
        pairs.append(pair)
    tested = [p for p in pairs if p["p"] is not None]
    for pair, corrected in zip(tested, holm([p["p"] for p in tested]), strict=True):
        pair["p_holm"] = corrected
    return pairs


def unit(metric: str) -> str:
    """Of a difference that `signed` shows."""
    return "points" if metric == "accuracy" else "MSE"


def signed(metric: str, difference: float) -> str:
    """A difference in a table's metric as people read it: in points of a per cent, or in mean squared error."""
    return f"{100 * difference:+.2f}" if metric == "accuracy" else f"{difference:+.5f}"


def interval(metric: str, low: float, high: float) -> str:
    """A difference's interval as people read it."""
    return f"{signed(metric, low)} to {signed(metric, high)}"
