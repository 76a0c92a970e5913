"""What a run reads of its data, as fingerprints: a workdir goes on with the data it was begun with, or not at all.

A column is a 64-bit number a row and a SHA-256 of them all, which tells that it changed; 32 bits a row of all columns together
tell where. Values count, not their numbers in the table, which shift with every value that is new.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt32, UInt64

from mmjax.config import Settings
from mmjax.data.hashing import GOLDEN, hash_texts, mix
from mmjax.datasets.dataset import Dataset, group_column
from mmjax.errors import WorkdirError
from mmjax.io.atomic import write_json

_VERSION = 1


@dataclass(frozen=True)
class DataFingerprint:
    """Fingerprints of what a run reads.

    Attributes:
      columns: SHA-256 by column; photos, image vectors and `config.data.rows_with` count as columns.
      row_N: 32 bits of each row.
    """

    columns: dict[str, str]
    row_N: UInt32[np.ndarray, " N"]

    @classmethod
    def of(cls, dataset: Dataset, settings: Settings) -> "DataFingerprint":
        """Of the label, the groups and the inputs of the model; columns that nothing reads may change."""
        columns: dict[str, str] = {}
        row_N = np.zeros(len(dataset.table), np.uint64)
        for name, value_N in _columns(dataset, settings):
            columns[name] = hashlib.sha256(value_N.astype("<u8").tobytes()).hexdigest()
            row_N = mix(row_N * GOLDEN + value_N)
        return cls(columns, row_N.astype(np.uint32))

    def save(self, path: Path) -> None:
        """Writes JSON, whole or not at all.

        Raises:
          WorkdirError: the file cannot be written.
        """
        rows = base64.b64encode(self.row_N.astype("<u4").tobytes()).decode()
        write_json(path, {"version": _VERSION, "columns": self.columns, "rows": rows})

    @classmethod
    def load(cls, path: Path) -> "DataFingerprint | None":
        """Reads what `save` wrote; None where there is none, or another version's.

        Raises:
          WorkdirError: the file is damaged.
        """
        try:
            d = json.loads(path.read_text(encoding="utf-8"))
            if d["version"] != _VERSION:
                return None
            row_N = np.frombuffer(base64.b64decode(d["rows"], validate=True), "<u4")
            return cls({str(k): str(v) for k, v in d["columns"].items()}, row_N)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise WorkdirError(
                f"{path}: is damaged ({type(error).__name__}); restore it, or delete it if the data are as they were."
            ) from error

    def check(self, known: "DataFingerprint", dataset: Dataset, workdir: Path) -> None:
        """Compares with the fingerprints a workdir was begun with.

        Raises:
          WorkdirError: the data have changed since; names the first row and the columns.
        """
        changed = [n for n in {**known.columns, **self.columns} if known.columns.get(n) != self.columns.get(n)]
        if not changed:
            return
        same = len(known.row_N) == len(self.row_N)  # else the file was edited: the columns tell all the same
        rows = np.flatnonzero(known.row_N != self.row_N) if same else np.zeros(0, int)
        first = f"row {rows[0] + 1} (id {str(dataset.table.ids[rows[0]])[:80]!r}) is the first, " if len(rows) else ""
        raise WorkdirError(
            f"{dataset.table.path}: its data have changed since the workdir {workdir} was begun ({first}changed: "
            f"{', '.join(changed)}); restore them or use another workdir."
        )


def _columns(dataset: Dataset, settings: Settings) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
    """Every column the run reads, with 64 bits a row."""
    table, schema = dataset.table, dataset.schema
    if dataset.classes:
        yield schema.label, hash_texts([*dataset.classes, ""])[dataset.label]  # -1, a missing label, reads the last entry
    if dataset.usable_N is not None:
        yield "config.data.rows_with", dataset.usable_N.astype(np.uint64)
    if settings.cv.group and table.group_N is not None:  # numbered in order of appearance, so equal groups have equal numbers
        yield f"groups ({group_column(settings.cv.group, schema) or settings.cv.group})", table.group_N.astype(np.uint64)
    for modality in dataset.modalities:
        yield from dataset.columns[modality.name].fingerprints()
