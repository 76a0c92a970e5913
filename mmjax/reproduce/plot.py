"""The picture of a reproduced table: ours with error bars, the paper's numbers, and the ceilings where they are known."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmjax.io.atomic import write_bytes

if TYPE_CHECKING:  # report.py draws with this file
    from mmjax.reproduce.table_report import Report

OURS, PAPER, CEILING = "#0072B2", "#D55E00", "#000000"  # Okabe and Ito: told apart by every eye
"""Colours."""


def plot_rows(report: "Report", path: Path) -> None:
    """Writes a PNG: a line a row of the table, from the top.

    On PetFinder both share one axis. On another data set the paper's numbers mean something else and get an axis of their own.

    Raises:
      WorkdirError: the file cannot be written.
    """
    panels = 1 if report.same_data else 2
    figure = Figure(figsize=(5.2 + 3.6 * panels, 1.9 + 0.42 * len(report.rows)), layout="constrained", dpi=150)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    scale, unit = (100.0, "accuracy, %") if report.metric == "accuracy" else (1.0, "mean squared error on [0, 1] pixels")
    _ours(axes[0], report, scale)
    _paper(axes[-1], report, scale)
    for axis in axes:
        axis.set_xlabel(unit)
        axis.grid(axis="x", alpha=0.3)
        axis.margins(x=0.12)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(report.rows)), [_label(report, i) for i in range(len(report.rows))])
    axes[0].set_ylim(len(report.rows) - 0.4, -0.6)
    folds = report.rows[0].summary["folds_finished"]
    name = {"table1": "Table 1", "table2": "Table 2"}[report.table]
    if panels == 1:
        figure.suptitle(f"{name} on {report.dataset}: mean ± standard deviation over {folds} folds")
    else:
        figure.suptitle(f"{name}: mean ± standard deviation over folds")
        axes[0].set_title(f"ours on {report.dataset}, {folds} folds", fontsize=10)
        axes[1].set_title("paper, on PetFinder", fontsize=10)
    handles = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    shown = [name for name in ("ours", "best possible", "paper") if name in handles]
    figure.legend([handles[name] for name in shown], shown, loc="outside lower center", ncols=len(shown), frameon=False)
    canvas.draw()
    _save(figure, path)


def _ours(axis: Axes, report: "Report", scale: float) -> None:
    offset = -0.14 if report.same_data else 0.0
    means, stds = zip(*(row.ours(report.metric) for row in report.rows), strict=True)
    places = [i + offset for i in range(len(report.rows))]
    values, bars = [scale * m for m in means], [scale * s for s in stds]
    axis.errorbar(values, places, xerr=bars, fmt="o", color=OURS, capsize=3, label="ours")
    ceilings = [(i, row.summary["ceiling"]) for i, row in enumerate(report.rows) if "ceiling" in row.summary]
    if ceilings and report.metric == "accuracy":
        at, best = zip(*ceilings, strict=True)
        axis.scatter([scale * b for b in best], at, marker="|", s=260, color=CEILING, label="best possible")


def _paper(axis: Axes, report: "Report", scale: float) -> None:
    offset = 0.14 if report.same_data else 0.0
    places = [i + offset for i in range(len(report.rows))]
    values = [scale * row.paper.value for row in report.rows]
    bars = [scale * (row.paper.std or 0.0) for row in report.rows]
    if any(bars):
        axis.errorbar(values, places, xerr=bars, fmt="D", color=PAPER, capsize=3, markersize=5, label="paper")
    else:
        axis.plot(values, places, "D", color=PAPER, markersize=5, label="paper")


def _label(report: "Report", i: int) -> str:
    paper = report.rows[i].paper
    fused = f", {paper.fusion}" if paper.fusion in ("concatenate", "attention") else ""
    return f"#{paper.number}  {paper.inputs}{fused}"


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())
