"""The tables a training command closes with."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmjax.tasks import metrics

_MOST = 10
"""Rows of the data report's table: with its frame no more than 15 lines."""


def make_console() -> Console:
    """Of a terminal's width; a log file has room for whole numbers."""
    return Console() if sys.stdout.isatty() else Console(width=150)


def print_data_report(report: Mapping[str, Any], console: Console | None = None) -> None:
    """What data_report.json says, a kind a line, the most frequent first; nothing where it is empty."""
    counts = sorted(report["counts"].items(), key=lambda kind: -kind[1])
    if not counts:
        return
    table = Table(title="Rows and cells that were not as they should be, or were read otherwise (data_report.json)")
    for name in ("what", "how many", "first place", "what was done"):
        width = max(map(len, ("00 more kinds", *report["counts"]))) if name == "what" else len(name)
        table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=width)
    shown = counts if len(counts) <= _MOST else counts[: _MOST - 1]
    for kind, count in shown:
        first = report["entries"][kind][0]
        place = [Path(first["file"]).name, *(f"{key} {first[key]}" for key in ("row", "column", "value") if key in first)]
        cells = kind.replace("_", " "), f"{count:,}", ", ".join(place), first["action"]
        table.add_row(*(Text(" ".join(cell.split())) for cell in cells))  # a value may hold brackets or line breaks
    if left := counts[len(shown) :]:
        table.add_row(f"{len(left)} more kinds", f"{sum(count for _, count in left):,}", "", "see data_report.json")
    (console or make_console()).print(table)


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """A row a fold, then mean ± standard deviation, beside what needs no model, and the ceiling if known."""
    names = list(summary["mean"])
    table = Table(
        title=f"{summary['dataset']}: {'+'.join(summary['modalities'])}, {summary['folds_finished']} folds, held-out rows"
    )
    table.add_column("fold")
    for name in names:
        table.add_column(metrics.title(name), justify="right")
    for fold, done in summary["by_fold"].items():
        table.add_row(fold, *(metrics.show(name, done["metrics"][name]) for name in names))
    table.add_section()
    table.add_row("mean ± std", *(metrics.show(name, summary["mean"][name], summary["std"][name]) for name in names))
    if "repeats" in summary:
        repeats = summary["repeats"]
        shown = (metrics.show(name, repeats["mean"][name], repeats["std"][name]) for name in names)
        table.add_row(f"{len(repeats['means'])} seeds", *shown)
    for key, title in (("most_frequent_class", "largest class"), ("ceiling", "best possible")):
        if key in summary:
            table.add_row(title, metrics.show("accuracy", summary[key]), *([""] * (len(names) - 1)))
    (console or make_console()).print(table)
    if "ceiling" in summary:
        share = summary["mean"]["accuracy"] / summary["ceiling"]
        (console or make_console()).print(f"{100 * share:.1f} % of the best accuracy any model can reach on these modalities.")
