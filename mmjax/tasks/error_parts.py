"""What is shown of an autoencoder's held-out rows: how large their errors are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmjax.tasks.parts import BLUE, FAINT, INK, Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def error_histograms(predictions: pd.DataFrame, names: Sequence[str]) -> list[Plot]:
    """A histogram of each column of errors."""
    if not names:
        return []
    caption = (
        "How many held-out rows have which error; the line is the median. A long tail to the right is of rows that are unlike "
    )
    caption += "the others: look at the largest errors in predictions.csv."

    def draw(figure: "Figure") -> None:
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            error_N = predictions[name].to_numpy(np.float64)
            error_N = error_N[np.isfinite(error_N)]
            axes.hist(error_N, bins=30, color=BLUE)
            axes.axvline(float(np.median(error_N)) if len(error_N) else 0.0, color=INK, linewidth=1)
            axes.set(xlabel=name, ylabel="rows" if name == names[0] else "")
            axes.grid(axis="y", color=FAINT, linewidth=0.6)

    return [Plot("Errors of rows", caption, draw, max(5.0, 3.2 * len(names)), 3.2)]
