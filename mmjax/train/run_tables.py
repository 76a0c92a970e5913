"""The tables that a run shows: what was found in the data, and how the held-out rows were predicted."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmjax.tasks import metrics

_KINDS, _FOLDS = 8, 5
"""Rows of each table at most: a run's output is 40 lines."""
_PLACE = 64
"""Characters of a place."""


def data_table(report: Mapping[str, Any], most: int = _KINDS) -> str:
    """What data_report.json says, a kind a line, the most frequent first, `most` lines; '' where it is empty."""
    counts = sorted(report["counts"].items(), key=lambda kind: -kind[1])
    if not counts:
        return ""
    table = _table("Rows and cells that were not as they should be, or were read otherwise (data_report.json)")
    shown = counts if len(counts) <= most else counts[: most - 1]
    lines = []
    for kind, count in shown:
        first = report["entries"][kind][0]
        place = [Path(first["file"]).name, *(f"{key} {first[key]}" for key in ("row", "column", "value") if key in first)]
        lines.append((kind.replace("_", " "), f"{count:,}", " ".join(", ".join(place).split()), first["action"]))
    if left := counts[len(shown) :]:
        lines.append((f"{len(left)} more kinds", f"{sum(count for _, count in left):,}", "", "see data_report.json"))
    names = ("what", "how many", "first place", "what was done")
    widths = [min(_PLACE, max(len(name), *(len(line[i]) for line in lines))) for i, name in enumerate(names[:3])]
    # What was done has what is left of the line, and may be cut: it stands in data_report.json.
    for name, width in zip(names, [*widths, max(20, _width() - sum(widths) - 2 * len(names) - 2)], strict=True):
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=width)
    for line in lines:
        table.add_row(*(Text(" ".join(cell.split())) for cell in line))  # a value may hold brackets or line breaks
    return _text(table)


def summary_table(summary: Mapping[str, Any]) -> str:
    """A row a fold, then mean ± standard deviation, beside what needs no model, and the ceiling if known."""
    names, folds = list(summary["mean"]), summary["by_fold"]
    what = f"{summary['folds_finished']} of {summary['folds']} folds" if summary["folds_finished"] < summary["folds"] else ""
    read = summary["modalities"]
    of = f"{', '.join(read[:-1])} and {read[-1]}" if len(read) > 1 else f"{read[0]} alone"
    table = _table(f"{summary['title']}, {of}: held-out rows of {summary['dataset']}{f', {what}' if what else ''}")
    table.add_column("fold")
    for name in names:
        table.add_column(metrics.title(name), justify="right")
    for fold, done in folds.items() if len(folds) <= _FOLDS else ():
        table.add_row(fold, *(metrics.show(name, done["metrics"][name]) for name in names))
    for title, choose in (("least of all folds", min), ("largest", max)) if len(folds) > _FOLDS else ():
        table.add_row(title, *(metrics.show(name, choose(done["metrics"][name] for done in folds.values())) for name in names))
    table.add_section()
    table.add_row("mean ± std", *(metrics.show(name, summary["mean"][name], summary["std"][name]) for name in names))
    if "repeats" in summary:
        repeats = summary["repeats"]
        shown = (metrics.show(name, repeats["mean"][name], repeats["std"][name]) for name in names)
        table.add_row(f"{len(repeats['means'])} seeds", *shown)
    for key, title in (("most_frequent_class", "largest class"), ("ceiling", "best possible")):
        if key in summary:
            table.add_row(title, metrics.show("accuracy", summary[key]), *([""] * (len(names) - 1)))
    if "ceiling" not in summary:
        return _text(table)
    share = summary["mean"]["accuracy"] / summary["ceiling"]
    return f"{_text(table)}\n{100 * share:.1f} % of the best accuracy any model can reach on these modalities."


def leaderboard(summary: Mapping[str, Any], simple: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The run and simple models on the same folds, the best by the first metric first.

    Args:
      summary: summary.json.
      simple: each simple model's metrics by fold.
    """
    names = list(summary["mean"])
    lines = [(summary["mean"][names[0]], summary["title"], summary)]
    for title, by_fold in simple.items():
        if by_fold and all(name in fold for fold in by_fold for name in names):
            found = metrics.summarise([dict(fold) for fold in by_fold])
            lines.append((found["mean"][names[0]], title.split(":")[0], found))
    table = _table("On the same folds, best first")
    table.add_column("model")
    for name in names:
        table.add_column(metrics.title(name), justify="right")
    for _, title, found in sorted(lines, key=lambda line: -line[0]):
        shown = (metrics.show(name, found["mean"][name], found["std"][name]) for name in names)
        table.add_row(Text(title, style="bold" if found is summary else ""), *shown)
    return _text(table)


def make_console() -> Console:
    """Of a terminal's width; a log file has room for whole numbers."""
    return Console() if sys.stdout.isatty() else Console(width=150)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False, padding=(0, 2, 0, 0))


def _text(table: Table) -> str:
    """As lines: what shows them may be a notebook, a file or a terminal."""
    console = Console(width=_width(), highlight=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())


def _width() -> int:
    """Characters of a line."""
    return shutil.get_terminal_size((150, 40)).columns if sys.stdout.isatty() else 150
