"""Metrics over folds, and as people read them."""

from collections.abc import Sequence

import numpy as np

from mmjax import registry


def summarise(folds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each metric over folds.

    The deviation is the population's (NumPy's default, ddof 0). Our reading: the paper does not say which it prints.

    Returns:
      {"mean": {metric: value}, "std": {metric: value}}.
    """
    names = [name for name in folds[0] if all(name in fold for fold in folds)]  # of another version a fold may have others
    values = {name: np.array([fold[name] for fold in folds], np.float64) for name in names}
    return {
        "mean": {name: float(v.mean()) for name, v in values.items()},
        "std": {name: float(v.std()) for name, v in values.items()},
    }


def show(name: str, value: float, std: float | None = None) -> str:
    """A metric as people read it: in percent with two decimals if its task says so, else with four; "36.73 ± 0.61"."""
    percent = any(name in task.percent for task in registry.tasks().values())
    scale, decimals = (100.0, 2) if percent else (1.0, 4)
    shown = f"{scale * value:.{decimals}f}"
    return shown if std is None else f"{shown} ± {scale * std:.{decimals}f}"


def title(name: str) -> str:
    """A metric's name for people."""
    return next((task.titles[name] for task in registry.tasks().values() if name in task.titles), name)
