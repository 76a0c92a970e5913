"""How long the texts of a column are, and which are cut."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmjax.encoding.base import TableContext


class TextLengths:
    """Counts texts by their number of words; `most` of them are read."""

    def __init__(self, most: int):
        self._most = most
        self._texts: Counter[int] = Counter()
        self._cut: list[tuple[int, int]] = []  # row and number of words

    def take(self, number_n: Sequence[int], first: int) -> None:
        """Adds a chunk; `first` is its first row."""
        self._texts.update(number_n)
        self._cut += [(row, number) for row, number in enumerate(number_n, first) if number > self._most]

    def report(self, source: TableContext, column: str) -> None:
        """Tells of each text that is cut, and of the length that would hold 95 % of those with a word."""
        numbers = np.repeat(list(self._texts), list(self._texts.values()))
        enough = int(np.quantile(numbers[numbers > 0], 0.95, method="higher")) if self._cut else 0
        advice = "" if source.predicting else f"; config.data.text_length={enough} holds 95 % of the texts"
        for row, number in self._cut:
            place = {"file": source.path, "row": row, "column": column, "value": f"{number} words"}
            source.report.add("text_cut", **place, action=f"its first {self._most} words are read{advice}", refuse=False)
