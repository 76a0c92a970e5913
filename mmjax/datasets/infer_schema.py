"""Proposes a schema for a table: a role for every column, and why."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from mmjax.data.cells import MISSING, is_missing
from mmjax.data.data_report import DataReport
from mmjax.data.sources import Source, open_source
from mmjax.datasets.leaks import row_number, suspected_leak
from mmjax.encoding.number_format import Written, as_written, hold_codes, is_number
from mmjax.errors import DataError, SchemaError
from mmjax.schema import Schema, listed

MOST_ROWS = 100_000
"""Rows looked at."""
_IMAGE_ENDINGS = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jfif")
)
_FEW, _FEW_SHARE = 400, 0.5  # most values of a categorical column; of a small table, as a share of its rows
_MANY_WORDS, _REPEATED = 3.0, 0.9
_NUMERIC, _MOSTLY_NUMERIC, _MIXED = 0.98, 0.9, 0.1  # share of numbers; few values of which a tenth are words may be sizes
_OWNER = re.compile(
    r"user|seller|customer|client|owner|author|patient|rescuer|member|household|session|device|subject|person|account|vendor|host"
    r"|group|family|participant|student|driver|worker|employee|shop|store|(?:^|[_ .-])id$|(?-i:[a-z]I[Dd])$",
    re.I,
)
"""Columns that name whose a row is, as a brand does not."""
_MOST_CLASSES, _ROWS_A_CODE = 20, 5  # more different numbers are measured, unless they are codes in a row with rows enough
_DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))([T ]\d{1,2}:\d{2}.*)?", re.ASCII)


def propose_schema(source: Source, *, label: str = "") -> tuple[Schema, list[tuple[str, str, str]]]:
    """Looks at each column's values.

    Args:
      source: a CSV or Parquet file, or a DataFrame.
      label: column to predict.

    Returns:
      The schema, and (column, role, why) of every column; role '' leaves a column out.

    Raises:
      DataError: the file cannot be read, or has no rows.
      SchemaError: there is no column `label`.
    """
    path, header, rows, _ = open_source(source, DataReport())
    if label and label not in header:
        raise SchemaError(f"{path}: has no column {label!r} to predict; its columns are {listed(header)}.")
    columns = list(zip(*islice(rows, MOST_ROWS), strict=True))
    if not columns:
        raise DataError(f"{path}: has a header but no rows to look at.")
    stripped = [[v.strip() for v in column] for column in columns]
    if label and (why := unfit_label(stripped[header.index(label)])):
        raise SchemaError(f"{path}: the label {label!r} {why}.")
    written = {name: as_written(column) for name, column in zip(header, stripped, strict=True) if name != label}
    found = [
        (name, *_written_role(name, values, written.get(name), label)) for name, values in zip(header, stripped, strict=True)
    ]
    values = dict(zip(header, stripped, strict=True))
    read = {name: written[name].values for name, role, _ in found if role == "continuous"}
    found = [
        (name, role, why + _leak(role, read.get(name, values[name]), values.get(label, [])) + _without(role, values[name]))
        for name, role, why in _only_one(found, values)
    ]
    by_role: dict[str, list[str]] = {}
    for name, role, _ in found:
        by_role.setdefault(role, []).append(name)
    values_of: dict[str, Any] = {r: by_role[r][0] for r in ("id", "label", "group", "image") if r in by_role}
    values_of |= {r: by_role[r] for r in ("categorical", "continuous", "text", "short_text", "entity") if r in by_role}
    numbers = {name: written[name] for name in by_role.get("continuous", ())}
    values_of["number_format"] = {name: number.example for name, number in numbers.items() if number.example}
    values_of["missing"] = list(dict.fromkeys(word for number in numbers.values() for word in number.words))
    schema = Schema.from_dict(values_of | {"ignore": [name for name in by_role.get("", ()) if name]})
    return schema, found


def _written_role(name: str, values: list[str], written: Written | None, label: str) -> tuple[str, str]:
    """Numbers in another spelling are numbers, if they make a column of numbers."""
    if written and (written.example or written.words):
        role, why = _role(name, written.values, label, plain=False)
        if role == "continuous":
            return role, why + written.why(values)
    return _role(name, values, label)


def unfit_label(labels: Sequence[str]) -> str:
    """Why labels are no classes to learn, and what to do; '' where they are."""
    present = [v for v in labels if v.lower() not in MISSING]
    kinds = set(present)
    numbers = sorted(map(float, kinds)) if all(map(is_number, kinds)) else []
    whole, repeats = all(n.is_integer() for n in numbers), len(present) >= 2 * len(kinds)
    if len(kinds) <= (_MOST_CLASSES if whole or repeats else 2):
        return ""
    list_them = "if they are classes all the same, list them as `classes` in the schema"
    if numbers:
        codes = whole and numbers[-1] - numbers[0] < 2 * len(kinds) and len(present) >= _ROWS_A_CODE * len(kinds)
        what = f"has {len(kinds)} different numbers from {numbers[0]:g} to {numbers[-1]:g} in {len(present)} rows"
        advice = "regression comes in a later version: make bins of them first, such as pandas.qcut(y, 5)"
        return "" if codes else f"{what}, measured and no classes; {advice}; {list_them}"
    what = f"has {len(kinds)} different values in {len(present)} rows, no classes to learn"
    return "" if repeats else f"{what}; name another column; {list_them}"


def _role(  # noqa: PLR0911 - one return a role, in order
    name: str, values: list[str], label: str, *, plain: bool = True
) -> tuple[str, str]:
    """Role and why; `plain` numbers, in no format that only what is measured or counted has, may name rows."""
    present = [v for v in values if v.lower() not in MISSING]
    kinds, words = len(set(present)), _mean_words(present)
    if name == label:
        words = Counter(v for v in values if v and v.lower() in MISSING).most_common(1)
        asked = f"; {words[0][1]} rows are {words[0][0]!r}: name it in classes = [...] or in missing = [...]" if words else ""
        return "label", f"asked for; {kinds} classes{asked}"
    if constant := _constant(values):
        return "", constant
    if _share(present, _is_image) > 0.9:
        return "image", "its values are paths of image files"
    if _share(present, _is_date) > 0.9:
        return "", f"{kinds} different dates, which no column reads: make numbers of them, such as the month"
    numeric = _share(present, is_number)
    if kinds == len(values) and (why := _id_reason(name, present, words, numeric)):
        return "id", f"{kinds} rows, all different{why}"
    if numeric == 1 and plain and (why := row_number(name, present)):
        return "", why
    if hold_codes(present):
        return "categorical" if _few(present) else "entity", f"{kinds} codes: numbers do not begin with a superfluous 0"
    if words >= _MANY_WORDS and not _few(present):
        what = f"{kinds} different values of {words:.0f} words on average"
        return ("short_text", f"{what}; {why}") if (why := _records(present)) else ("text", what)
    if numeric > _NUMERIC or (numeric >= _MOSTLY_NUMERIC and not _few(present)):
        return _number_role(name, values, present)
    mixed = f"; {_not_numbers(values, present)}" if numeric >= _MIXED else ""
    if _few(filled := [v for v in values if v]):  # 'none' is a category like any other
        what = f"{len(set(filled))} different values{mixed or (' that are no numbers' if not numeric else '')}"
        return "categorical", what + _may_bind(name, len(set(filled)))
    rows = len(present)
    if kinds < _REPEATED * rows and words < 2 and numeric < 0.5:
        return _names_role(name, present)
    if numeric < 0.5 and _share(present, _has_letter) > 0.5:
        return (
            "short_text",
            f"{kinds} different values in {rows} rows: read by words and pieces of words{mixed}",
        )
    return "", f"{kinds} different values in {rows} rows: too many to learn from one by one, too short for a text{mixed}"


def _may_bind(name: str, kinds: int) -> str:
    """What to do where few names of owners may bind rows together, or ''."""
    if kinds <= _MOST_CLASSES or not _OWNER.search(name):
        return ""
    return f"; if rows of one belong together, add group = {name!r}: `recommended` then reads it as an entity, too"


def _names_role(name: str, present: list[str]) -> tuple[str, str]:
    """Names of whose a row is, or of what it is of, as a brand."""
    what = f"{len(set(present))} different names in {len(present)} rows"
    if _OWNER.search(name) or _share(present, _is_code) > 0.8:
        return (
            "group",
            f"{what}: rows of one name may belong together, as a seller's do; `recommended` reads it as an entity too",
        )
    return "entity", f"{what}: counted, with label frequencies; make it the group, too, if rows of one name belong together"


def _constant(values: list[str]) -> str:
    """Why the column says nothing, or ''."""
    filled = [v for v in values if v]
    if all(v.lower() in MISSING for v in filled):
        return "no row has a value"
    if len(set(filled)) > 1:
        return ""
    return "the same value in every row says nothing" if filled == values else f"no other value than {filled[0][:40]!r}"


def _id_reason(name: str, present: list[str], words: float, numeric: float) -> str:
    """What speaks for names of rows in a column that is different in every row, or ''."""
    if name.lower() in ("id", "key", "index") or (words < 2 and numeric < 0.5):  # a name in hexadecimal can be all digits
        return ", one word each"
    whole = name.lower().endswith("id") and all(v.isdigit() for v in present)
    return " whole numbers, and its name ends in id" if whole else ""


def _few(present: list[str]) -> bool:
    """Values that come again often enough to be learnt one by one."""
    kinds = len(set(present))
    return kinds <= _FEW and kinds <= _FEW_SHARE * len(present)


def _number_role(name: str, values: list[str], present: list[str]) -> tuple[str, str]:
    distinct = set(present)
    numbers = {v: float(v) for v in distinct if is_number(v)}
    kinds = len(distinct)
    whole = all(n.is_integer() for n in numbers.values())
    low, high = min(numbers.values()), max(numbers.values())
    odd = f"; {_not_numbers(values, present)} and would be missing" if kinds > len(numbers) else ""
    few = _few(present)
    present = [v for v in present if v in numbers]
    coded = name.lower().endswith(("id", "code", "type", "state")) or name[-1:].isdigit()
    if whole and few and (coded or (kinds <= 10 and not _counts(low, high, kinds, present))):
        why = f"{len(numbers)} whole numbers, which look like codes (make it continuous if their order means something)"
        return "categorical", why + (f"; {_not_numbers(values, present)}" if odd else "")
    return "continuous", f"{len(numbers)} different numbers from {low:g} to {high:g}{odd}"


def _not_numbers(values: list[str], present: list[str]) -> str:
    """How many values are numbers, and the first that is none."""
    row, value = next((i, v) for i, v in enumerate(values) if v.lower() not in MISSING and not is_number(v))
    numbers = sum(map(is_number, present))
    return f"{numbers} of {len(present)} values are numbers; {value[:40]!r} (row {row + 1}) is not"


def _without(role: str, values: list[str]) -> str:
    """How many rows of a group or of names have none, by whatever word."""
    count = sum(map(is_missing, values)) if role in ("group", "entity", "text", "short_text") else 0
    own = ", each a group of its own" if role == "group" else ""
    return f"; {count} rows have none{own}" if count else ""


def _records(present: list[str]) -> str:
    """Why values are records such as JSON, not texts, or ''."""
    sample = present[:2000]
    if _share(sample, lambda v: v[0] in "{[" and v[-1] in "}]") < 0.5:
        return ""
    words = Counter(word for value in sample for word in re.findall(r"\w+", value))
    share = sum(count for _, count in words.most_common(2)) / max(words.total(), 1)
    often = " and ".join(repr(word) for word, _ in words.most_common(2))
    return f"records such as JSON ({share:.0%} of the words are {often}), read as counted words: make columns of what matters"


def _leak(role: str, values: list[str], labels: list[str]) -> str:
    """A warning about an input that tells the label alone, or ''."""
    if role in ("", "id", "label", "image"):
        return ""
    read = (lambda v: float(v) if is_number(v) else -math.inf) if role == "continuous" else None
    return suspected_leak(values, labels, read)


def _counts(low: float, high: float, kinds: int, present: list[str]) -> bool:
    """Numbers that start at 0 or 1 and grow rare look like a count."""
    if low not in (0.0, 1.0) or kinds < 9 or high < 9:
        return False
    small = sum(float(v) <= low + 1 for v in present)
    return small > 0.4 * len(present)


def _only_one(found: list[tuple[str, str, str]], values: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """Of several candidates for a single role keeps the best, and says so for the others."""
    best: dict[str, str] = {}
    best_size: dict[str, int] = {}
    for name, role, _ in found:
        size = len(set(values[name])) if role == "group" else 0  # the fewest names bind most rows together
        if role in ("id", "group", "image") and (role not in best or size < best_size[role]):
            best[role], best_size[role] = name, size
    kept = []
    for name, role, why in found:
        if best.get(role, name) == name:
            kept.append((name, role, why))
        elif role == "group":
            kept.append((name, "entity", f"{why}; {best[role]!r} is the group already"))
        else:
            kept.append((name, "", f"{why}; {best[role]!r} is the {role} already"))
    return kept


def _share(values: list[str], test: object) -> float:
    return sum(map(test, values)) / max(len(values), 1)  # type: ignore[arg-type]


def _mean_words(present: list[str]) -> float:
    return sum(len(v.split()) for v in present[:2000]) / max(len(present[:2000]), 1)


def _is_code(value: str) -> bool:
    return any(map(str.isdigit, value)) and len(value.split()) == 1


def _is_date(value: str) -> bool:
    return _DATE.fullmatch(value) is not None


def _has_letter(value: str) -> bool:
    return any(map(str.isalpha, value))


def _is_image(value: str) -> bool:
    return PurePosixPath(value).suffix.lower() in _IMAGE_ENDINGS
