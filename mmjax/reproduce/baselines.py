"""Simple models on a run's folds: what anybody would try first, and what a model of ours has to beat.

Each is fitted on a fold's training rows alone, by scikit-learn's defaults where no value is given here, and scored like a run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from mmjax.config import Settings
from mmjax.data.data_report import DataReport
from mmjax.datasets.dataset import Dataset, group_column, leave_out_lacking, open_dataset
from mmjax.datasets.encoders import FoldEncoders, training_labels
from mmjax.datasets.locations import find_files
from mmjax.datasets.splits import load_folds, make_folds
from mmjax.modalities.base import all_modalities
from mmjax.schema import Schema
from mmjax.tasks.classification import Classification
from mmjax.tasks.metrics import classification_metrics

Arrays = dict[str, np.ndarray]
_QUICK = ("majority", "logistic", "boosting")
_ITERATIONS, _QUICK_TREES, _ONE_THREAD = 200, 500, 5000
NAMES = {
    "majority": "largest class",
    "logistic": "logistic regression: words and pieces of words, categories, bins of numbers",
    "boosting": "gradient boosting: table, TF-IDF + SVD, vectors",
    "boosting_entity": "gradient boosting: the same, neighbours, and counts and label frequencies of entities",
}


def run_baselines(
    dataset: Dataset,
    fold_N: Int[np.ndarray, " N"],
    grouped_by: str = "",
    log: Callable[[str], None] = print,
    *,
    most_rows: int = 0,
    most_trees: int = 0,
    only: Sequence[int] = (),
    names: Sequence[str] = tuple(NAMES),
) -> dict[str, dict[int, dict[str, float]]]:
    """Metrics of each baseline by fold.

    Args:
      dataset: opened with the modalities that are to be read; `words` and `linear` bring texts, `tabular` the table.
      fold_N: fold of each row, -1 for rows in none.
      grouped_by: column whose values never straddle two folds, or ''.
      log: prints a line.
      most_rows: training rows of a fold, drawn at random where it has more; 0: all.
      most_trees: of boosting, which grows one a class and iteration; 0: as many as 200 iterations grow.
      only: folds that are held out; (): all.
      names: of the baselines, as in `NAMES`.
    """
    found: dict[str, dict[int, dict[str, float]]] = {}
    ordered = Classification.ordered(dataset)
    for fold in only or range(int(fold_N.max()) + 1):
        rows, test = np.flatnonzero((fold_N >= 0) & (fold_N != fold)), np.flatnonzero(fold_N == fold)
        if 0 < most_rows < len(rows):
            rows = np.sort(np.random.default_rng(fold).choice(rows, most_rows, replace=False))
        encoders = FoldEncoders.fit(dataset, rows, grouped_by)
        arrays = encoders.encode(dataset, labels=training_labels(dataset, rows, grouped_by))
        iterations = _iterations(dataset, most_trees)
        for name, p_nxK in _predictions(arrays, encoders.kinds, dataset, rows, test, iterations, names):
            found.setdefault(name, {})[fold] = classification_metrics(dataset.label[test], p_nxK, ordered)
            log(f"fold {fold}: {NAMES[name]}: accuracy {100 * found[name][fold]['accuracy']:.2f} %")
    return found


def baselines_of_run(
    settings: Settings, schema: Schema, folds: Path, log: Callable[[str], None], *, only: Sequence[int], most_rows: int
) -> dict[str, dict[int, dict[str, float]]]:
    """`run_baselines` on a run's own folds, quickly: they read what simple models read, whatever the run reads.

    Args:
      settings: of the run.
      schema: of its table.
      folds: its folds.csv.
      log: prints a line.
      only: its finished folds.
      most_rows: training rows of a fold.

    Raises:
      MmjaxError: the data are not where they were, or are others.
    """
    there = {m.kind for m in all_modalities(schema, settings.data)}
    read = tuple(kind for kind in (*_PLAIN, "linear") if kind in there) or settings.model.modalities
    data = replace(settings.data, linear_rows=1 << 40, linear_characters=1e18, strict=False)
    group = settings.cv.group
    dataset = open_dataset(data, read, task=settings.task, group=group, report=DataReport(), schema=schema)
    fold_N = load_folds(folds, dataset.table.ids)
    limits = {"most_rows": most_rows, "most_trees": _QUICK_TREES, "only": only, "names": _QUICK}
    return run_baselines(dataset, fold_N, group_column(group, dataset.schema), log, **limits)


def open_for_baselines(settings: Settings, log: Callable[[str], None]) -> tuple[Dataset, Int[np.ndarray, " N"]]:
    """The config's data with those of its modalities that the table has, and its folds."""
    settings = leave_out_lacking(settings, find_files(settings.data).schema, log)
    dataset = open_dataset(settings.data, settings.model.modalities, group=settings.cv.group, report=DataReport(), log=log)
    label_N = np.where(dataset.usable, dataset.label, -1)
    options = {"folds": settings.cv.folds, "seed": settings.cv.seed, "path": str(dataset.table.path)}
    return dataset, make_folds(label_N, group_N=dataset.table.group_N, **options)


def _predictions(
    arrays: Arrays,
    kinds: dict[str, str],
    dataset: Dataset,
    rows: Int[np.ndarray, " n"],
    test: Int[np.ndarray, " t"],
    iterations: int,
    names: Sequence[str],
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
        if kept and name in names and (name == "boosting" or more):
            yield name, _boosted(_matrix(arrays, kept), label_N, classes, rows, test, iterations)


_PLAIN = ("tabular", "words", "vectors")
"""Kinds whose arrays a plain baseline reads: no photos, and nothing that our own model has of its own."""


def _matrix(arrays: Arrays, names: list[str]) -> Float[np.ndarray, "N D"]:
    return np.concatenate([arrays[n].reshape(len(arrays[n]), -1).astype(np.float32) for n in names], axis=1)


def _iterations(dataset: Dataset, most_trees: int) -> int:
    trees = 1 if len(dataset.classes) == 2 else len(dataset.classes)
    return min(_ITERATIONS, max(20, most_trees // trees)) if most_trees else _ITERATIONS


def _boosted(
    matrix: Any, label_N: np.ndarray, classes: int, rows: np.ndarray, test: np.ndarray, iterations: int
) -> Float[np.ndarray, "t K"]:
    p_txK, found = np.full((len(test), classes), 1e-9), np.unique(label_N[rows])
    p_txK[:, found] = 1
    if len(found) > 1:
        model = HistGradientBoostingClassifier(max_iter=iterations, learning_rate=0.05, random_state=0)
        # Few rows have no work for a second thread, which would spin and, on a busy machine, take minutes for seconds.
        with threadpool_limits(1 if len(rows) < _ONE_THREAD else None, user_api="openmp"):
            p_txK[:, found] = model.fit(matrix[rows], label_N[rows]).predict_proba(matrix[test])
    return p_txK / p_txK.sum(axis=1, keepdims=True)
