"""Proposes a schema for a table: a role for every column, and why."""

import math
from collections import Counter
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from mmjax.data.csv_rows import open_rows
from mmjax.data.report import DataReport
from mmjax.errors import DataError, SchemaError
from mmjax.schema import Schema, listed

MOST_ROWS = 100_000
"""Rows looked at."""
_IMAGE_ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"))
_FEW, _MANY_WORDS, _REPEATED, _GIVEN_AWAY = 400, 3.0, 0.9, 0.999


def propose_schema(path: str | Path, *, label: str = "") -> tuple[Schema, list[tuple[str, str, str]]]:
    """Looks at each column's values.

    Args:
      path: CSV file with a header.
      label: column to predict.

    Returns:
      The schema, and (column, role, why) of every column; role '' leaves a column out.

    Raises:
      DataError: the file cannot be read, or has no rows.
      SchemaError: there is no column `label`.
    """
    path = Path(path)
    header, rows = open_rows(path, DataReport())
    if label and label not in header:
        raise SchemaError(f"{path}: has no column {label!r} to predict; its columns are {listed(header)}.")
    columns = list(zip(*islice(rows, MOST_ROWS), strict=True))
    if not columns:
        raise DataError(f"{path}: has a header but no rows to look at.")
    stripped = [[v.strip() for v in column] for column in columns]
    found = [(name, *_role(name, values, label)) for name, values in zip(header, stripped, strict=True)]
    values = dict(zip(header, stripped, strict=True))
    found = [
        (name, role, why + _leak(role, values[name], values.get(label, []))) for name, role, why in _only_one(found, values)
    ]
    by_role: dict[str, list[str]] = {}
    for name, role, _ in found:
        by_role.setdefault(role, []).append(name)
    single: dict[str, Any] = {r: by_role[r][0] for r in ("id", "label", "group", "text", "image") if r in by_role}
    schema = Schema(
        **single,
        categorical=tuple(by_role.get("categorical", ())),
        continuous=tuple(by_role.get("continuous", ())),
        ignore=tuple(name for name in by_role.get("", ()) if name),
    )
    return schema, found


def _role(name: str, values: list[str], label: str) -> tuple[str, str]:  # noqa: PLR0911 - one return a role, in order
    present = [v for v in values if v]
    distinct = set(present)
    rows, kinds = len(present), len(distinct)
    if name == label:
        return "label", f"asked for; {kinds} classes"
    if kinds <= 1:
        return "", "the same value in every row says nothing"
    if _share(present, _is_image) > 0.9:
        return "image", "its values are paths of image files"
    words = sum(len(v.split()) for v in present[:2000]) / len(present[:2000])
    numeric = _share(present, _is_number)
    if kinds == rows and ((words < 2 and numeric < 1) or name.lower() in ("id", "key", "index")):
        return "id", f"{rows} rows, all different, one word each"
    if kinds == rows and numeric == 1 and all(v.isdigit() for v in present[:2000]) and name.lower().endswith("id"):
        return "id", f"{rows} rows, all different whole numbers, and its name ends in id"
    if words >= _MANY_WORDS and kinds > _FEW:
        return "text", f"{kinds} different values of {words:.0f} words on average"
    if numeric > 0.98:
        return _number_role(name, present, distinct)
    if kinds <= _FEW:
        return "categorical", f"{kinds} different values that are no numbers"
    if kinds < _REPEATED * rows and words < 2:
        return "group", f"{kinds} different names in {rows} rows: rows of one name may belong together, as a seller's do"
    return "", f"{kinds} different values in {rows} rows: too many to learn from one by one, too short for a text"


def _number_role(name: str, present: list[str], distinct: set[str]) -> tuple[str, str]:
    numbers = {v: float(v) for v in distinct if _is_number(v)}
    kinds = len(distinct)
    whole = all(n.is_integer() for n in numbers.values())
    low, high = min(numbers.values()), max(numbers.values())
    odd = f"; {kinds - len(numbers)} values are no numbers and would be missing" if kinds > len(numbers) else ""
    present = [v for v in present if v in numbers]
    coded = name.lower().endswith(("id", "code", "type", "state")) or name[-1:].isdigit()
    if whole and kinds <= _FEW and (coded or (kinds <= 10 and not _counts(low, high, kinds, present))):
        return (
            "categorical",
            f"{kinds} whole numbers, which look like codes (make it continuous if their order means something)",
        )
    return "continuous", f"{len(numbers)} different numbers from {low:g} to {high:g}{odd}"


def _leak(role: str, values: list[str], labels: list[str]) -> str:
    """A warning where a value gives the label away; values that are nearly all different prove nothing."""
    if role not in ("categorical", "continuous") or len(set(labels)) < 2 or len(set(values)) * 5 > len(values):
        return ""
    most: dict[str, int] = {}
    for (value, _), count in Counter(zip(values, labels, strict=True)).items():
        most[value] = max(most.get(value, 0), count)
    if sum(most.values()) < _GIVEN_AWAY * len(values):
        return ""
    return "; it all but gives the label away: leave it out if it is not known before the label is"


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
        # The longest text carries most; the fewest names bind most rows together.
        size = {"text": -sum(map(len, values[name])), "group": len(set(values[name]))}.get(role, 0)
        if role in ("id", "group", "image", "text") and (role not in best or size < best_size[role]):
            best[role], best_size[role] = name, size
    return [
        (name, role, why) if best.get(role, name) == name else (name, "", f"{why}; {best[role]!r} is the {role} already")
        for name, role, why in found
    ]


def _share(values: list[str], test: object) -> float:
    return sum(map(test, values)) / max(len(values), 1)  # type: ignore[arg-type]


def _is_number(value: str) -> bool:
    try:
        return "_" not in value and math.isfinite(float(value))
    except ValueError:
        return False


def _is_image(value: str) -> bool:
    return PurePosixPath(value).suffix.lower() in _IMAGE_ENDINGS
