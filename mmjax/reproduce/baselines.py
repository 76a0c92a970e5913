"""Simple models on a run's folds: what anybody would try first, and what a model of ours has to beat.

Each is fitted on a fold's training rows alone, by scikit-learn's defaults where no value is given here, and scored like a run.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.ensemble import HistGradientBoostingClassifier

from mmjax.config import Settings
from mmjax.data.data_report import DataReport
from mmjax.datasets.dataset import Dataset, leave_out_lacking, open_dataset
from mmjax.datasets.encoders import FoldEncoders, training_labels
from mmjax.datasets.locations import find_files
from mmjax.datasets.splits import make_folds
from mmjax.tasks.classification import Classification
from mmjax.tasks.metrics import classification_metrics

Arrays = dict[str, np.ndarray]
NAMES = {
    "majority": "largest class",
    "logistic": "logistic regression: words and pieces of words, categories, bins of numbers",
    "boosting": "gradient boosting: table, TF-IDF + SVD, vectors",
    "boosting_entity": "gradient boosting: the same, neighbours, and counts and label frequencies of entities",
}


def run_baselines(
    dataset: Dataset, fold_N: Int[np.ndarray, " N"], group_column: str = "", log: Callable[[str], None] = print
) -> dict[str, dict[int, dict[str, float]]]:
    """Metrics of each baseline by fold.

    Args:
      dataset: opened with the modalities that are to be read; `words` and `linear` bring texts, `tabular` the table.
      fold_N: fold of each row, -1 for rows in none.
      group_column: column whose values never straddle two folds, or ''.
      log: prints a line.
    """
    found: dict[str, dict[int, dict[str, float]]] = {}
    ordered = Classification.ordered(dataset)
    for fold in range(int(fold_N.max()) + 1):
        rows, test = np.flatnonzero((fold_N >= 0) & (fold_N != fold)), np.flatnonzero(fold_N == fold)
        encoders = FoldEncoders.fit(dataset, rows, group_column)
        arrays = encoders.encode(dataset, labels=training_labels(dataset, rows, group_column))
        for name, p_nxK in _predictions(arrays, encoders.kinds, dataset, rows, test):
            found.setdefault(name, {})[fold] = classification_metrics(dataset.label[test], p_nxK, ordered)
            log(f"fold {fold}: {NAMES[name]}: accuracy {100 * found[name][fold]['accuracy']:.2f} %")
    return found


def open_for_baselines(settings: Settings, log: Callable[[str], None]) -> tuple[Dataset, Int[np.ndarray, " N"]]:
    """The config's data with those of its modalities that the table has, and its folds."""
    settings = leave_out_lacking(settings, find_files(settings.data).schema, log)
    dataset = open_dataset(settings.data, settings.model.modalities, group=settings.cv.group, report=DataReport(), log=log)
    label_N = np.where(dataset.usable, dataset.label, -1)
    options = {"folds": settings.cv.folds, "seed": settings.cv.seed, "path": str(dataset.table.path)}
    return dataset, make_folds(label_N, group_N=dataset.table.group_N, **options)


def _predictions(
    arrays: Arrays, kinds: dict[str, str], dataset: Dataset, rows: Int[np.ndarray, " n"], test: Int[np.ndarray, " t"]
) -> Iterator[tuple[str, Float[np.ndarray, "t K"]]]:
    label_N, classes = dataset.label, len(dataset.classes)
    counts = np.bincount(label_N[rows], minlength=classes)
    yield "majority", np.tile(counts / counts.sum(), (len(test), 1))
    if "linear/score" in arrays:
        yield "logistic", np.exp(arrays["linear/score"][test].astype(np.float64))
    kind_of = {name: kinds.get(name.split("/")[0], "") for name in arrays}  # several of a kind are named by column or file
    more = [name for name, kind in kind_of.items() if kind == "entity" or name == "words/neighbour"]
    plain = [name for name, kind in kind_of.items() if kind in _PLAIN and name not in more]
    for name, kept in (("boosting", plain), ("boosting_entity", [*plain, *more])):
        if kept and (name == "boosting" or more):
            yield name, _boosted(_matrix(arrays, kept), label_N, classes, rows, test)


_PLAIN = ("tabular", "words", "vectors")
"""Kinds whose arrays a plain baseline reads: no photos, and nothing that our own model has of its own."""


def _matrix(arrays: Arrays, names: list[str]) -> Float[np.ndarray, "N D"]:
    return np.concatenate([arrays[n].reshape(len(arrays[n]), -1).astype(np.float32) for n in names], axis=1)


def _boosted(matrix: Any, label_N: np.ndarray, classes: int, rows: np.ndarray, test: np.ndarray) -> Float[np.ndarray, "t K"]:
    p_txK, found = np.full((len(test), classes), 1e-9), np.unique(label_N[rows])
    p_txK[:, found] = 1
    if len(found) > 1:
        model = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.05, random_state=0)
        p_txK[:, found] = model.fit(matrix[rows], label_N[rows]).predict_proba(matrix[test])
    return p_txK / p_txK.sum(axis=1, keepdims=True)
