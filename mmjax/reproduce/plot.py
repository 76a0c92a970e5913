"""The picture of a reproduced table: ours with error bars, the paper's numbers, and the best possible where it is known."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmjax.io.atomic import write_bytes

OURS, PAPER, BEST = "#0072B2", "#D55E00", "#000000"  # Okabe and Ito: told apart by every eye


class PlotRow(NamedTuple):
    """One line of the picture; `paper` and `ours` are a mean and a standard deviation."""

    label: str
    ours: tuple[float, float]
    paper: tuple[float, float | None]
    best: float | None = None


def plot_rows(rows: Sequence[PlotRow], path: Path, *, title: str, titles: Sequence[str], unit: str, scale: float) -> None:
    """Writes a PNG: a line a row of the table, from the top.

    Args:
      rows: in the paper's order.
      path: of the PNG.
      title: of the whole picture.
      titles: of ours and the paper's panel, where the numbers are of two data sets; empty: both share one panel.
      unit: of the axis.
      scale: what values are multiplied by.

    Raises:
      WorkdirError: the file cannot be written.
    """
    panels, apart = max(len(titles), 1), 0.0 if titles else 0.14
    figure = Figure(figsize=(5.2 + 3.6 * panels, 1.9 + 0.42 * len(rows)), layout="constrained", dpi=150)
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]

    def points(axis: int, values: Sequence[tuple[float, float | None]], shift: float, fmt: str, color: str, label: str) -> None:
        means, stds = [scale * mean for mean, _ in values], [scale * (std or 0.0) for _, std in values]
        places = [i + shift for i in range(len(rows))]
        bars = stds if any(std is not None for _, std in values) else None
        axes[axis].errorbar(means, places, xerr=bars, fmt=fmt, color=color, capsize=3, markersize=5, label=label)

    points(0, [row.ours for row in rows], -apart, "o", OURS, "ours")
    if best := [(i, row.best) for i, row in enumerate(rows) if row.best is not None]:
        values = [scale * value for _, value in best]
        axes[0].scatter(values, [i for i, _ in best], marker="|", s=260, color=BEST, label="best possible")
    points(-1, [row.paper for row in rows], apart, "D", PAPER, "paper")
    for axis, name in zip(axes, titles or [""], strict=True):
        axis.set_title(name, fontsize=10)
        axis.set_xlabel(unit)
        axis.grid(axis="x", alpha=0.3)
        axis.margins(x=0.12)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(rows)), [row.label for row in rows])
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    figure.suptitle(title)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    write_bytes(path, buffer.getvalue())
