"""Metrics of a classifier, of any task over folds, and as people read them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from sklearn.metrics import cohen_kappa_score, f1_score, log_loss

from mmjax import registry
from mmjax.errors import DataError, NonFiniteError


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


def classification_metrics(
    label_N: Int[np.ndarray, " N"], p_NxK: Float[np.ndarray, "N K"], ordered: bool = True
) -> dict[str, float]:
    """Accuracy, quadratic weighted kappa, macro-F1 and log loss over all K classes.

    Args:
      label_N: class index of every row; rows with -1 (no label, or one unseen in training) are not counted.
      p_NxK: class probabilities; the prediction is the most probable class, the first of equals.
      ordered: whether the classes have an order.

    Returns:
      accuracy: fraction of rows predicted right.
      balanced_accuracy: mean of the shares of each class that are predicted right; in place of qwk where there is no order.
      qwk: Cohen's kappa with weights (i - j)^2 (Cohen 1968); 0 where labels and predictions are all one and the same class,
        which shows no agreement beyond chance.
      macro_f1: mean of the F1 of all K classes; a class neither labelled nor predicted counts 0.
      log_loss: mean of -log p[label] in nats, p clipped to float64's resolution.

    Raises:
      DataError: no row has a label.
      NonFiniteError: a probability is not finite.
    """
    counted = label_N >= 0
    label_N, p_NxK = label_N[counted], np.asarray(p_NxK, np.float64)[counted]
    if not len(label_N):
        raise DataError("No row has a label among the model's classes, so there is nothing to score; check the label column.")
    if not np.isfinite(p_NxK).all():
        bad = int((~np.isfinite(p_NxK)).any(axis=1).sum())
        raise NonFiniteError(f"{bad} of {len(label_N)} predictions are not finite numbers; the model did not train.")
    prediction_N = p_NxK.argmax(axis=1)
    p_NxK = p_NxK / p_NxK.sum(axis=1, keepdims=True)
    return {
        "accuracy": float(np.mean(prediction_N == label_N)),
        **(
            {"qwk": quadratic_weighted_kappa(label_N, prediction_N, p_NxK.shape[1])}
            if ordered
            else {"balanced_accuracy": float(np.mean([np.mean(prediction_N[label_N == k] == k) for k in np.unique(label_N)]))}
        ),
        "macro_f1": _macro_f1(label_N, prediction_N, p_NxK.shape[1]),
        "log_loss": float(log_loss(label_N, p_NxK, labels=np.arange(p_NxK.shape[1]))),
    }


def quadratic_weighted_kappa(label_N: Int[np.ndarray, " N"], prediction_N: Int[np.ndarray, " N"], classes: int) -> float:
    """Cohen's kappa, weights (i - j)^2; 0 where it is 0/0."""
    # One class alone on both sides: nothing observed, nothing expected, 0/0.
    if len(np.union1d(label_N, prediction_N)) == 1:
        return 0.0
    return float(cohen_kappa_score(label_N, prediction_N, labels=np.arange(classes), weights="quadratic"))


def _macro_f1(label_N: Int[np.ndarray, " N"], prediction_N: Int[np.ndarray, " N"], classes: int) -> float:
    return float(f1_score(label_N, prediction_N, labels=np.arange(classes), average="macro", zero_division=0.0))  # type: ignore[arg-type]
