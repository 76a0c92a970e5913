"""Labels between Python's values and a table's texts: 3 and '3', True and 'True', a date and its text."""

import io
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mmjax.data.cells import category_name, is_missing
from mmjax.data.data_report import DataReport
from mmjax.data.sources import Source, open_source
from mmjax.errors import DataError, SchemaError
from mmjax.schema import Schema


def kinds(column: Any) -> list[Any]:
    """A label column's different values, as JSON can keep them; what it cannot keep, a date for one, by its text."""
    found = column.dropna().unique().tolist()
    return [kind if isinstance(kind, str | int | float | bool) else texts([kind])[0] for kind in found]


def texts(values: list[Any]) -> list[str]:
    """Values as the table has them."""
    return [category_name(row[0]) for row in open_source(pd.DataFrame({"label": values}), DataReport()).rows]


def parsed(names: Sequence[str]) -> Any:
    """Class names of a file as what `pd.read_csv` takes them for: numbers, true and false, or text."""
    text = pd.DataFrame({"label": list(names)}).to_csv(index=False)
    found = pd.read_csv(io.StringIO(text), keep_default_na=False)["label"]
    return found if texts(found.tolist()) == [category_name(name) for name in names] else pd.Series(names, dtype=object)


def class_values(names: Sequence[str], values: Sequence[Any]) -> np.ndarray:
    """The Python value of each class name; of values with one text (' hi', 'hi') the one that is the text itself.

    A class without a row, which a schema may name, has no value but its name.
    """
    by_text: dict[str, Any] = {}
    for text, value in zip(texts(list(values)), values, strict=True):
        if text not in by_text or str(value) == text:
            by_text[text] = value
    found = [by_text.get(category_name(name), name) for name in names]
    return np.array(found, None if all(isinstance(v, int | float) for v in found) else object)


def with_labels(X: pd.DataFrame, y: Any, label: str) -> tuple[pd.DataFrame, str]:
    """A table with its labels as one more column, and that column's name.

    Raises:
      SchemaError: X has a column of that name, so a model would read its own answer.
    """
    name = label or str(getattr(y, "name", None) or "")
    columns = [str(c).strip() for c in X.columns]
    if name.strip() in columns and name:
        raise SchemaError(f"X holds the column {name!r} beside y: leave it out of X, or give label={name!r} and no y.")
    name = name or "label"
    while name in columns:
        name += "_"
    return X.assign(**{name: getattr(y, "array", y)}), name  # by place, whatever y's index


def numbers_schema(columns: pd.DataFrame, label: str) -> Schema | None:
    """An array's schema, if it holds nothing but numbers: all are numbers, few different values or not."""
    numeric = all(d.kind in "biuf" for d in columns.dtypes)
    return Schema.from_dict({"label": label, "continuous": list(columns)}) if numeric else None


def named_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The table under the names that a file would have: text, trimmed."""
    return table.set_axis([str(c).strip() for c in table.columns], axis=1)


def check_labels(table: Any, name: str, said: Collection[str] = ()) -> None:
    """Refuses a class of a DataFrame whose name means 'no label' in a table, unless the schema says what it means.

    Args:
      table: whose labels are looked at, if it is a DataFrame.
      name: of the label column.
      said: what the schema names as classes, or as missing.

    Raises:
      DataError: names it.
    """
    column = table[name] if isinstance(table, pd.DataFrame) and name in table else pd.Series()
    for value in column.dropna().unique().tolist() if column.ndim == 1 else ():
        if isinstance(value, str) and value.strip() and is_missing(value) and value.strip() not in said:
            raise DataError(
                f"the label column {name!r} holds {value!r}, which a table takes for no label: rename it, make it NaN, or name "
                "it in the schema's classes or missing."
            )


def known_labels(table: Source, column: str, classes: np.ndarray) -> list[Any]:
    """The class of each row of a labelled table, None where it has none of the model's.

    Raises:
      SchemaError: there is no such column.
      DataError: no row has one of the classes.
    """
    name, header, rows, _ = open_source(table, DataReport())
    if column not in header:
        raise SchemaError(f"{name}: has no column {column!r}; give y.")
    at, known = header.index(column), dict(zip(texts(classes.tolist()), classes, strict=True))
    found = [known.get(category_name(row[at])) for row in rows]
    if all(label is None for label in found):
        raise DataError(f"{name}: no row has one of the labels {', '.join(map(str, classes))} to score.")
    return found
