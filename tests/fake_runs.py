"""Finished workdirs that nothing was trained for: as many classes and rows as a page must bear."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from mmjax.configs import get_config
from mmjax.datasets.splits import save_folds
from mmjax.io.workdir import VERSION
from mmjax.tasks.class_parts import by_class
from mmjax.tasks.metrics import classification_metrics, summarise

FOLDS = 5


def fake_run(
    workdir: Path,
    *,
    classes: int | Sequence[str] = 5,
    rows: int = 300,
    seed: int = 0,
    skill: float = 2.0,
    text: str = "a text about",
    column: str = "colour",
    photo: str = "",
    epochs: int = 12,
) -> Path:
    """Writes a table and the files of a run on it.

    Args:
      workdir: made; the table lies in its folder `table`.
      classes: how many, or their names.
      rows: of the table.
      seed: of everything that is drawn.
      skill: how much the model knows; 0: nothing.
      text: how each text begins.
      column: name of the column of categories.
      photo: name of the one photo that all rows have.
      epochs: in metrics.jsonl.
    """
    names = [f"class {k}" for k in range(classes)] if isinstance(classes, int) else list(classes)
    draw, count = np.random.default_rng(seed), len(names)
    share_K = np.sort(draw.dirichlet(np.full(count, 3.0)))[::-1]
    label_N = draw.choice(count, rows, p=share_K)
    logits_NxK = draw.normal(size=(rows, count)).astype(np.float32) + skill * (np.arange(count) == label_N[:, None])
    p_NxK = np.exp(1.3 * logits_NxK)
    p_NxK /= p_NxK.sum(axis=1, keepdims=True)
    fold_N, ids = np.arange(rows) % FOLDS, np.array([f"r{i}" for i in range(rows)], object)
    table = workdir / "table"
    table.mkdir(parents=True)
    _write_table(table / "rows.csv", ids, [names[k] for k in label_N], text, column, photo)
    if photo:
        Image.fromarray(draw.integers(0, 255, (60, 90, 3), np.uint8)).save(table / photo, "PNG")
    name_K = np.array(names, object)
    columns: dict[str, Any] = {"id": ids, "fold": fold_N, "label": name_K[label_N], "prediction": name_K[p_NxK.argmax(axis=1)]}
    predictions = pd.DataFrame(columns | {f"p_{name}": p_NxK[:, k] for k, name in enumerate(names)})
    predictions.to_csv(workdir / "predictions.csv", index=False, float_format="%.6g")
    save_folds(workdir / "folds.csv", ids, fold_N)
    _write_records(workdir, names, table, column, photo)
    done = {f: classification_metrics(label_N[fold_N == f], p_NxK[fold_N == f]) for f in range(FOLDS)}
    summary = {
        "title": "attention",
        "dataset": "table",
        "task": "classifier",
        "modalities": ["tabular", "text", *(["image"] if photo else [])],
        "folds_finished": FOLDS,
        "folds": FOLDS,
        "rows": rows,
        "by_fold": {str(f): {"rows": int(np.sum(fold_N == f)), "metrics": m} for f, m in done.items()},
        **summarise(list(done.values())),
        "by_class": by_class(predictions, names),
    }
    _write_json(workdir / "summary.json", summary)
    _write_metrics(workdir / "metrics.jsonl", epochs, draw)
    return workdir


def _write_table(file: Path, ids: np.ndarray, labels: Sequence[str], text: str, column: str, photo: str) -> None:
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "label", column, "size", "note", "photo"])
        for i, (name, label) in enumerate(zip(ids, labels, strict=True)):
            note = f"{text} row {i}, which has a note that is a good deal longer than a cell of a table usually is"
            writer.writerow([name, label, "red" if i % 3 else "blue", i % 17, note, photo])


def _write_records(workdir: Path, names: Sequence[str], table: Path, column: str, photo: str) -> None:
    schema = f"id = 'id'\nlabel = 'label'\ncategorical = [{json.dumps(column)}]\ncontinuous = ['size']\ntext = 'note'\n"
    (workdir / "schema.toml").write_text(schema + ("image = 'photo'\n" if photo else ""), encoding="utf-8")
    kinds = ("tabular", "text", "image") if photo else ("tabular", "text")
    places = {"data.root": str(table), "data.table": "rows.csv", "data.schema": str(workdir / "schema.toml")}
    settings = get_config("attention:table", {**places, "model.modalities": kinds})
    _write_json(workdir / "config.json", {"version": VERSION, **settings.record()})
    _write_json(workdir / "spec.json", {"modalities": kinds, "classes": names, "kinds": {}, "sizes": {}})
    problem = {"file": str(table / "rows.csv"), "row": 3, "column": column, "value": names[0], "action": "kept"}
    _write_json(workdir / "data_report.json", {"counts": {"text_absent": 12}, "entries": {"text_absent": [problem]}})
    session: dict[str, Any] = {"date": "2026-11-30 08:00:00 UTC", "argv": ["mmjax", "train"], "python": "3.13"}
    session |= {"platform": "Linux", "cpu_count": 2}
    session |= {"backend": "cpu", "device": "cpu", "device_count": 1, "versions": {"mmjax": "0.2.0", "jax": "0.11.2"}}
    _write_json(workdir / "environment.json", [session])
    _write_json(workdir / "run.json", {"seconds": 3723.0, "peak_memory_bytes": 3 * 2**30, "versions": {}})


def _write_metrics(file: Path, epochs: int, draw: np.random.Generator) -> None:
    lines = []
    for fold in range(FOLDS):
        for epoch in range(1, epochs + 1):
            loss = 1.6 * np.exp(-epoch / 6) + draw.normal(0, 0.02)
            values = {"train": {"loss": loss, "accuracy": 1 - loss / 2}}
            values["valid"] = {"loss": loss + 0.02 * epoch, "accuracy": 0.9 - loss / 2}
            lines.append(json.dumps({"fold": fold, "phase": "classifier", "epoch": epoch, "step": epoch, **values}))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value), encoding="utf-8")
