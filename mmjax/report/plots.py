"""Pictures as SVG: text stays text, and takes the page's own font and colours."""

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mmjax.tasks.class_parts import cut
from mmjax.tasks.parts import BLUE, FAINT, GREEN, GREY, INK, ORANGE, Plot

MOST_POINTS = 200
"""Of a curve; of a longer one every n-th epoch is drawn."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mmjax",
    "text.parse_math": False,  # a class may be called $5
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.axisbelow": True,
}


def svg(plot: Plot) -> str:
    """The picture as an <svg> element. No state of pyplot is read or changed."""
    out = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name in Chinese has no glyph in the font that text is measured by
        figure = Figure(figsize=(plot.width, plot.height), layout="constrained")
        plot.draw(figure)
        FigureCanvasSVG(figure).print_svg(out, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    found = out.getvalue()
    found = found[found.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.DOTALL)
    return found.replace(INK, "currentColor").replace(FAINT, "var(--line)")


class Scored(NamedTuple):
    """A run's or a baseline's scores by fold."""

    name: str
    scores: Sequence[float]
    ours: bool


def dots(rows: Sequence[Scored], title: str, caption: str, label: str) -> Plot:
    """A line a model, a dot a fold, the mean as a stroke."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for y, row in enumerate(rows):
            color = BLUE if row.ours else GREY
            axes.scatter(row.scores, [y] * len(row.scores), s=26, color=color, alpha=0.8, linewidth=0)
            axes.plot([np.mean(row.scores)] * 2, [y - 0.28, y + 0.28], color=ORANGE, linewidth=2.4)
        axes.set_yticks(range(len(rows)), [cut(row.name, 30) for row in rows])
        axes.set(xlabel=label, ylim=(len(rows) - 0.4, -0.6))
        axes.margins(x=0.08)
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.tick_params(axis="y", length=0)

    return Plot(title, caption, draw, 8.0, 0.9 + 0.42 * len(rows))


def curves(phase: str, events: Sequence[Mapping[str, Any]]) -> Plot | None:
    """A phase's training and validation by epoch, a panel a metric, a line a fold; None where nothing was measured."""
    names = list(dict.fromkeys(n for e in events for part in ("train", "valid") for n in e.get(part) or ()))[:6]
    folds = sorted({e["fold"] for e in events})
    if not names:
        return None
    longest = max(e["epoch"] for e in events)
    step = -(-longest // MOST_POINTS)
    caption = (
        "The validation rows are a part of the training rows that the network does not learn from. Where their curve turns "
    )
    caption += (
        "while that of the training rows goes on, the network begins to learn its rows by heart; training keeps the best epoch."
    )
    caption += f" Every {step}th epoch is drawn." if step > 1 else ""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(-(-len(names) // 3), min(len(names), 3), squeeze=False)
        for axes, name in zip(panels.flat, names, strict=False):
            for fold in folds:
                own = [e for e in events if e["fold"] == fold and (e["epoch"] % step == 0 or e["epoch"] in (1, longest))]
                for part, color in (("train", GREY), ("valid", BLUE)):
                    points = [(e["epoch"], e[part][name]) for e in own if _has(e, part, name)]
                    marker = "o" if len(points) == 1 else ""
                    axes.plot(
                        *zip(*points, strict=True), color=color, linewidth=1.3, alpha=0.85, marker=marker
                    ) if points else None
            axes.set(title=name.replace("_", " "), xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
            axes.grid(color=FAINT, linewidth=0.6)
        for axes in panels.flat[len(names) :]:
            axes.set_visible(False)
        lines = [Line2D([], [], color=color) for color in (GREY, BLUE)]
        figure.legend(lines, ["training rows", "validation rows"], loc="outside lower center", ncols=2)

    title = f"{phase}: {len(folds)} folds" if len(folds) > 1 else phase
    return Plot(title, caption, draw, 3.0 + 2.0 * min(len(names), 3), 0.6 + 2.6 * -(-len(names) // 3))


def importance(title: str, caption: str, bars: Sequence[tuple[str, float, float]], label: str) -> Plot:
    """A bar a modality or column, the largest first; the strokes are standard deviations over folds."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        places = range(len(bars))
        colors = [GREEN if value >= 0 else GREY for _, value, _ in bars]
        error = {"ecolor": INK, "elinewidth": 0.8, "capsize": 2}
        axes.barh(places, [b[1] for b in bars], xerr=[b[2] for b in bars], color=colors, height=0.62, error_kw=error)
        axes.axvline(0, color=INK, linewidth=0.7)
        axes.set_yticks(places, [cut(b[0], 30) for b in bars])
        axes.set(xlabel=label, ylim=(len(bars) - 0.4, -0.6))
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.tick_params(axis="y", length=0)

    return Plot(title, caption, draw, 7.4, 0.9 + 0.34 * len(bars))


def _has(event: Mapping[str, Any], part: str, name: str) -> bool:
    return isinstance((event.get(part) or {}).get(name), int | float)
