"""What a report reads of a workdir, read once."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmjax.config import Settings
from mmjax.datasets.splits import FOLDS, read_folds
from mmjax.inference import load_settings
from mmjax.io.metrics_log import MetricsLog
from mmjax.io.results import PREDICTIONS, RUN, read_predictions, read_summary
from mmjax.io.workdir import ENVIRONMENT, SCHEMA, damaged
from mmjax.schema import Schema
from mmjax.tasks.base import Task, phases, task_class


@dataclass(frozen=True)
class RunFiles:
    """A finished run's files.

    Attributes:
      workdir: of the run.
      settings, schema, summary: as recorded.
      predictions: of the held-out rows.
      row_n: row of the table of each prediction.
      rows: of the whole table.
      classes: in the order of the model's.
    """

    workdir: Path
    settings: Settings
    schema: Schema
    summary: Mapping[str, Any]
    predictions: pd.DataFrame
    row_n: np.ndarray
    rows: int
    classes: Sequence[str]

    @classmethod
    def read(cls, workdir: Path) -> "RunFiles":
        """Reads a workdir.

        Raises:
          WorkdirError: it is none, is not finished, or a file is damaged.
        """
        settings, summary = load_settings(workdir), read_summary(workdir)
        ids, fold_N = read_folds(workdir / FOLDS)
        predictions = read_predictions(workdir, task_class(phases(settings)[-1]).detail_columns)
        row_n = np.flatnonzero(np.isin(fold_N, [int(fold) for fold in summary["by_fold"]]))
        if len(row_n) != len(predictions) or [ids[i] for i in row_n] != predictions["id"].tolist():
            raise damaged(workdir / PREDICTIONS, "its rows are not those of folds.csv", "run the same training command again")
        classes = [str(name) for name in _json(workdir / "spec.json", {}).get("classes", ())]
        return cls(workdir, settings, Schema.load(workdir / SCHEMA), summary, predictions, row_n, len(ids), classes)

    @property
    def task(self) -> type[Task]:
        """The task whose predictions these are."""
        return task_class(phases(self.settings)[-1])

    @property
    def name(self) -> str:
        """Of the data set: the table's file, if a person named one."""
        return Path(self.settings.data.table).name or str(self.summary["dataset"])

    @property
    def metric(self) -> str:
        """The metric that people compare first."""
        return self.task.primary if self.task.primary in self.summary["mean"] else next(iter(self.summary["mean"]))

    @property
    def folds(self) -> list[int]:
        """Those that are finished."""
        return [int(fold) for fold in self.summary["by_fold"]]

    @cached_property
    def sessions(self) -> list[dict[str, Any]]:
        """What each session ran on."""
        return _json(self.workdir / ENVIRONMENT, [])

    @cached_property
    def run(self) -> dict[str, Any]:
        """run.json: what it took; of an older run nothing is known."""
        return _json(self.workdir / RUN, {})

    @cached_property
    def problems(self) -> dict[str, Any]:
        """data_report.json."""
        return _json(self.workdir / "data_report.json", {})

    def events(self) -> dict[str, list[dict[str, Any]]]:
        """The epochs of each phase, by its title."""
        found: dict[str, list[dict[str, Any]]] = {}
        for event in MetricsLog(self.workdir, tensorboard=False).events():
            found.setdefault(str(event["phase"]), []).append(event)
        named = {name: task_class(name).title(self.settings) for name in phases(self.settings)}
        return {named.get(name, name): events for name, events in found.items()}


def _json(file: Path, default: Any) -> Any:
    """The content of a file that only tells: where it is missing or damaged, the report says less."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, type(default)):
            return content
    return default
