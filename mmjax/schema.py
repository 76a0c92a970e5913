"""Which column is what. A schema is a TOML file, read once and checked against the table's header.

`id`, `label`, `group`, `classes`, `ordered`, `missing`, `one_spelling`, `number_format` and `ignore` are its own; the other
keys belong to the modalities, which say what they read (`Modality.schema_keys`).
"""

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmjax import registry
from mmjax.errors import SchemaError

_PLACE = re.compile(r"\{([^{}]*)\}")
_ONE, _LISTS = ("id", "label", "group"), ("classes", "missing", "one_spelling", "ignore")
_OWN = (*_ONE, *_LISTS, "ordered", "number_format")


@dataclass(frozen=True)
class SchemaKey:
    """A key of the schema that a modality reads.

    Attributes:
      name: the key.
      holds: column (names of columns) | pattern (text made from columns in braces) | value (anything else).
      listed: always a list; else a single value is written as a string, and several as a list.
      aliases: other names for it.
      instead_of: a key that may not stand beside it.
    """

    name: str
    holds: str = "column"
    listed: bool = False
    aliases: tuple[str, ...] = ()
    instead_of: str = ""


@dataclass(frozen=True)
class Schema:
    """Roles of a table's columns; '' or () means the table has no such column.

    Attributes:
      id: unique name of a row; '' numbers the rows.
      label: what is predicted.
      group: rows that belong together (a seller, a patient) and never straddle two grouped folds.
      classes: order of the labels; () sorts them.
      ordered: whether the classes have an order, as grades have; None: if they are numbers, or `classes` gives one.
      missing: cells that mean no value, in every column.
      one_spelling: columns whose values are one where they differ in capitals, spaces or Unicode form alone.
      number_format: how numbers are written, by column, as an example: "1.234,5", "$1,234", "1%".
      ignore: columns that are known and not read; a column that is named nowhere is reported (strict mode refuses it).
      inputs: the modalities' keys that are given.
    """

    id: str = ""
    label: str = ""
    group: str = ""
    classes: tuple[str, ...] = ()
    ordered: bool | None = None
    missing: tuple[str, ...] = ()
    one_spelling: tuple[str, ...] = ()
    number_format: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __getitem__(self, key: str) -> tuple[str, ...]:
        """The values of a modality's key; () where it is not given."""
        return self.inputs.get(key, ())

    @classmethod
    def load(cls, path: str | Path) -> "Schema":
        """Reads a TOML file.

        Raises:
          SchemaError: no such file, not TOML, an unknown key or a value of the wrong type.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise SchemaError(
                f"{path}: there is no such schema file; check the path, or write one with `mmjax schema`."
            ) from error
        except OSError as error:
            raise SchemaError(f"{path}: the schema cannot be read ({error.strerror or error}); name its TOML file.") from error
        except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, a number of 5,000 digits
            raise SchemaError(
                f"{path}: the schema cannot be read: {error}; mend it, or write one with `mmjax schema`."
            ) from error
        return cls.from_dict(values, str(path))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "schema") -> "Schema":
        """Checks keys and types; `where` names the file in errors."""
        keys = {alias: key for key in input_keys() for alias in (key.name, *key.aliases)}
        own: dict[str, Any] = {}
        inputs: dict[str, tuple[str, ...]] = {}
        for name, value in values.items():
            if name in _ONE:
                own[name] = _string(value, f"{where}: {name} must be a string", f'write {name} = "COLUMN"')
            elif name in _LISTS or (name in keys and keys[name].listed):
                found = _strings(value, f"{where}: {name} must be a list of strings", f'write {name} = ["A", "B"]')
                if name in _LISTS:
                    own[name] = found
                else:
                    inputs[keys[name].name] = found
            elif name == "ordered":
                if not isinstance(value, bool):
                    raise SchemaError(f"{where}: ordered must be true or false, not {str(value)[:80]}; write ordered = true.")
                own[name] = value
            elif name == "number_format":
                own[name] = _number_formats(value, where)
            elif name in keys:
                single = (value,) if isinstance(value, str) else value
                write = f'write {name} = "A", or {name} = ["A", "B"] for several'
                found = _strings(single, f"{where}: {name} must be a string, or a list of strings for several", write)
                inputs[keys[name].name] = tuple(v for v in found if v)
            else:
                known = (*_OWN, *(key.name for key in input_keys()))
                raise SchemaError(f"{where}: {name!r} is no key of a schema{_near(name, known)}; keys are {', '.join(known)}.")
        schema = cls(**own, inputs={name: found for name, found in inputs.items() if found})
        schema._check_values(where)
        return schema

    def _check_values(self, where: str) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise SchemaError(f"{where}: classes names a class twice.")
        for key in input_keys():
            if self[key.name] and key.instead_of and self[key.instead_of]:
                raise SchemaError(f"{where}: give {key.instead_of} (a column) or {key.name}, not both.")
            for text in self[key.name] if key.holds == "pattern" else ():
                if not _PLACE.search(text) or set("{}") & set(_PLACE.sub("", text)):
                    raise SchemaError(f"{where}: {key.name} {text!r} must name a column in braces, as in '{{id}}.jpg'.")

    def dumps(self) -> str:
        """The schema as TOML; `from_dict(tomllib.loads(dumps()))` is the schema."""
        lines = [f"{name} = {_quote(getattr(self, name))}" for name in _ONE if getattr(self, name)]
        for key in input_keys():
            if found := self[key.name]:
                single = len(found) == 1 and not key.listed
                lines.append(f"{key.name} = {_quote(found[0]) if single else _quote_list(found)}")
        lines += [f"{name} = {_quote_list(getattr(self, name))}" for name in _LISTS if getattr(self, name)]
        lines += [f"ordered = {str(self.ordered).lower()}"] if self.ordered is not None else []
        if formats := ", ".join(f"{_quote(column)} = {_quote(form)}" for column, form in self.number_format.items()):
            lines.append(f"number_format = {{{formats}}}")
        return "\n".join(lines) + "\n"

    @property
    def pattern_columns(self) -> tuple[str, ...]:
        """Columns that patterns name."""
        texts = [text for key in input_keys() if key.holds == "pattern" for text in self[key.name]]
        return tuple(dict.fromkeys(column for text in texts for column in columns_of(text)))

    def roles(self) -> dict[str, str]:
        """Every named column and its role."""
        roles = {getattr(self, role): role for role in _ONE if getattr(self, role)}
        for column, role in self._input_columns():
            roles[column] = role
        return roles

    def _input_columns(self) -> list[tuple[str, str]]:
        return [(column, key.name) for key in input_keys() if key.holds == "column" for column in self[key.name]]

    def inputs_by_column(self) -> dict[str, str]:
        """The key of each column that is named as an input."""
        return dict(self._input_columns())

    def unused(self, columns: Sequence[str]) -> list[str]:
        """Columns of a table that the schema names nowhere."""
        known = {*self.roles(), *self.pattern_columns, *self.ignore}
        return [c for c in columns if c not in known]

    def check(self, columns: Sequence[str], where: str, *, optional: Sequence[str] = ()) -> None:
        """Compares with a table's header.

        Args:
          columns: the table's columns.
          where: the table's path, for messages.
          optional: columns that may be absent (the label, when predicting).

        Raises:
          SchemaError: a column is missing, or one column has two roles that cannot be meant.
        """
        # Spreadsheets end lines in commas: columns without a name are no two columns of one name.
        if twice := sorted(c for c, count in Counter(columns).items() if c and count > 1):
            raise SchemaError(f"{where}: the header has the column {twice[0]!r} twice; rename one.")
        patterns = [(c, "part of a pattern") for c in self.pattern_columns]
        for column, role in [*self.roles().items(), *patterns]:
            if column not in columns and column not in optional:
                raise SchemaError(
                    f"{where}: has no column {column!r}, which the schema names as {role}{_near(column, columns)}; "
                    f"its columns are {listed(columns)}."
                )
        for column in (*self.one_spelling, *self.number_format):
            if column not in columns and column not in self.ignore:  # ignored: a label that a table to predict has not
                raise SchemaError(
                    f"{where}: has no column {column!r}, whose cells the schema describes{_near(column, columns)}."
                )
        inputs = [column for column, _ in self._input_columns()]
        if repeated := [c for c in inputs if inputs.count(c) > 1]:
            raise SchemaError(f"{where}: the schema names the column {repeated[0]!r} as input twice; give it one role.")
        if self.label and self.label in inputs:
            raise SchemaError(f"{where}: the label {self.label!r} is also an input; a model would read its own answer.")
        if both := [c for c in self.ignore if c in self.roles()]:
            raise SchemaError(f"{where}: the schema ignores {both[0]!r} and names it as {self.roles()[both[0]]}; drop one.")


def input_keys() -> list[SchemaKey]:
    """The modalities' keys, in canonical order."""
    return [key for cls in registry.modalities().values() for key in cls.schema_keys]


def columns_of(pattern: str) -> tuple[str, ...]:
    """Columns that a pattern names in braces."""
    return tuple(_PLACE.findall(pattern))


def listed(columns: Sequence[str]) -> str:
    """Column names for a message: a damaged header can be as long as the file."""
    shown = [name[:40] for name in columns[:30]]
    return ", ".join(shown) + (f" and {len(columns) - len(shown)} more" if len(columns) > len(shown) else "")


def _string(value: Any, problem: str, advice: str) -> str:
    if not isinstance(value, str):
        raise SchemaError(f"{problem}, not {str(value)[:80]}; {advice}.")
    return value


def _strings(value: Any, problem: str, advice: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise SchemaError(f"{problem}, not {str(value)[:80]}; {advice}.")
    return tuple(value)


def _number_formats(value: Any, where: str) -> dict[str, str]:
    write = 'write number_format = {"price" = "1.234,5"}'
    if not isinstance(value, Mapping):
        raise SchemaError(f"{where}: number_format must be a table, not {str(value)[:80]}; {write}.")
    return {c: _string(v, f"{where}: number_format of {c!r} must be a string", write) for c, v in value.items()}


def _quote(text: str) -> str:
    body = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else {'"': '\\"', "\\": "\\\\"}.get(c, c) for c in text)
    return f'"{body}"'


def _quote_list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_quote, texts))}]"


def _near(name: str, names: Sequence[str]) -> str:
    alike = [n for n in names if n.casefold() == name.casefold()]
    close = alike or difflib.get_close_matches(name, [n for n in names if len(n) <= 200], 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
