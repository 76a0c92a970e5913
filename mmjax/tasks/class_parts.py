"""What is shown of a classifier's held-out rows: scores by class, confusions, calibration, rows worth looking at."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mmjax.tasks.parts import BLUE, FAINT, GREY, INK, Example, Examples, Plot, ValueTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLASSES, _NUMBERED, _LONGEST, _BINS = 30, 14, 18, 10
"""Classes of a confusion matrix by name; how many have numbers in its cells; characters of a name; bins of probabilities."""
_OTHERS = "(others)"


def by_class(predictions: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support (held-out rows) of each class; 0 where there is nothing to divide by."""
    counts_KxK = confusions(predictions, classes)
    right_K, label_K, said_K = counts_KxK.diagonal(), counts_KxK.sum(axis=1), counts_KxK.sum(axis=0)
    found = {}
    for k, name in enumerate(classes):
        right, support, said = int(right_K[k]), int(label_K[k]), int(said_K[k])
        found[str(name)] = {
            "precision": right / said if said else 0.0,
            "recall": right / support if support else 0.0,
            "f1": 2 * right / (said + support) if said + support else 0.0,
            "support": support,
        }
    return found


def confusions(predictions: pd.DataFrame, classes: Sequence[str]) -> Int[np.ndarray, "K K"]:
    """How many rows of each class (line) were predicted as each class (column)."""
    label_N, prediction_N = _numbers(predictions["label"], classes), _numbers(predictions["prediction"], classes)
    known = (label_N >= 0) & (prediction_N >= 0)
    cells = label_N[known] * len(classes) + prediction_N[known]
    return np.bincount(cells, minlength=len(classes) ** 2).reshape(len(classes), len(classes))


def confusion_matrix(predictions: pd.DataFrame, classes: Sequence[str]) -> Plot:
    """The confusion matrix as a picture; of many classes the most frequent ones, and all others as one."""
    names, counts_KxK = most_frequent(classes, confusions(predictions, classes))
    share_KxK = counts_KxK / np.maximum(counts_KxK.sum(axis=1, keepdims=True), 1)
    numbered = len(names) <= _NUMBERED
    side = 2.6 + (0.52 if numbered else 0.27) * len(names)
    caption = (
        "A line is a class, a column what was predicted for its rows; the darker a cell, the larger its share of the line. "
    )
    caption += "A good model is dark on the diagonal; a dark cell beside it names two classes that are mixed up. "
    caption += "Numbers are rows." if numbered else "Hidden are the numbers: there are too many cells."
    if len(names) < len(classes):
        left = len(classes) - MOST_CLASSES
        caption += f" Shown are the {MOST_CLASSES} most frequent of {len(classes)} classes; the other {left} are one line."

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.pcolormesh(share_KxK, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=0.6)
        for i, k in np.ndindex(counts_KxK.shape) if numbered else ():
            color = "white" if share_KxK[i, k] > 0.55 else "#16324f"
            axes.text(k + 0.5, i + 0.5, f"{counts_KxK[i, k]:,}", ha="center", va="center", color=color, fontsize=9)
        places = np.arange(len(names)) + 0.5
        axes.set_xticks(
            places, [cut(name) for name in names], rotation=45 if numbered else 90, ha="right" if numbered else "center"
        )
        axes.set_yticks(places, [cut(name) for name in names])
        axes.set(xlabel="predicted", ylabel="label", aspect="equal")
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    return Plot("Confusion matrix", caption, draw, side + 0.6, side)


def most_frequent(classes: Sequence[str], counts_KxK: Int[np.ndarray, "K K"]) -> tuple[list[str], Int[np.ndarray, "k k"]]:
    """The most frequent classes in their own order, then all others added up, if there are more than are shown."""
    if len(classes) <= MOST_CLASSES:
        return list(classes), counts_KxK
    kept = np.sort(np.argsort(-counts_KxK.sum(axis=1), kind="stable")[:MOST_CLASSES])
    place_K = np.full(len(classes), MOST_CLASSES)
    place_K[kept] = np.arange(MOST_CLASSES)
    found = np.zeros((MOST_CLASSES + 1, MOST_CLASSES + 1), counts_KxK.dtype)
    np.add.at(found, (place_K[:, None], place_K[None, :]), counts_KxK)
    return [*(str(classes[k]) for k in kept), _OTHERS], found


def class_table(predictions: pd.DataFrame, classes: Sequence[str]) -> ValueTable:
    """`by_class` as a table, the most frequent class first where there are many."""
    found = by_class(predictions, classes)
    names = list(found) if len(found) <= MOST_CLASSES else sorted(found, key=lambda n: -found[n]["support"])
    rows = [[n, *(f"{found[n][m]:.3f}" for m in ("precision", "recall", "f1")), f"{found[n]['support']:,}"] for n in names]
    caption = "Precision: of the rows that were predicted as this class, the share that are of it. Recall: of the rows of this "
    caption += "class, the share that were found. F1 is their harmonic mean. Support: held-out rows of the class."
    head = ("class", "precision", "recall", "F1", "support")
    return ValueTable("Scores by class", caption, head, rows, shown=MOST_CLASSES)


def calibration(p_N: Float[np.ndarray, " N"], right_N: np.ndarray) -> tuple[Float[np.ndarray, "b 3"], float]:
    """By bin of the predicted probability: its mean, the share that is right, the share of all rows; and the expected error.

    The expected calibration error is the mean distance of the first two, weighted by rows (Guo et al. 2017, equation 3).
    """
    bin_N = np.minimum((p_N * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(bin_N, minlength=_BINS)
    kept = counts > 0
    mean, share = (np.bincount(bin_N, v, _BINS)[kept] / counts[kept] for v in (p_N, right_N.astype(float)))
    weight = counts[kept] / counts.sum()
    return np.stack([mean, share, weight], axis=1), float(np.sum(weight * np.abs(mean - share)))


def reliability(predictions: pd.DataFrame, p_NxK: Float[np.ndarray, "N K"]) -> Plot:
    """The reliability diagram of the predicted class's probability."""
    bins, error = calibration(p_NxK.max(axis=1), (predictions["label"] == predictions["prediction"]).to_numpy())
    caption = (
        "How much a stated probability is worth. Rows are sorted into ten bins by the probability of the predicted class; a "
    )
    caption += (
        "point is a bin, the higher, the more of its rows were right. On the line, probabilities are honest; below it the "
    )
    caption += "model is too sure, above it too modest. Bars are the bins' shares of all rows. "
    caption += f"The expected calibration error, the mean distance from the line, is {error:.3f}."

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.bar(
            (np.floor(bins[:, 0] * _BINS - 1e-9) + 0.5) / _BINS, bins[:, 2], 0.9 / _BINS, color=GREY, alpha=0.35, linewidth=0
        )
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
        axes.plot(bins[:, 0], bins[:, 1], color=BLUE, marker="o", markersize=5, linewidth=1.6)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the predicted class", ylabel="share that is right")
        axes.grid(color=FAINT, linewidth=0.6)

    return Plot("Calibration", caption, draw, 6.4, 4.4)


def examples(
    predictions: pd.DataFrame, p_NxK: Float[np.ndarray, "N K"], classes: Sequence[str], each: int = 4
) -> list[Examples]:
    """The surest that are right, the surest that are wrong, and those with the two best answers closest together."""
    right_N = (predictions["label"] == predictions["prediction"]).to_numpy()
    top_N = p_NxK.max(axis=1)
    two_Nx2 = -np.partition(-p_NxK, 1, axis=1)[:, :2]
    gap_N = two_Nx2[:, 0] - two_Nx2[:, 1]
    surest = np.argsort(-top_N, kind="stable")
    best, worst = surest[right_N[surest]][:each], surest[~right_N[surest]][:each]
    taken = {*best.tolist(), *worst.tolist()}
    unsure = [int(i) for i in np.argsort(gap_N, kind="stable")[: 3 * each] if int(i) not in taken][:each]

    def shown(i: int) -> Example:
        order = np.argsort(-p_NxK[i], kind="stable")[:5]
        shares = [(str(classes[k]), float(p_NxK[i, k])) for k in order]
        return Example(i, str(predictions["label"][i]), str(predictions["prediction"][i]), bool(right_N[i]), shares)

    groups = (
        ("Surest, and right", "Typical of its class, as the model sees it.", best.tolist()),
        ("Surest, and wrong", "Look here first: a wrong label, a class that is hard to tell, or a shortcut.", worst.tolist()),
        ("Most unsure", "The two best answers are about as probable.", unsure),
    )
    return [Examples(title, caption, [shown(int(i)) for i in rows]) for title, caption, rows in groups if rows]


def probabilities(predictions: pd.DataFrame, classes: Sequence[str]) -> Float[np.ndarray, "N K"]:
    """The columns p_<class>, in the order of the classes."""
    return predictions[[f"p_{name}" for name in classes]].to_numpy(np.float64)


def cut(name: str, longest: int = _LONGEST) -> str:
    """A name that fits beside a plot."""
    name = " ".join(str(name).split()) or "(empty)"
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _numbers(names: Any, classes: Sequence[str]) -> Int[np.ndarray, " N"]:
    index: dict[Any, int] = {name: k for k, name in enumerate(classes)}
    return names.map(index).fillna(-1).to_numpy(np.int64)
