"""What a cell of any table means: no value, a category's name."""

from collections.abc import Sequence

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none"))
"""What means no value in a column of numbers or labels, in lower case."""


def category_name(text: str) -> str:
    """A value's name: trimmed, and a whole number written as a float ('2.0') is that number, as spreadsheets export it."""
    text = text.strip()
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text


def number_categories(column: Sequence[str], seen: dict[str, int]) -> list[int]:
    """Number of each value; `seen` learns new ones."""
    number = {v: seen.setdefault(category_name(v), len(seen)) for v in dict.fromkeys(column)}
    return [number[v] for v in column]
