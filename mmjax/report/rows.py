"""Rows worth looking at, with their cells and photos, read from the table again."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmjax.config import Settings
from mmjax.data.data_report import DataReport
from mmjax.data.image_decode import thumbnail
from mmjax.data.sources import open_source
from mmjax.datasets.locations import cache_dir, find_files
from mmjax.errors import DataError, MmjaxError
from mmjax.modalities.base import Modality, TableContext, modalities_of
from mmjax.report.contents import Card, Cards
from mmjax.report.explanations import RowExplanation, Word
from mmjax.schema import Schema
from mmjax.tasks.parts import Example, Examples

SIDE, MOST_BYTES = 180, 2 * 2**20
"""Of a small picture in pixels; of all pictures of a page, as they stand in it."""
_LONG, _LONGEST_TEXT, _MOST_CELLS = 48, 500, 24


@dataclass
class RowReader:
    """Reads some rows of a run's table as training found it.

    Attributes:
      settings, schema: of the run.
      cells: of the rows that were asked for, by row number.
      taken: bytes of photos so far.
    """

    settings: Settings
    schema: Schema
    cells: dict[int, dict[str, str]] = field(default_factory=dict)
    taken: int = 0
    _modalities: list[Modality] = field(default_factory=list)
    _source: TableContext | None = None

    def read(self, rows: Mapping[int, str]) -> None:
        """Finds the cells of the rows, given by number with their ids.

        Raises:
          MmjaxError: the table is not where it was, or another.
        """
        data = self.settings.data
        files = find_files(data, self.schema)
        path, header, lines, _ = open_source(files.table, DataReport())
        self._source = TableContext(path, files.root, DataReport(), cache_dir(data), predicting=True)
        self._modalities = modalities_of(self.schema, data, self.settings.model.modalities)
        last = max(rows, default=-1)
        for number, line in enumerate(lines):
            if number in rows:
                cells = dict(zip(header, line, strict=False))
                if self.schema.id and cells.get(self.schema.id, "").strip() != rows[number]:
                    raise DataError(f"{path}: row {number + 1} is not {rows[number]!r} any more; the table has changed.")
                self.cells[number] = cells
            if number >= last:
                break

    def shown(self, row: int) -> tuple[dict[str, str], dict[str, str]]:
        """Short and long cells of a row, of the columns that the schema names, but for id and label."""
        own = self.cells.get(row, {})
        columns = [c for c in dict.fromkeys([*self.schema.roles(), *self.schema.pattern_columns]) if c in own]
        kept = {c: own[c].strip() for c in columns if c not in (self.schema.id, self.schema.label) and own[c].strip()}
        short = {c: v for c, v in kept.items() if len(v) <= _LONG}
        long = {c: v if len(v) <= _LONGEST_TEXT else f"{v[:_LONGEST_TEXT]}…" for c, v in kept.items() if len(v) > _LONG}
        return dict(list(short.items())[:_MOST_CELLS]), dict(list(long.items())[:_MOST_CELLS])

    def room_for(self, pictures: Mapping[str, str]) -> dict[str, str]:
        """Those of some pictures that there is still room for."""
        kept = {}
        for name, uri in pictures.items():
            if self.taken + len(uri) <= MOST_BYTES:
                self.taken += len(uri)
                kept[name] = uri
        return kept

    def photos(self, row: int) -> dict[str, str]:
        """Small pictures of a row's photos as data: URIs, as long as there is room; what cannot be read is left out."""
        found: dict[str, str] = {}
        for modality in self._modalities if row in self.cells else ():
            assert self._source is not None
            with suppress(MmjaxError, KeyError, ValueError, OSError):
                if path := modality.photo(self.cells[row], self._source):
                    uri = _data_uri(path)
                    if self.taken + len(uri) <= MOST_BYTES:
                        self.taken += len(uri)
                        found[modality.name] = uri
        return found


def cards(
    groups: Sequence[Examples],
    reader: RowReader,
    row_n: np.ndarray,
    ids: Sequence[str],
    explained: Mapping[str, RowExplanation],
    photos: bool,
) -> list[Cards]:
    """The rows as cards.

    Args:
      groups: of lines of predictions.csv.
      reader: has read their cells, or has none.
      row_n: row of the table of each line of predictions.csv.
      ids: of the lines.
      explained: by id.
      photos: whether they are shown.
    """

    def card(example: Example) -> Card:
        row, name = int(row_n[example.place]), str(ids[example.place])
        short, long = reader.shown(row)
        why = explained.get(name)
        pictures = reader.photos(row) if photos else {}
        said = {}
        if why is not None:
            said = {"spoke": why.shapley, "spoke_for": why.name, "spoke_from": why.base_value, "effects": why.effects}
            whole = reader.cells.get(row, {})
            long |= {c: short.pop(c) for c in why.words if c in short}
            marked = {c: coloured_words(whole[c], words, len(long[c])) for c, words in why.words.items() if c in long}
            said |= {"marked": marked, "overlays": reader.room_for(why.pictures) if photos else {}}
        return Card(name, example.label, example.prediction, example.right, example.shares, pictures, short, long, **said)

    return [Cards(group.title, group.caption, [card(example) for example in group.rows]) for group in groups]


def _data_uri(path: Path) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(thumbnail(path, SIDE)).decode()}"


def coloured_words(text: str, words: Sequence[Word], length: int) -> list[tuple[str, float]]:
    """A text in pieces, each with how strongly it speaks, from -1 to 1; 0 for what lies between words.

    Args:
      text: the whole cell.
      words: start, end and effect of each.
      length: characters that are shown.
    """
    strongest, at, pieces = max([abs(effect) for _, _, effect in words] + [1e-9]), 0, []
    for start, end, effect in words:
        if end > min(length, _LONGEST_TEXT):
            break
        pieces += [(text[at:start], 0.0), (text[start:end], effect / strongest)]
        at = end
    return [*pieces, (f"{text[at:_LONGEST_TEXT]}{'…' if len(text) > _LONGEST_TEXT else ''}", 0.0)]
