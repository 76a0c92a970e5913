"""Cells of a label column as classes."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Int

from mmjax.data.cells import MISSING, category_name, folded, is_missing, report_spellings
from mmjax.data.data_report import DataReport
from mmjax.errors import DataError
from mmjax.schema import Schema

_MANY, _SHARE = 5, 0.02


def find_schema_classes(labels: Sequence[str], schema: Schema, path: str, report: DataReport) -> tuple[str, ...]:
    """The schema's classes, or those among the labels; spellings of one class are reported.

    Raises:
      DataError: a word that may mean no label is as frequent as a class.
    """
    if schema.classes:
        return schema.classes
    found = find_classes(labels)
    counts = Counter(v for v in labels if v and is_missing(v))
    for word, count in counts.most_common(1):
        if count >= max(_MANY, _SHARE * len(labels)):
            classes = ", ".join(f'"{name}"' for name in sorted({word, *found}))
            raise DataError(
                f"{path}: {count} of {len(labels)} rows have the label {word!r}, which may be a class or mean no label; say in "
                f'the schema which: classes = [{classes}], or missing = ["{word}"].'
            )
    report_spellings("class_spelling", found, file=path, column=schema.label, report=report)
    return found


def find_classes(labels: Sequence[str]) -> tuple[str, ...]:
    """The classes among labels: in numeric order where all are numbers, else in that of letters; '2' and '2.0' are one."""
    found: dict[str, str] = {}
    for value in dict.fromkeys(labels):
        if value.lower() not in MISSING:
            found.setdefault(category_name(value), value)
    return tuple(sorted(found.values(), key=_order(found.values())))


def number_labels(
    labels: Sequence[str], classes: Sequence[str], *, file: str, name: str, report: DataReport, fold: bool = False
) -> Int[np.ndarray, " N"]:
    """Class index of each row, -1 where the label is missing or no class; both are reported.

    Args:
      labels: cells.
      classes: by number.
      file: the table's path.
      name: of the column.
      report: told of the others.
      fold: the cells are `folded`: a class is, too.
    """
    index = {folded(c): i for i, c in enumerate(classes)} if fold else {}
    index |= {category_name(c): i for i, c in enumerate(classes)} | {c: i for i, c in enumerate(classes)}
    number = {v: index.get(v, index.get(category_name(v), -1)) for v in dict.fromkeys(labels)}
    label_N = np.array([number[v] for v in labels], np.int32)
    for row in np.flatnonzero(label_N < 0).tolist():
        value = labels[row]
        kind = "label_missing" if value.lower() in MISSING else "label_unknown"
        report.add(kind, file=file, row=row, column=name, value=value, action="row is left out of folds and scores")
    return label_N


def _order(names: Iterable[str]) -> Callable[[str], tuple]:
    return (lambda name: (float(name), name)) if all(map(_is_number, names)) else lambda name: (name,)


def _is_number(name: str) -> bool:
    try:
        return bool(float(name)) or True
    except ValueError:
        return False


def in_order(classes: Sequence[str]) -> bool:
    """Whether kappa means something of classes that nobody has put in order: they are numbers, or two."""
    return len(classes) <= 2 or all(map(_is_number, classes))
