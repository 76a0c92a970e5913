"""The figure of report.py: ratios of steps and of whole runs, and cost against size."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.targets import Found, of_script

NAMES = {
    "row1": "#1 table",
    "row2": "#2 text",
    "row3": "#3 photo",
    "row4": "#4 all, concatenated",
    "row5": "#5 all, discretised",
    "row6": "#6 all, attention",
    "row7": "#7 = #6 + AE",
    "row8": "#8 = #6 + MMAE",
    "mmae": "MMAE alone",
    "ae": "AE alone",
}
OURS, THEIRS, GREY = "#2f6fb0", "#d9822b", "#888888"


def draw(files: dict[str, Found], path: Path) -> None:
    """Writes the figure with the panels there are results for; of steps and runs all cases of the first file's size."""
    files = {name: _joined(files, name) for name in ("step_throughput", "crossval_throughput", "input_pipeline", "scaling")}
    files = {name: found for name, found in files.items() if found}
    panels = [(_steps, "step_throughput"), (_runs, "crossval_throughput"), (_rows, "scaling"), (_folds, "scaling")]
    known = [(panel, files[name]) for panel, name in panels if name in files and _has(panel, files[name])]
    if not known:
        return
    columns = min(2, len(known))
    lines = -(-len(known) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(6.2 * columns, 4.2 * lines), squeeze=False, layout="constrained")
    for axis, (panel, found) in zip(axes.flat, known, strict=False):
        if panel is _runs:
            panel(axis, found, files.get("input_pipeline"))
        else:
            panel(axis, found)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in list(axes.flat)[len(known) :]:
        axis.set_visible(False)
    facts = next(iter(files.values()))["facts"]
    figure.suptitle(
        f"{facts['device']}, {facts['cores']} cores, jax {facts['versions']['jax']}, torch {facts['versions'].get('torch')}",
        fontsize=9,
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _joined(files: dict[str, Found], name: str) -> Found:
    """A script's first file, with the cases that others of the same size add."""
    kept: Found = {}
    for found in of_script(files, name).values():
        kept = kept or found
        if name != "scaling" and found["options"].get("size") == kept["options"].get("size"):
            kept = kept | {"cases": found["cases"] | kept["cases"]}
    return kept


def _has(panel: Any, found: Found) -> bool:
    """Whether there is something to draw: ratios need PyTorch, the others their part of scaling.py."""
    cases = found["cases"].values()
    if panel is _steps:
        return any(c["ratios"]["same"].get("torch_eager") for c in cases)
    if panel is _runs:
        return any(c.get("ratios") for c in cases)
    return any(c["part"] == {_rows: "rows", _folds: "folds"}[panel] for c in cases)


def _bars(axis: Axes, names: list[str], series: dict[str, list[Found | None]], colours: dict[str, str]) -> None:
    """Horizontal bars on a log axis, a range on each; a line at 1: as fast as PyTorch."""
    height = 0.8 / len(series)
    for k, (label, values) in enumerate(series.items()):
        places = [i + (k - (len(series) - 1) / 2) * height for i, v in enumerate(values) if v]
        kept = [v for v in values if v]
        if not kept:
            continue
        middle = [v["median"] for v in kept]
        ranges = [[v["median"] - v["min"] for v in kept], [v["max"] - v["median"] for v in kept]]
        axis.barh(places, [m - 1 for m in middle], height, left=1, color=colours[label], label=label)
        axis.errorbar(middle, places, xerr=ranges, fmt="none", ecolor="black", elinewidth=0.8)
        for place, v in zip(places, kept, strict=True):
            text = f"{v['median']:.2f}" if v["median"] < 10 else f"{v['median']:.0f}"
            at = (max(1.0, v["max"]), place)  # never on the line at 1
            axis.annotate(text, at, xytext=(4, 0), textcoords="offset points", va="center", fontsize=7)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_xmargin(0.12)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    low, high = axis.get_xlim()
    decades = range(-2, 5)
    ticks = [m * 10.0**d for d in decades for m in ((1, 2, 5) if high / low < 100 else (1,)) if low <= m * 10.0**d <= high]
    axis.set_xticks(ticks)
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlabel("times as fast as PyTorch")
    if len(series) > 1:
        axis.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=len(series))


def _steps(axis: Axes, found: Found) -> None:
    order = list(NAMES)
    cases = dict(sorted(found["cases"].items(), key=lambda c: order.index(c[0].removesuffix("_bfloat16"))))
    same = [c["ratios"]["same"] for c in cases.values()]
    kept = ("torch_eager", "torch_compile", "torch_reduce-overhead")
    names = [n for n in kept if any(s.get(n) for s in same)]
    colours: dict[str, str] = dict(zip(kept, (OURS, THEIRS, GREY), strict=True))
    labels = {n: n.replace("torch_", "PyTorch ") for n in names}
    series = {labels[n]: [s.get(n) for s in same] for n in names}
    shown = [NAMES[n.removesuffix("_bfloat16")] + (", bf16" if n.endswith("_bfloat16") else "") for n in cases]
    _bars(axis, shown, series, {labels[n]: colours[n] for n in names})
    against = f", against {labels[names[0]]}" if len(names) == 1 else ""
    axis.set_title(f"one training step, size {found['options']['size']}{against}", fontsize=10)


def _runs(axis: Axes, found: Found, photos: Found | None) -> None:
    names, first, later = [], [], []
    for name, case in [*sorted(found["cases"].items()), *(photos["cases"] if photos else {}).items()]:
        if case.get("ratios"):
            names.append(f"five folds of #{name[3:]}" if name.startswith("row") else f"photos, {name[7:]} px, an epoch")
            first.append(case["ratios"]["first"])
            later.append(case["ratios"]["later"])
    _bars(axis, names, {"first run or epoch": first, "later ones": later}, {"first run or epoch": THEIRS, "later ones": OURS})
    axis.set_title("end to end, against a PyTorch loop with DataLoader", fontsize=10)


def _rows(axis: Axes, found: Found) -> None:
    cases = [c for c in found["cases"].values() if c["part"] == "rows"]
    rows = [c["value"] for c in cases]
    axis.loglog(rows, [c["seconds"] for c in cases], "o-", color=OURS, label="seconds, one fold, one epoch")
    axis.loglog(rows, [c["ready_s"] for c in cases], "o--", color=OURS, label="seconds until rows are ready")
    axis.loglog(rows, [c["peak_bytes"] / 2**30 for c in cases], "s-", color=THEIRS, label="largest GiB resident")
    axis.axhline(4, color=GREY, linewidth=0.8, linestyle=":")
    axis.annotate("4 GiB", (rows[-1], 4), color=GREY, fontsize=8, va="bottom", ha="right")
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axis.set_xlabel("rows of table + text")
    axis.set_ylabel("seconds, GiB")
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, 1))
    axis.set_ylim(top=axis.get_ylim()[1] * 8)
    axis.set_title("cost against rows", fontsize=10)


def _folds(axis: Axes, found: Found) -> None:
    cases = [c for c in found["cases"].values() if c["part"] == "folds"]
    folds = [c["value"] for c in cases]
    for name, colour in (("ours", OURS), ("torch_eager", THEIRS)):
        if all(name in c["contenders"] for c in cases):
            speed = [1 / c["contenders"][name]["step_s"]["median"] for c in cases]
            axis.plot(folds, speed, "o-", color=colour, label=name.replace("torch_", "PyTorch "))
    axis.set_ylim(bottom=0)
    axis.set_xticks(folds)
    axis.set_xlabel("folds trained together (row #1)")
    axis.set_ylabel("fold-steps a second")
    axis.legend(fontsize=8, frameon=False)
    axis.set_title("folds trained together", fontsize=10)
