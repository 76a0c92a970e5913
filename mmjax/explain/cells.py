"""Rows as cells, and rows with changed cells read again by the modalities that read them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Int

from mmjax.data.arrays import in_memory
from mmjax.data.data_report import DataReport
from mmjax.data.sources import Source, open_source
from mmjax.explain.answers import Arrays
from mmjax.inference import Ensemble, Member
from mmjax.modalities.base import Modality, modalities_of
from mmjax.new_table import open_new_table


def read_cells(table: Source, rows: Int[np.ndarray, " n"] | None = None) -> pd.DataFrame:
    """Cells of a table as strings; only of the given rows, in their order."""
    _, header, found, _ = open_source(table, DataReport())
    if rows is None:
        return pd.DataFrame(list(found), columns=header, dtype=object)
    wanted = {int(row): i for i, row in enumerate(rows)}
    kept = {wanted[i]: cells for i, cells in enumerate(found) if i in wanted}
    return pd.DataFrame([kept[i] for i in range(len(rows))], columns=header, dtype=object)


@dataclass
class Rereader:
    """Reads cells of a table again, changed, as the ensemble reads a new table.

    Attributes:
      ensemble: whose schema and modalities count.
      paths: where photos and other files lie, by `PathOption.flag`.
    """

    ensemble: Ensemble
    paths: Mapping[str, str] = field(default_factory=dict)

    @property
    def modalities(self) -> list[Modality]:
        """The ensemble's."""
        return modalities_of(self.ensemble.schema, self.ensemble.settings.data, self.ensemble.spec.modalities)

    def readers(self, column: str) -> list[Modality]:
        """Who reads a column."""
        return [m for m in self.modalities if column in m.reads]

    def columns(self, header: Iterable[str]) -> list[str]:
        """Columns of a table that some modality reads."""
        return [c for c in header if self.readers(c)]

    def read(self, cells: pd.DataFrame, names: Sequence[str], members: Sequence[Member]) -> list[Arrays]:
        """Arrays of some modalities by each fold's encoders, and in `present` a column for each of `names`.

        Raises:
          MmjaxError: as `open_new_table`.
        """
        dataset = open_new_table(self.ensemble, cells, DataReport(), paths=self.paths, only=names)
        found = []
        for member in members:
            arrays, present = {}, []
            for name in names:
                encoder = member.encoders.encoders[name]
                parts, present_N = encoder.transform(dataset.columns.get(name), len(cells), in_memory)
                arrays |= {f"{name}/{part}": values for part, values in parts.items()}
                present.append(present_N)
            found.append(arrays | {"present": np.stack(present, axis=1)})
        return found


def merged(arrays: Arrays, changed: Arrays, names: Sequence[str], modalities: Sequence[str]) -> Arrays:
    """What rows have of `names` when they are read again, and `present` of all modalities.

    Args:
      arrays: of N rows as they were.
      changed: what `Rereader.read` has found for N rows.
      names: modalities that were read again.
      modalities: all of the model, in canonical order.
    """
    present_NxM = arrays["present"].copy()
    present_NxM[:, [modalities.index(name) for name in names]] = changed["present"]
    return changed | {"present": present_NxM}
