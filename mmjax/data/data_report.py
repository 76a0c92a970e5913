"""What was wrong with the data and what was done about it, counted; strict mode refuses instead."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mmjax.errors import DataError

MOST = 1000
"""Entries kept of a kind; all are counted."""


class DataReport:
    """Collects problems; each names file, row, column and value where it can.

    Args:
      strict: the first problem is an error.
    """

    def __init__(self, strict: bool = False):
        self.strict = strict
        self._counts: Counter[str] = Counter()
        self._entries: dict[str, list[dict[str, Any]]] = {}
        self._further: dict[str, tuple[int, str]] = {}

    def goes_on(self, file: str, row: int, further: str) -> None:
        """From `row` on, counted from 0, the rows of `file` lie in the file `further`, from its first row on."""
        self._further[file] = row, further

    def add(
        self,
        kind: str,
        *,
        file: str,
        row: int | None = None,
        column: str | None = None,
        value: Any = None,
        action: str,
        refuse: bool = True,
    ) -> None:
        """Counts a problem.

        Args:
          kind: one word, such as `image_broken`.
          file: file it is in.
          row: data row counted from 0; shown counted from 1, the header not counted.
          column: column name.
          value: offending value; shown cut to 80 characters.
          action: what was done about it.
          refuse: False: worth knowing, but nothing to mend, so that strict mode takes it too.

        Raises:
          DataError: the report is strict.
        """
        first, further = self._further.get(file, (0, ""))
        if further and row is not None and row >= first:
            file, row = further, row - first
        file = _plain(file, 400)
        entry: dict[str, Any] = {"file": file}
        if row is not None:
            entry["row"] = int(row) + 1
        if column is not None:
            entry["column"] = _plain(column, 80)
        if value is not None:
            entry["value"] = repr(value)[:80] if not isinstance(value, str) else value[:80]
        entry["action"] = action
        if self.strict and refuse:
            place = ", ".join(
                f"{k} {entry[k]!r}" if k == "value" else f"{k} {entry[k]}" for k in ("row", "column", "value") if k in entry
            )
            raise DataError(
                f"{file}: {kind}{': ' + place if place else ''} ({action}); mend it or set config.data.strict=False."
            )
        self._counts[kind] += 1
        kept = self._entries.setdefault(kind, [])
        if len(kept) < MOST:
            kept.append(entry)

    def counts(self) -> dict[str, int]:
        """How many problems of each kind."""
        return dict(sorted(self._counts.items()))

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """The first problems of a kind."""
        return list(self._entries.get(kind, []))

    def summary_lines(self) -> list[str]:
        """A line a kind: how many, the first one, what was done."""
        lines = []
        for kind, count in self.counts().items():
            first = self._entries[kind][0]
            place = ", ".join(f"{k} {_plain(str(first[k]), 80)}" for k in ("row", "column", "value") if k in first)
            lines.append(f"data: {count} x {kind}; first: {first['file']}{', ' + place if place else ''}; {first['action']}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Counts, and the first entries of each kind."""
        return {"counts": self.counts(), "entries": {k: self._entries[k] for k in sorted(self._entries)}}

    def dumps(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> None:
        """Writes data_report.json, whole or not at all."""
        from mmjax.io.atomic import write_text  # noqa: PLC0415 - atomic imports nothing of data

        write_text(path, self.dumps())


def _plain(text: str, longest: int) -> str:
    """One line a terminal can show: names come from the table, and may hold newlines, escapes or a whole file."""
    text = text[:longest]
    return text if text.isprintable() else repr(text)[1:-1]
