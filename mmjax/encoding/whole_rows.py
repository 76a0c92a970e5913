"""Texts and table of a row together, for modalities that read all of them; read once for all such modalities."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from jaxtyping import Bool, UInt64

from mmjax.data.data_report import DataReport
from mmjax.encoding.base import Columns, Reader, TableContext
from mmjax.encoding.tabular_columns import TabularColumns, TabularReader
from mmjax.encoding.texts.raw_texts import RawTextReader, RawTexts
from mmjax.schema import Schema


@dataclass(frozen=True)
class WholeRows(Columns):
    """All rows: texts, where there are any, and the table."""

    texts: RawTexts | None
    table: TabularColumns

    @property
    def present(self) -> Bool[np.ndarray, " N"]:
        """Every row."""
        return self.table.present

    def part(self, rows: slice) -> Self:
        """Consecutive rows."""
        return type(self)(None if self.texts is None else self.texts.part(rows), self.table.part(rows))

    def fingerprints(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """Of texts and table."""
        if self.texts is not None:
            yield from self.texts.fingerprints()
        yield from self.table.fingerprints()


class WholeRowReader(Reader):
    """Two readers in one, and one for all modalities."""

    def __init__(self, texts: RawTextReader | None, table: TabularReader):
        self._texts, self._table, self._rows = texts, table, 0
        self._finished: WholeRows | None = None

    @classmethod
    def of(cls, schema: Schema, texts: Sequence[str], source: TableContext) -> "WholeRowReader":
        """The table's reader of all that the schema names as categorical or continuous, and of these texts."""
        key = (cls, *texts)
        if key not in source.shared:
            table = TabularReader(schema, replace(source, report=DataReport()))  # the table's own modality reports
            source.shared[key] = cls(RawTextReader.of(texts, source) if texts else None, table)
        return source.shared[key]

    def take(self, columns: Mapping[str, Sequence[str]], first: int) -> None:
        """Adds a chunk, unless another modality has brought it already."""
        if first < self._rows:
            return
        self._rows = first + len(next(iter(columns.values())))
        if self._texts is not None:
            self._texts.take(columns, first)
        self._table.take(columns, first)

    def finish(self, ids: Sequence[str]) -> WholeRows:
        """All rows."""
        if self._finished is None:
            self._finished = WholeRows(None if self._texts is None else self._texts.finish(ids), self._table.finish(ids))
        return self._finished
