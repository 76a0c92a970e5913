"""What a run leaves for people: held-out predictions, done.json by fold, summary.json, the closing table."""

import contextlib
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from mmjax.data.dataset import Dataset
from mmjax.data.folds import load_folds
from mmjax.data.planted import ceiling
from mmjax.settings import Settings
from mmjax.train import metrics
from mmjax.train.folds import FoldRows
from mmjax.train.workdir import atomic_write_json, atomic_write_text

DONE, SUMMARY, PREDICTIONS = "done.json", "summary.json", "predictions.csv"

CLOSING = {"accuracy": "accuracy %", "qwk": "QWK", "macro_f1": "macro-F1", "log_loss": "log loss"}
"""Metrics of the closing table and their titles."""


def probabilities(logits_NxK: np.ndarray) -> np.ndarray:
    """Softmax in float64 (paper, equation 11)."""
    shifted = logits_NxK.astype(np.float64) - logits_NxK.max(axis=1, keepdims=True)
    exponent = np.exp(shifted)
    return exponent / exponent.sum(axis=1, keepdims=True)


def fold_metrics(settings: Settings, dataset: Dataset, fold: FoldRows, out: dict[str, np.ndarray]) -> dict[str, float]:
    """Held-out metrics of a fold from `sweep`'s outputs of its test rows, each row counted once.

    Returns:
      For a classifier accuracy, qwk, macro_f1, log_loss; for an autoencoder mse_<modality> over the values that count.
    """
    if settings.task == "autoencoder":
        names = [n.removeprefix("error_") for n in out if n.startswith("error_")]
        return {
            f"mse_{n}": float(out[f"error_{n}"].sum(dtype=np.float64) / out[f"count_{n}"].sum(dtype=np.float64)) for n in names
        }
    return metrics.classification(dataset.label[fold.test_rows], probabilities(out["logits"]))


def write_fold(
    workdir: Path, settings: Settings, dataset: Dataset, fold: FoldRows, out: dict[str, np.ndarray], meta: dict[str, Any]
) -> None:
    """Writes a finished fold's predictions.csv, then done.json."""
    rows, folder = fold.test_rows, workdir / f"fold_{fold.number}"
    columns: dict[str, Any] = {"id": dataset.table.ids[rows], "fold": fold.number}
    spec = fold.encoders.spec
    if settings.task == "classifier":
        p_NxK = probabilities(out["logits"])
        names = np.array(spec.classes, dtype=object)
        columns |= {"label": names[dataset.label[rows]], "prediction": names[p_NxK.argmax(axis=1)]}
        columns |= {f"p_{name}": _digits(p_NxK[:, k]) for k, name in enumerate(spec.classes)}
        columns |= {f"attention_{name}": _digits(out["attention"][:, m]) for m, name in enumerate(spec.modalities)}
    else:
        for name in spec.modalities:
            count = np.maximum(out[f"count_{name}"].astype(np.float64), 1.0)
            columns[f"mse_{name}"] = _digits(out[f"error_{name}"] / count)
    atomic_write_text(folder / PREDICTIONS, pd.DataFrame(columns).to_csv(index=False))
    done = {"fold": fold.number, "rows": len(rows), **meta, "metrics": fold_metrics(settings, dataset, fold, out)}
    atomic_write_json(folder / DONE, done)


def _digits(value_N: np.ndarray) -> list[str]:
    """Nine significant digits, a float32's; pandas' `float_format` takes six times as long."""
    return [f"{value:.9g}" for value in value_N.tolist()]


def finished(workdir: Path, folds: int) -> dict[int, dict[str, Any]]:
    """done.json of every finished fold."""
    files = {f: workdir / f"fold_{f}" / DONE for f in range(folds)}
    return {f: json.loads(file.read_text()) for f, file in files.items() if file.exists()}


def summarise_run(settings: Settings, workdir: Path, dataset: Dataset) -> dict[str, Any]:
    """Joins the finished folds into predictions.csv (in the table's order) and summary.json, and returns the summary."""
    done = finished(workdir, settings.cv.folds)
    fold_N = load_folds(workdir / "folds.csv", dataset.table.ids)
    atomic_write_text(workdir / PREDICTIONS, _joined(workdir, [f for f in fold_N.tolist() if f in done]))
    by_fold = {f: d["metrics"] for f, d in done.items()}
    summary = {
        "dataset": dataset.name,
        "task": settings.task,
        "modalities": list(settings.model.modalities),
        "fusion": settings.model.fusion,
        "autoencoder": settings.model.autoencoder.kind,
        "folds_finished": len(done),
        "folds": settings.cv.folds,
        "rows": int(sum(d["rows"] for d in done.values())),
        "by_fold": {str(f): {k: v for k, v in d.items() if k != "fold"} for f, d in done.items()},
        **metrics.summarise(list(by_fold.values())),
    }
    if dataset.name == "planted" and settings.task == "classifier":
        summary["ceiling"] = ceiling(settings.model.modalities)
    atomic_write_json(workdir / SUMMARY, summary)
    return summary


def _joined(workdir: Path, folds: Sequence[int]) -> str:
    """The folds' predictions as one table: line by line, since a million rows of parsed text would take a gigabyte.

    By row, not by id: where two rows have one id, neither may take the other's place.

    Args:
      workdir: holds fold_K/predictions.csv, each in the table's order.
      folds: fold of each row, in the table's order.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    with contextlib.ExitStack() as stack:
        files = {f: (workdir / f"fold_{f}" / PREDICTIONS).open(newline="", encoding="utf-8") for f in set(folds)}
        readers = {f: csv.reader(stack.enter_context(file)) for f, file in files.items()}
        headers = [next(reader) for reader in readers.values()]
        writer.writerow(headers[0])
        writer.writerows(next(readers[f]) for f in folds)
    return out.getvalue()


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """The closing table: a row a fold, then mean ± standard deviation, next to the ceiling where it is known."""
    names = [n for n in CLOSING if n in summary["mean"]] or list(summary["mean"])
    table = Table(
        title=f"{summary['dataset']}: {'+'.join(summary['modalities'])}, {summary['folds_finished']} folds, held-out rows"
    )
    table.add_column("fold")
    for name in names:
        table.add_column(CLOSING.get(name, name), justify="right")
    for fold, done in summary["by_fold"].items():
        table.add_row(fold, *(metrics.show(name, done["metrics"][name]) for name in names))
    table.add_section()
    table.add_row("mean ± std", *(metrics.show(name, summary["mean"][name], summary["std"][name]) for name in names))
    if "ceiling" in summary:
        table.add_row("best possible", metrics.show("accuracy", summary["ceiling"]), *([""] * (len(names) - 1)))
    (console or Console()).print(table)
    if "ceiling" in summary:
        share = summary["mean"]["accuracy"] / summary["ceiling"]
        (console or Console()).print(f"{100 * share:.1f} % of the best accuracy any model can reach on these modalities.")
