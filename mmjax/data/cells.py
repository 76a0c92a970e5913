"""Columns of strings as integer and number columns, a chunk at a time; every value that cannot be read is reported."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np
from jaxtyping import Int

from mmjax.data.data_report import DataReport
from mmjax.schema import Schema

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none"))
"""What means no value in a column of numbers or labels, in lower case."""
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_LONGEST_WORD = 64
_LARGEST = float(np.finfo(np.float32).max)


def category_name(text: str) -> str:
    """A value's name: trimmed, and a whole number written as a float ('2.0') is that number, as spreadsheets export it."""
    text = text.strip()
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text


def number_categories(column: Sequence[str], seen: dict[str, int]) -> list[int]:
    """Number of each value; `seen` learns new ones."""
    number = {v: seen.setdefault(category_name(v), len(seen)) for v in dict.fromkeys(column)}
    return [number[v] for v in column]


def read_numbers(column: Sequence[str], *, file: str, name: str, first: int, report: DataReport) -> list[float]:
    """Numbers, nan where there is none.

    Args:
      column: cells.
      file: the table's path.
      name: of the column.
      first: row number of the first cell.
      report: told of words (`number_unreadable`) and of what float32 cannot hold (`number_infinite`).
    """
    try:  # nearly every column is good throughout, and is then read in a fifth of the time
        out = list(map(float, column))
        if all(abs(number) <= _LARGEST for number in out) and not any("_" in text for text in column):
            return out
    except ValueError:
        pass
    out = []
    for i, text in enumerate(column):
        try:
            number = math.nan if "_" in text else float(text)  # float takes 1_000, which no table means
        except ValueError:
            number = math.nan
        if not abs(number) <= _LARGEST:  # nan compares false
            if not math.isnan(number):
                report.add("number_infinite", file=file, row=first + i, column=name, value=text, action="missing")
            elif text.strip().lower() not in MISSING:
                report.add("number_unreadable", file=file, row=first + i, column=name, value=text, action="missing")
            number = math.nan
        out.append(number)
    return out


class Words(dict[str, int]):
    """Number of each word, 0 being padding; a word it does not know gets the next number."""

    def __init__(self) -> None:
        super().__init__({"": 0})

    def __missing__(self, word: str) -> int:
        return self.setdefault(word[:_LONGEST_WORD], len(self))


def number_words(column: Sequence[str], words: Words, length: int) -> Int[np.ndarray, "n T"]:
    """The first `length` English words of each text by number, 0 padding; `words` learns new ones."""
    flat: list[int] = []
    count_n = np.zeros(len(column), np.int64)
    for i, text in enumerate(column):
        before, lower = len(flat), text.lower()
        if len(text) < 32 * length:
            found = _WORD.findall(lower)[:length]
        else:  # only the beginning of a long text is searched
            found = [m[0] for m in islice(_WORD.finditer(lower), length)]
        flat += map(words.__getitem__, found)
        count_n[i] = len(flat) - before
    out_NxT = np.zeros((len(column), length), np.int32)
    out_NxT[np.arange(length) < count_n[:, None]] = flat
    return out_NxT


def photo_names(schema: Schema, columns: dict[str, Sequence[str]], count: int) -> list[str]:
    """Path of each row's photo as the table has it, or made from the pattern; '' for none. Checked where photos are opened."""
    if schema.image:
        return [v.strip() for v in columns[schema.image]]
    if not schema.image_pattern:
        return [""] * count
    parts = [columns[name] for name in schema.pattern_columns]
    pieces = re.split(r"\{[^{}]*\}", schema.image_pattern)
    return ["".join(p + v.strip() for p, v in zip(pieces, (*row, ""), strict=True)) for row in zip(*parts, strict=True)]


def find_classes(labels: Sequence[str]) -> tuple[str, ...]:
    """The classes among labels: in numeric order where all are numbers, else in that of letters; '2' and '2.0' are one."""
    found: dict[str, str] = {}
    for value in dict.fromkeys(labels):
        if value.lower() not in MISSING:
            found.setdefault(category_name(value), value)
    return tuple(sorted(found.values(), key=_order(found.values())))


def number_labels(
    labels: Sequence[str], classes: Sequence[str], *, file: str, name: str, report: DataReport
) -> Int[np.ndarray, " N"]:
    """Class index of each row, -1 where the label is missing or no class; both are reported."""
    index = {category_name(c): i for i, c in enumerate(classes)} | {c: i for i, c in enumerate(classes)}
    number = {v: index.get(v, index.get(category_name(v), -1)) for v in dict.fromkeys(labels)}
    label_N = np.array([number[v] for v in labels], np.int32)
    for row in np.flatnonzero(label_N < 0).tolist():
        value = labels[row]
        kind = "label_missing" if value.lower() in MISSING else "label_unknown"
        report.add(kind, file=file, row=row, column=name, value=value, action="row is left out of folds and scores")
    return label_N


def _order(names: Iterable[str]) -> Callable[[str], tuple]:
    try:
        numbers = {name: float(name) for name in names}
    except ValueError:
        return lambda name: (name,)
    return lambda name: (numbers[name], name)
