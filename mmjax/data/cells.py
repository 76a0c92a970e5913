"""What a cell of any table means: no value, a category's name, a spelling of another value."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from mmjax.data.data_report import DataReport

READING = 2
"""How cells are read. 1: of the first files of 0.2.0, whose words were `[a-z0-9]+`, whose texts and names were missing only
where a cell was empty, and whose '1.50' was another category than '1.5'. A fold's encoders say which they were fitted with, and
later tables are read so."""
MISSING = frozenset(
    ("", "na", "n/a", "n.a.", "nan", "null", "(null)", "none", "?", "-", "--", ".", "#n/a", "#na", "<na>", "#value!", "\\n")
)
"""What means no value in a column of numbers, labels, groups, names or texts, in lower case. Among categories such a word is a
category like any other."""
_LONGEST = 64
"""Characters of a cell from which it is no such word, whatever stands in it."""
_NUMBER = re.compile(r"(-?(?:0|[1-9]\d*))\.(\d*?)0*", re.ASCII)


def is_missing(text: str) -> bool:
    """Whether a cell means no value."""
    return text.strip().lower() in MISSING


def category_name(text: str, reading: int = READING) -> str:
    """A value's name: trimmed, and one spelling for a number: '2.0' and '2', '1.50' and '1.5', '-0.0' and '0'.

    What begins with a superfluous 0 is a code, and stays.
    """
    text = text.strip()
    if reading == 1:
        return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text
    if not (found := _NUMBER.fullmatch(text)):
        return text
    name = f"{found[1]}.{found[2]}".removesuffix(".")
    return "0" if name == "-0" else name


def number_categories(column: Sequence[str], seen: dict[str, int], reading: int = READING) -> list[int]:
    """Number of each value; `seen` learns new ones."""
    number = {v: seen.setdefault(category_name(v, reading), len(seen)) for v in dict.fromkeys(column)}
    return [number[v] for v in column]


class MissingWords:
    """Empties the cells of a column of texts or names that hold nothing but a word for no value, and counts them."""

    def __init__(self) -> None:
        self._found: Counter[str] = Counter()

    def emptied(self, column: Sequence[str]) -> Sequence[str]:
        """The column with such cells empty."""
        words = {v for v in set(column) if len(v) < _LONGEST and v.strip() and is_missing(v)}
        if not words:
            return column
        self._found.update(v.strip() for v in column if v in words)
        return ["" if v in words else v for v in column]

    def report(self, file: str, column: str, report: DataReport) -> None:
        """One entry a word."""
        for word, count in sorted(self._found.items()):
            value = f"{word!r} in {count} row(s)"
            report.add("missing_word", file=file, column=column, value=value, action="no value", refuse=False)


def folded(text: str) -> str:
    """What spellings have in common that differ in capitals, spaces or Unicode form alone; invisible characters are gone."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return " ".join(text.casefold().split())


def report_spellings(kind: str, values: Iterable[str], *, file: str, column: str, report: DataReport) -> None:
    """Tells of values that look like spellings of one, and how they become one."""
    alike: dict[str, list[str]] = defaultdict(list)
    for value in values:
        alike[folded(value)].append(value)
    for found in alike.values():
        if len(found) > 1:
            action = f'kept apart; one_spelling = ["{column}"] in the schema makes them one'
            report.add(kind, file=file, column=column, value=", ".join(map(repr, found)), action=action)
