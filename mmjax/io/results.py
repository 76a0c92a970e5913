"""What a run leaves for people: held-out predictions, done.json by fold, summary.json, the closing table."""

import contextlib
import csv
import io
import json
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from mmjax import registry
from mmjax.config import Settings
from mmjax.datasets.dataset import Dataset
from mmjax.datasets.splits import load_folds
from mmjax.errors import WorkdirError
from mmjax.io.workdir import atomic_write_json, atomic_write_text
from mmjax.tasks import metrics
from mmjax.tasks.base import Task
from mmjax.train.fold_data import FoldRows

DONE, SUMMARY, PREDICTIONS = "done.json", "summary.json", "predictions.csv"

CLOSING = {"accuracy": "accuracy %", "qwk": "QWK", "macro_f1": "macro-F1", "log_loss": "log loss"}
"""Metrics of the closing table and their titles."""


def write_fold(
    workdir: Path, task: Task, dataset: Dataset, fold: FoldRows, out: dict[str, np.ndarray], meta: dict[str, Any]
) -> None:
    """Writes a finished fold's predictions.csv, then done.json."""
    rows, folder = fold.test_rows, workdir / f"fold_{fold.number}"
    label_N = dataset.label[rows]
    columns = {"id": dataset.table.ids[rows], "fold": fold.number} | task.prediction_columns(label_N, out)
    atomic_write_text(folder / PREDICTIONS, pd.DataFrame(columns).to_csv(index=False))
    done = {"fold": fold.number, "rows": len(rows), **meta, "metrics": task.metrics(label_N, out)}
    atomic_write_json(folder / DONE, done)


def finished(workdir: Path, folds: int) -> dict[int, dict[str, Any]]:
    """done.json of every finished fold.

    Raises:
      WorkdirError: one is damaged.
    """
    files = {f: workdir / f"fold_{f}" / DONE for f in range(folds)}
    return {f: _read_done(file) for f, file in files.items() if file.exists()}


def _read_done(file: Path) -> dict[str, Any]:
    try:
        done = json.loads(file.read_text(encoding="utf-8"))
        numbers = [done["rows"], *done["metrics"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(file, f"{type(error).__name__}: {error}") from error
    if len(numbers) < 2 or not all(isinstance(number, int | float) for number in numbers):
        raise _damaged(file, "it has no rows and metrics")
    return done


def _damaged(file: Path, why: str) -> WorkdirError:
    return WorkdirError(
        f"{file} is damaged ({why}); delete it and run the same `mmjax train` command again, which predicts the fold's rows "
        "anew."
    )


def summarise_run(settings: Settings, workdir: Path, dataset: Dataset) -> dict[str, Any]:
    """Joins the finished folds into predictions.csv (in the table's order) and summary.json, and returns the summary."""
    done = finished(workdir, settings.cv.folds)
    fold_N = load_folds(workdir / "folds.csv", dataset.table.ids)
    joined = [(f, name) for f, name in zip(fold_N.tolist(), dataset.table.ids.tolist(), strict=True) if f in done]
    atomic_write_text(workdir / PREDICTIONS, _joined(workdir, joined))
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
    summary |= registry.tasks()[settings.task].summary(dataset, fold_N, list(done))
    atomic_write_json(workdir / SUMMARY, summary)
    return summary


def _joined(workdir: Path, rows: Sequence[tuple[int, str]]) -> str:
    """The folds' predictions as one table: line by line, since a million rows of parsed text would take a gigabyte.

    By row, not by id: where two rows have one id, neither may take the other's place.

    Args:
      workdir: holds fold_K/predictions.csv, each in the table's order.
      rows: fold and id of each row, in the table's order.

    Raises:
      WorkdirError: a file is missing or damaged.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    counts = Counter(f for f, _ in rows)
    with contextlib.ExitStack() as stack:
        lines = {f: stack.enter_context(contextlib.closing(_lines(workdir, f, counts[f]))) for f in sorted(counts)}
        headers = [next(parts) for parts in lines.values()]
        writer.writerow(headers[0])
        for f, name in rows:
            line = next(lines[f])
            if line[0] != str(name):
                raise _damaged(workdir / f"fold_{f}" / PREDICTIONS, f"it has {line[0]!r} in the place of {str(name)!r}")
            writer.writerow(line)
        for parts in lines.values():  # none has a row too many
            next(parts, None)
    return out.getvalue()


def _lines(workdir: Path, fold: int, rows: int) -> Generator[list[str], None, None]:
    """Header and rows of a fold's predictions, as many as there must be."""
    file, found = workdir / f"fold_{fold}" / PREDICTIONS, 0
    try:
        with file.open(newline="", encoding="utf-8") as content:
            reader = csv.reader(content)
            header = next(reader, [])
            if header[:2] != ["id", "fold"]:
                raise _damaged(file, "it has no header")
            yield header
            for found, line in enumerate(reader, 1):
                if len(line) != len(header):
                    raise _damaged(file, f"row {found} has {len(line)} columns instead of {len(header)}")
                if found > rows:
                    raise _damaged(file, f"it has more than the fold's {rows} rows")
                yield line
    except (OSError, ValueError, csv.Error) as error:
        raise _damaged(file, str(error)) from error
    if found != rows:
        raise _damaged(file, f"it has {found} rows instead of {rows}")


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """The closing table: a row a fold, then mean ± standard deviation, beside what needs no model, and the ceiling if known."""
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
    for key, title in (("most_frequent_class", "largest class"), ("ceiling", "best possible")):
        if key in summary:
            table.add_row(title, metrics.show("accuracy", summary[key]), *([""] * (len(names) - 1)))
    (console or Console()).print(table)
    if "ceiling" in summary:
        share = summary["mean"]["accuracy"] / summary["ceiling"]
        (console or Console()).print(f"{100 * share:.1f} % of the best accuracy any model can reach on these modalities.")
