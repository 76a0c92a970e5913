"""What a page of results is made of: plain values that know no page. Tasks say them, `mmjax/report/` shows them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:  # imported where something is drawn
    import pandas as pd
    from matplotlib.figure import Figure

INK, FAINT = "#010203", "#010205"
"""Colours of text and of thin lines in a plot: the page replaces them by its own, which differ in light and dark."""
BLUE, ORANGE, GREEN, GREY = "#2b7fd4", "#d9730d", "#1a9e77", "#8a8f98"
"""Legible on white and on black, and told apart by every eye."""


@dataclass(frozen=True)
class Plot:
    """A picture.

    Attributes:
      title: of the picture.
      caption: how to read it.
      draw: draws it on an empty figure.
      width, height: in inches of 72 pixels.
    """

    kind: ClassVar[str] = "plot"

    title: str
    caption: str
    draw: "Callable[[Figure], None]"
    width: float = 7.0
    height: float = 3.6


@dataclass(frozen=True)
class ValueTable:
    """Cells as people read them; the first column names the line.

    Attributes:
      title: of the table; may be ''.
      caption: how to read it; may be ''.
      head: names of the columns.
      rows: cells by line.
      words: columns that hold words: they are at the left, numbers at the right.
      shown: lines that are seen at once; the rest is folded away.
      strong: lines that matter most, by number.
    """

    kind: ClassVar[str] = "table"

    title: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int] = (0,)
    shown: int = 30
    strong: Sequence[int] = ()


@dataclass(frozen=True)
class Example:
    """A held-out row that is worth looking at.

    Attributes:
      place: line of predictions.csv, from 0.
      label: what it is.
      prediction: what the model said.
      right: whether they are the same.
      shares: the most probable answers with their probabilities, the largest first.
    """

    place: int
    label: str
    prediction: str
    right: bool
    shares: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Examples:
    """Rows that are looked at together."""

    title: str
    caption: str
    rows: Sequence[Example]


Part = Plot | ValueTable


class Shown:
    """What a task says of held-out rows; `predictions` have the columns of predictions.csv.

    Attributes:
      detail_columns: those that `details` reads.
    """

    detail_columns: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def details(cls, predictions: "pd.DataFrame", classes: Sequence[str]) -> dict[str, Any]:
        """What summary.json says of the rows of all folds together, from `detail_columns` alone, as text."""
        del predictions, classes
        return {}

    @classmethod
    def parts(cls, predictions: "pd.DataFrame", classes: Sequence[str]) -> list[Part]:
        """Plots and tables of the report, in order."""
        del predictions, classes
        return []

    @classmethod
    def examples(cls, predictions: "pd.DataFrame", classes: Sequence[str]) -> list[Examples]:
        """Rows of the report that are shown with their cells and photos."""
        del predictions, classes
        return []
