"""The table a training command closes with."""

from typing import Any

from rich.console import Console
from rich.table import Table

from mmjax.tasks import metrics


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
    (console or Console()).print(table)
    if "ceiling" in summary:
        share = summary["mean"]["accuracy"] / summary["ceiling"]
        (console or Console()).print(f"{100 * share:.1f} % of the best accuracy any model can reach on these modalities.")
