"""What an autoencoder's code is worth when labels are few: the recommended model with each kind, by number of labels.

python -m benchmarks.label_curve --data ../shared/data --work DIR [--datasets petfinder] [--labels 500,2000,0] [--seeds 0,1]

A draw is a fold of a seed: held-out rows stay the same, `config.cv.labels` of the training rows keep their label (0: all
of them), and encoders and autoencoder learn from every row. What was measured before is read from --out and not run again.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmjax.config import Settings
from mmjax.configs import get_config
from mmjax.io.atomic import write_json
from mmjax.io.environment import environment
from mmjax.train.cross_validation import cross_validate
from mmjax.train.execution import runtime

LABELS = (250, 500, 1000, 2000, 5000, 0)
KINDS = ("none", "independent", "mmae", "denoising")
COLOURS = {"none": "#000000", "independent": "#E69F00", "mmae": "#0072B2", "denoising": "#D55E00"}  # Okabe and Ito
METRICS = {"accuracy": ("accuracy, points", 100.0), "qwk": ("QWK", 1.0), "log_loss": ("log loss", 1.0)}
MODALITIES = {"petfinder": ("tabular", "words", "vectors", "linear"), "fashion": ("tabular", "words", "linear")}
Draws = dict[str, dict[str, float]]
"""Metrics by draw."""


def settings_of(dataset: str, data: Path, kind: str, labels: int, seed: int) -> Settings:
    """The recommended model on what needs no photo; codes of k = 64 and linear, since a ReLU's units die."""
    changes: dict[str, Any] = {
        "data.root": str(data / dataset),
        "model.modalities": MODALITIES[dataset],
        "model.autoencoder.kind": kind,
        "model.autoencoder.code_norm": "rms",
        "model.autoencoder.code_activation": "linear",
        "model.autoencoder.bottleneck_activation": "linear",
        "train.autoencoder_max_epochs": 15,
        "train.autoencoder_patience": 15,
        "train.seed": seed,
        "cv.seed": seed,
        "cv.labels": labels,
    }
    return get_config(f"recommended:{dataset}", changes)


def measure(arguments: argparse.Namespace, known: dict[str, Draws]) -> None:
    """Runs what `known` lacks; each run is written down at once."""
    for seed, dataset, labels, kind in product(arguments.seeds, arguments.datasets, arguments.labels, KINDS):
        name = f"{dataset} {labels} {kind} {seed}"
        if name in known:
            continue
        settings = settings_of(dataset, arguments.data, kind, labels, seed)
        summary = cross_validate(settings, arguments.work / name.replace(" ", "_"), lambda _: None)
        known[name] = {fold: done["metrics"] for fold, done in summary["by_fold"].items()}
        write_json(arguments.out, {"environment": environment(), "runs": known})
        print(f"{name}: {summary['mean']}", flush=True)


def draws(known: dict[str, Draws], dataset: str, labels: int, kind: str, metric: str) -> dict[tuple[str, str], float]:
    """A metric by seed and fold."""
    found: dict[tuple[str, str], float] = {}
    for name, by_fold in known.items():
        *where, seed = name.split(" ")
        if where == [dataset, str(labels), kind]:
            found |= {(seed, fold): metrics[metric] for fold, metrics in by_fold.items()}
    return found


def differences(known: dict[str, Draws], dataset: str, labels: int, kind: str, metric: str) -> np.ndarray:
    """With the code minus without it, draw by draw."""
    one, none = (draws(known, dataset, labels, k, metric) for k in (kind, "none"))
    return np.array([one[draw] - none[draw] for draw in one if draw in none])


def report(known: dict[str, Draws], datasets: Sequence[str]) -> list[str]:
    """A Markdown table a data set: mean without a code, and the mean difference of each kind ± its deviation over draws."""
    lines: list[str] = []
    for dataset in datasets:
        for metric, (unit, scale) in METRICS.items():
            lines += [
                "",
                f"{dataset}, {unit}",
                "",
                f"|labels|draws|none|{'|'.join(KINDS[1:])}|",
                "|---" * (len(KINDS) + 2) + "|",
            ]
            for labels in LABELS:
                none = [v * scale for v in draws(known, dataset, labels, "none", metric).values()]
                if none:
                    cells = [_cell(differences(known, dataset, labels, kind, metric) * scale) for kind in KINDS[1:]]
                    lines.append(f"|{labels or 'all'}|{len(none)}|{np.mean(none):.4g}|{'|'.join(cells)}|")
    return lines


def _cell(difference: np.ndarray) -> str:
    return f"{difference.mean():+.3f} ± {difference.std():.3f}" if len(difference) else "-"


def plot(known: dict[str, Draws], datasets: Sequence[str], path: Path) -> None:
    """Differences by number of labels, with their standard error over draws."""
    figure = Figure(figsize=(4 * len(METRICS), 3.2 * len(datasets)), layout="constrained", dpi=150)
    for row, dataset in enumerate(datasets):
        for column, (metric, (unit, scale)) in enumerate(METRICS.items()):
            axes = figure.add_subplot(len(datasets), len(METRICS), row * len(METRICS) + column + 1)
            axes.axhline(0, color=COLOURS["none"], linewidth=0.8)
            for shift, kind in enumerate(KINDS[1:]):
                found = [(i, differences(known, dataset, n, kind, metric) * scale) for i, n in enumerate(LABELS)]
                found = [(i + 0.12 * (shift - 1), d) for i, d in found if len(d)]
                error = [d.std() / np.sqrt(len(d)) for _, d in found]
                x, y = [i for i, _ in found], [d.mean() for _, d in found]
                axes.errorbar(x, y, error, fmt="o-", color=COLOURS[kind], label=kind, markersize=4, linewidth=1)
            axes.set_xticks(range(len(LABELS)), [str(n or "all") for n in LABELS])
            axes.set(title=f"{dataset}: {unit}", xlabel="labels", ylabel="with a code - without")
            if row == column == 0:
                axes.legend(frameon=False)
    FigureCanvasAgg(figure).print_png(str(path))


def main() -> None:
    """Measures, prints the tables, and draws the picture beside --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--datasets", type=lambda text: text.split(","), default=list(MODALITIES))
    parser.add_argument("--labels", type=lambda text: [int(n) for n in text.split(",")], default=list(LABELS))
    parser.add_argument("--seeds", type=lambda text: [int(n) for n in text.split(",")], default=[0, 1])
    parser.add_argument("--out", type=Path, default=Path("docs/bench/label_curve.json"))
    arguments = parser.parse_args()
    known = json.loads(arguments.out.read_text(encoding="utf-8"))["runs"] if arguments.out.exists() else {}
    runtime.set_up(settings_of(arguments.datasets[0], arguments.data, "none", 0, 0))
    measure(arguments, known)
    print("\n".join(report(known, arguments.datasets)))
    plot(known, arguments.datasets, arguments.out.parent.parent / "plots" / arguments.out.with_suffix(".png").name)


if __name__ == "__main__":
    main()
