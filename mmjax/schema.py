"""Which column is what. A schema is a TOML file, read once and checked against the table's header."""

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mmjax.errors import SchemaError

_PLACE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Schema:
    """Roles of a table's columns; '' or () means the table has no such column.

    Attributes:
      id: unique name of a row; '' numbers the rows.
      label: the class.
      group: rows that belong together (a seller, a patient) and never straddle two grouped folds.
      categorical: one-hot columns.
      continuous: number columns.
      text: free text.
      image: column with the photo's path, relative to `image_dir`.
      image_pattern: photo's path made from columns, such as "{PetID}-1.jpg"; instead of `image`.
      image_dir: folder of photos, relative to the data set's root.
      image_features: .npz with `ids` and `features`, an image seen as a ready-made vector.
      classes: order of the labels; () sorts them.
      ignore: columns that are known and not read; a column that is named nowhere is reported (strict mode refuses it).
    """

    id: str = ""
    label: str = ""
    group: str = ""
    categorical: tuple[str, ...] = ()
    continuous: tuple[str, ...] = ()
    text: str = ""
    image: str = ""
    image_pattern: str = ""
    image_dir: str = ""
    image_features: str = ""
    classes: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> "Schema":
        """Reads a TOML file.

        Raises:
          SchemaError: no such file, not TOML, an unknown key or a value of the wrong type.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            values = tomllib.loads(text)
        except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not TOML, a number of 5,000 digits
            raise SchemaError(f"{path}: the schema cannot be read: {error}.") from error
        return cls.from_dict(values, str(path))

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "schema") -> "Schema":
        """Checks keys and types; `where` names the file in errors."""
        known = {f.name: isinstance(f.default, tuple) for f in fields(cls)}
        clean: dict[str, Any] = {}
        for key, value in values.items():
            if key not in known:
                raise SchemaError(
                    f"{where}: {key!r} is no key of a schema{_near(key, list(known))}; keys are {', '.join(known)}."
                )
            if known[key]:
                if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
                    raise SchemaError(f"{where}: {key} must be a list of strings, got {value!r}.")
                clean[key] = tuple(value)
            elif not isinstance(value, str):
                raise SchemaError(f"{where}: {key} must be a string, got {value!r}.")
            else:
                clean[key] = value
        if clean.get("image") and clean.get("image_pattern"):
            raise SchemaError(f"{where}: give image (a column) or image_pattern, not both.")
        pattern = clean.get("image_pattern", "")
        if pattern and (not _PLACE.search(pattern) or set("{}") & set(_PLACE.sub("", pattern))):
            raise SchemaError(f"{where}: image_pattern {pattern!r} must name a column in braces, as in '{{id}}.jpg'.")
        if len(set(clean.get("classes", ()))) != len(clean.get("classes", ())):
            raise SchemaError(f"{where}: classes names a class twice.")
        return cls(**clean)

    def dumps(self) -> str:
        """The schema as TOML; `from_dict(tomllib.loads(dumps()))` is the schema."""
        lines = []
        for key, value in asdict(self).items():
            if isinstance(value, str) and value:
                lines.append(f"{key} = {_quote(value)}")
            elif value:
                lines.append(f"{key} = [{', '.join(_quote(v) for v in value)}]")
        return "\n".join(lines) + "\n"

    @property
    def pattern_columns(self) -> tuple[str, ...]:
        """Columns that `image_pattern` names."""
        return tuple(_PLACE.findall(self.image_pattern))

    def roles(self) -> dict[str, str]:
        """Every named column and its role."""
        single = {n: getattr(self, n) for n in ("id", "label", "group", "text", "image")}
        roles = {column: role for role, column in single.items() if column}
        for role in ("categorical", "continuous"):
            roles |= dict.fromkeys(getattr(self, role), role)
        return roles

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
        for column, role in [*self.roles().items(), *((c, "image_pattern") for c in self.pattern_columns)]:
            if column not in columns and column not in optional:
                raise SchemaError(
                    f"{where}: has no column {column!r}, which the schema names as {role}{_near(column, columns)}; "
                    f"its columns are {listed(columns)}."
                )
        inputs = [*self.categorical, *self.continuous, *((self.text,) if self.text else ())]
        if twice := [c for c in inputs if inputs.count(c) > 1]:
            raise SchemaError(f"{where}: the schema names the column {twice[0]!r} as input twice; give it one role.")
        if self.label and self.label in inputs:
            raise SchemaError(f"{where}: the label {self.label!r} is also an input; a model would read its own answer.")
        if both := [c for c in self.ignore if c in self.roles()]:
            raise SchemaError(f"{where}: the schema ignores {both[0]!r} and names it as {self.roles()[both[0]]}; drop one.")


def listed(columns: Sequence[str]) -> str:
    """Column names for a message: a damaged header can be as long as the file."""
    shown = [name[:40] for name in columns[:30]]
    return ", ".join(shown) + (f" and {len(columns) - len(shown)} more" if len(columns) > len(shown) else "")


def _quote(text: str) -> str:
    body = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else {'"': '\\"', "\\": "\\\\"}.get(c, c) for c in text)
    return f'"{body}"'


def _near(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, [n for n in names if len(n) <= 200], 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
