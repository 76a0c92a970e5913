"""Numbers as people write them: 30,52; $30,521; 30.5%; 31 kg; 1 234,5 €. A format is an example of it."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmjax.data.cells import is_missing
from mmjax.errors import SchemaError

_SAMPLE = 1000
"""Different values that a format is found by."""
_MOST, _CODES, _WORDS, _LEAST = 0.98, 0.01, 3, 3
_SPACES = str.maketrans(dict.fromkeys("\u00a0\u2009\u202f", " ") | {"\u2212": "-", "\u2019": "'"})
_EXAMPLE = re.compile(r"(\D*?) ?(\d{1,3})(?:([., '])(\d{3}))?(?:([.,])(\d+))?( ?\D*)", re.ASCII)
_CELL = re.compile(r"[-+(]?([^\d\s()+-]{0,3}) ?[-+]?(\d(?:[\d., ']*\d)?)( ?[^\d\s()]{0,12}?)\)?", re.ASCII)
_UNIT = re.compile(r"[%\u2030\u00b0]|\u00b0?[^\W\d_]{1,8}(/[^\W\d_]{1,8})?[\u00b2\u00b3]?")
_CODE = re.compile(r"0\d+(\.\d+)?", re.ASCII)


@dataclass(frozen=True)
class NumberFormat:
    """How a column's numbers are written.

    Attributes:
      before: a currency's sign.
      after: a percent sign, a unit.
      thousands: between groups of digits; '' where there are none.
      decimal: before the fraction.
    """

    before: str = ""
    after: str = ""
    thousands: str = ""
    decimal: str = "."

    @classmethod
    def of(cls, example: str, column: str) -> "NumberFormat":
        """The format of an example, such as "1.234,5", "$1,234" or "1 %".

        Raises:
          SchemaError: it is none.
        """
        found = _EXAMPLE.fullmatch(example.translate(_SPACES).strip())
        if not found or (found[3] and found[3] == found[5]):
            raise SchemaError(
                f"the schema's number_format of {column!r} is {example!r}; write a number as the column does, such as "
                "1.234,5 or $1,234 or 1 %."
            )
        thousands = found[3] or ""
        return cls(found[1], found[7].strip(), thousands, found[5] or ("," if thousands == "." else "."))

    def plain(self, cell: str) -> str:
        """A cell as a program writes it, '-1234.5'; one that is written otherwise stays as it is."""
        text = cell.translate(_SPACES).strip()
        negative = text.startswith("(") and text.endswith(")")
        text = text[1:-1].strip() if negative else text
        sign, text = _signed(text)
        text = text.removeprefix(self.before).strip().removesuffix(self.after).strip()
        inner, text = _signed(text)
        whole, point, fraction = text.partition(self.decimal)
        if self.thousands and _groups(self.thousands).fullmatch(whole):
            whole = whole.replace(self.thousands, "")
        if not (whole + fraction).isdecimal() or (point and not fraction) or (sign and inner) or (negative and (sign or inner)):
            return cell
        minus = "-" if negative or "-" in (sign, inner) else ""
        return f"{minus}{whole}{'.' if point else ''}{fraction}"


def find_format(values: Sequence[str]) -> str:
    """An example of how a column's numbers are written; '' where they are plain ones, or no numbers."""
    present = [v.translate(_SPACES).strip() for v in dict.fromkeys(values) if not is_missing(v)][:_SAMPLE]
    if len(present) < _LEAST or _share(present) >= _MOST:
        return ""
    cells = [found for v in present if (found := _CELL.fullmatch(v))]
    if len(cells) < _MOST * len(present):
        return ""
    before = Counter(found[1] for found in cells).most_common(1)[0][0]
    after = Counter(found[3] for found in cells).most_common(1)[0][0]
    thousands, decimal = _separators([found[2] for found in cells])
    phones = thousands == " " and any(v.startswith("+") for v in present)
    shares = after.strip() in ("%", "\u2030") and not all(v.endswith(after.strip()) for v in present)  # 30% and 0.3
    if phones or shares or not _is_currency(before) or not _is_unit(after):
        return ""
    example = f"{before}1{f'{thousands}234' if thousands else ''}{f'{decimal}5' if decimal else ''}{after}"
    try:
        form = NumberFormat.of(example, "")
    except SchemaError:
        return ""
    return example if _share([form.plain(v) for v in present]) >= _MOST else ""


class Written(NamedTuple):
    """A column with its numbers as programs write them.

    Attributes:
      values: cells; those of `words` are empty.
      example: its format; '' for plain numbers.
      words: what stands where there is no number.
    """

    values: list[str]
    example: str = ""
    words: tuple[str, ...] = ()

    def why(self, cells: Sequence[str]) -> str:
        """For people; `cells` as the table has them."""
        form = f"; written as {self.example!r} (number_format)" if self.example else ""
        if not self.words:
            return form
        present = [v for v in cells if not is_missing(v)]
        row = next(i for i, v in enumerate(cells) if v in self.words)
        numbers = sum(v not in self.words for v in present)
        return f"{form}; {numbers} of {len(present)} values are numbers; {cells[row][:40]!r} (row {row + 1}) is not (missing)"


def as_written(values: Sequence[str]) -> Written:
    """A column's numbers, whatever their format, with at most three words in place of a number."""
    counts = Counter(v for v in values if not is_missing(v))
    words = tuple(v for v in counts if not any(map(str.isdigit, v)))
    rest = [v for v in counts if v not in words]
    kept = not words or (len(words) <= _WORDS and len(rest) > _WORDS * 10 and min(counts[w] for w in words) > 1)
    example = find_format(rest) if kept else ""
    if not kept or not (example or (words and rest and _share(rest) >= _MOST)):
        return Written(list(values))
    form = NumberFormat.of(example or "1", "")
    return Written(["" if v in words else form.plain(v) for v in values], example, words)


def hold_codes(values: Sequence[str]) -> bool:
    """Whether numbers begin with a superfluous 0: a ZIP, an ICD code."""
    return sum(_CODE.fullmatch(v) is not None for v in values) > _CODES * len(values)


def is_number(text: str) -> bool:
    """Whether a program reads it as a finite number."""
    try:
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False


def _share(values: Sequence[str]) -> float:
    return sum(map(is_number, values)) / len(values)


def _signed(text: str) -> tuple[str, str]:
    return (text[0], text[1:].strip()) if text[:1] in ("+", "-") else ("", text)


def _is_currency(text: str) -> bool:
    return (
        not text or any(unicodedata.category(c) == "Sc" for c in text) or (text.isalpha() and text.isupper() and len(text) == 3)
    )


def _is_unit(text: str) -> bool:
    """A sign, letters after a space, or two letters: '12a' is a house, and '1.jpg' a photo."""
    unit = text.strip()
    if len(unit) == 1 and unit.isalpha():
        return text != unit
    return _is_currency(unit) or _UNIT.fullmatch(unit) is not None


def _separators(numbers: Sequence[str]) -> tuple[str, str]:
    """What stands between thousands and before fractions; '' for none."""
    both = [n for n in numbers if "," in n and "." in n]
    if both:
        decimal = max(both[0].rfind(","), both[0].rfind(".")) == both[0].rfind(",")
        return (".", ",") if decimal else (",", ".")
    grouped = {mark: [_groups(mark).fullmatch(n) for n in numbers if mark in n] for mark in ",."}
    groups = {mark: bool(found) and all(found) for mark, found in grouped.items()}
    comma = ("", "") if not grouped[","] else (",", "") if groups[","] else ("", ",")
    point = ("", "") if not grouped["."] else (".", "") if groups["."] and (comma[1] or _twice(numbers)) else ("", ".")
    other = next((mark for mark in " '" if any(mark in n for n in numbers)), "")
    return other or comma[0] or point[0], comma[1] or point[1]


def _groups(mark: str) -> re.Pattern[str]:
    """Of three digits, or as in India of two before the last three."""
    return re.compile(rf"\d{{1,3}}({re.escape(mark)}\d{{2,3}})*{re.escape(mark)}\d{{3}}", re.ASCII)


def _twice(numbers: Sequence[str]) -> bool:
    """A number of two points has groups: 1.234.567."""
    return any(n.count(".") > 1 for n in numbers)
