"""Several runs on the same folds, side by side: means, and differences to the first with a test that knows folds share rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmjax.datasets.splits import FOLDS, read_folds
from mmjax.errors import ConfigError, WorkdirError
from mmjax.inference import load_settings
from mmjax.io.atomic import write_text
from mmjax.io.environment import short_versions
from mmjax.io.results import read_summary
from mmjax.report.contents import AnyPart, Note, Page, Section
from mmjax.report.plots import Scored, dots
from mmjax.report.writer import render
from mmjax.reproduce.statistics import Comparison, corrected_resampled_t_test, holm
from mmjax.tasks import metrics
from mmjax.tasks.parts import ValueTable
from mmjax.train.cross_validation import repeat_folders

TEST = (
    "The difference is to the first run, fold by fold. Corrected resampled t-test (Nadeau and Bengio 2003), two-sided, since "
    "folds share training rows; the last column is Holm's correction over the runs that are compared with the first."
)


@dataclass(frozen=True)
class Run:
    """A run that is compared.

    Attributes:
      name: its workdir, as given.
      title: what was trained.
      scores: by metric, then by repeat and fold.
      ids: of its table.
      fold_RxN: fold of each row, by repeat.
      folds: of one repeat.
    """

    name: str
    title: str
    scores: Mapping[str, Mapping[tuple[int, str], float]]
    ids: Sequence[str]
    fold_RxN: np.ndarray
    folds: int


@dataclass(frozen=True)
class Line:
    """A run's metric: mean and deviation over folds, and its difference to the first run's, None for that one."""

    metric: str
    run: Run
    mean: float
    std: float
    test: Comparison | None = None
    p_holm: float | None = None


def compare(workdirs: Sequence[str | Path]) -> pd.DataFrame:
    """Runs on the same folds, a line a metric and run.

    Args:
      workdirs: of finished runs; the first is what the others are compared with.

    Returns:
      A table indexed by metric and workdir: title, mean, std, difference, low and high (its 95 % interval), p, p_holm, folds.

    Raises:
      ConfigError: fewer than two workdirs.
      WorkdirError: one is not finished, or they differ in rows or folds.
    """
    lines = compare_runs(workdirs)
    rows = [
        {
            "metric": line.metric,
            "workdir": line.run.name,
            "title": line.run.title,
            "mean": line.mean,
            "std": line.std,
            "difference": line.test.difference if line.test else np.nan,
            "low": line.test.low if line.test else np.nan,
            "high": line.test.high if line.test else np.nan,
            "p": line.test.p if line.test else np.nan,
            "p_holm": np.nan if line.p_holm is None else line.p_holm,
            "folds": len(line.run.scores[line.metric]),
        }
        for line in lines
    ]
    return pd.DataFrame(rows).set_index(["metric", "workdir"])


def compare_runs(workdirs: Sequence[str | Path]) -> list[Line]:
    """What `compare` shows, metric by metric.

    Raises:
      ConfigError, WorkdirError: as `compare`.
    """
    if len(workdirs) < 2:
        raise ConfigError("a comparison needs at least two workdirs; name them one after the other.")
    first, *others = runs = [_read(Path(workdir)) for workdir in workdirs]
    for other in others:
        _check_same(first, other)
    names = [name for name in first.scores if all(name in run.scores for run in others)]
    if not names:
        raise WorkdirError(f"{first.name} and {others[0].name} have no metric in common; compare runs of one task.")
    return [line for name in names for line in _lines(name, runs)]


def table(lines: Sequence[Line]) -> ValueTable:
    """As people read it, the name of a metric once."""
    rows: list[list[str]] = []
    for line in lines:
        name, first = line.metric, line.test is None
        head = [metrics.title(name) if first else "", line.run.name, metrics.show(name, line.mean, line.std)]
        if (test := line.test) is None or line.p_holm is None:
            rows.append([*head, "", "", "", ""])
            continue
        interval = f"{_signed(name, test.low)} to {_signed(name, test.high)}"
        rows.append([*head, _signed(name, test.difference), interval, _p(test.p), _p(line.p_holm)])
    head = ("metric", "run", "mean ± std", "difference", "95 % interval", "p", "p (Holm)")
    return ValueTable("", TEST, head, rows, (0, 1), 200, [i for i, line in enumerate(lines) if line.test is None])


def write_page(lines: Sequence[Line], out: Path) -> None:
    """The comparison as a page like report.html.

    Raises:
      WorkdirError: the file cannot be written.
    """
    runs = list({line.run.name: line.run for line in lines}.values())
    plots: list[AnyPart] = []
    for name in dict.fromkeys(line.metric for line in lines):
        scale = 100.0 if metrics.title(name).endswith("%") else 1.0
        scored = [Scored(run.name, [scale * v for v in run.scores[name].values()], run is runs[0]) for run in runs]
        plots.append(dots(scored, metrics.title(name), "A dot is a fold, the stroke the mean.", metrics.title(name)))
    named = [[run.name, run.title, str(len(_first(run)))] for run in runs]
    what = ValueTable("", "", ("run", "what was trained", "folds"), named, (0, 1))
    sections = [
        Section("runs", "The runs", [Note(f"{len(runs[0].ids):,} rows, the same folds in every run."), what]),
        Section("scores", "Scores on held-out rows", [table(lines)]),
        Section("plots", "By fold", plots),
    ]
    title = f"{len(runs)} runs compared"
    footer = f"Written by mmjax {short_versions()['mmjax']}."
    write_text(out, render(Page(title, " · ".join(run.name for run in runs), sections, footer)))


def _read(workdir: Path) -> Run:
    summary, settings = read_summary(workdir), load_settings(workdir)
    ids, _ = read_folds(workdir / FOLDS)
    repeats: list[dict[str, Any]] = summary["repeats"]["by_fold"] if "repeats" in summary else [summary["by_fold"]]
    done = {(r, f): fold["metrics"] for r, folds in enumerate(repeats) for f, fold in folds.items()}
    scores = {name: {key: float(found[name]) for key, found in done.items()} for name in summary["mean"]}
    fold_RxN = np.stack([read_folds(folder / FOLDS)[1] for folder in repeat_folders(workdir, len(repeats))])
    return Run(str(workdir), str(summary["title"]), scores, ids, fold_RxN, settings.cv.folds)


def _check_same(a: Run, b: Run) -> None:
    """Refuses runs whose folds cannot be paired, and says what differs."""
    both = f"{a.name} and {b.name} cannot be compared"
    if len(a.ids) != len(b.ids):
        raise WorkdirError(f"{both}: they have {len(a.ids)} and {len(b.ids)} rows; compare runs on one table.")
    differ = [row for row, (x, y) in enumerate(zip(a.ids, b.ids, strict=True)) if x != y]
    if differ:
        row = differ[0]
        raise WorkdirError(
            f"{both}: row {row + 1} is {a.ids[row]!r} in one, {b.ids[row]!r} in the other; compare runs on one table."
        )
    shared = min(len(a.fold_RxN), len(b.fold_RxN))  # where one has more repeats, that is said below
    if other := int(np.any(a.fold_RxN[:shared] != b.fold_RxN[:shared], axis=0).sum()):
        raise WorkdirError(
            f"{both}: {other} of {len(a.ids)} rows are in other folds; use the same cv.folds, cv.seed and cv.group."
        )
    if _first(a).keys() != _first(b).keys():
        only = sorted(_first(a).keys() ^ _first(b).keys())[0]
        raise WorkdirError(f"{both}: repeat {only[0] + 1}, fold {only[1]} is finished in one of them alone; train it in both.")


def _lines(name: str, runs: Sequence[Run]) -> list[Line]:
    keys, first = list(_first(runs[0])), runs[0]
    held_out = np.count_nonzero(first.fold_RxN[0] >= 0) / first.folds
    rows = {"test_rows": held_out, "train_rows": held_out * (first.folds - 1)}
    values = [[run.scores[name][key] for key in keys] for run in runs]
    tests = [corrected_resampled_t_test(own, values[0], **rows) if len(keys) > 1 else None for own in values[1:]]
    corrected = iter(holm([test.p for test in tests if test]))
    means = [(float(np.mean(own)), float(np.std(own))) for own in values]
    lines = [Line(name, first, *means[0])]
    for run, mean, test in zip(runs[1:], means[1:], tests, strict=True):
        lines.append(Line(name, run, *mean, test, next(corrected) if test else None))
    return lines


def _first(run: Run) -> Mapping[tuple[int, str], float]:
    return next(iter(run.scores.values()), {})


def _signed(name: str, value: float) -> str:
    return f"{'' if value < 0 else '+'}{metrics.show(name, value)}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if math.isfinite(value) else ""
