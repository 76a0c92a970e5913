"""What a run reads of its data, as digests: a work folder goes on with the data it was begun with, or not at all.

A column is a 64-bit number a row and a SHA-256 of them all, which tells that it changed; 32 bits a row of all columns together
tell where. Values count, not their numbers in the table, which shift with every value that is new.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt32, UInt64

from mmjax.batch import IMAGE, IMAGE_FEATURES, TABULAR, TEXT
from mmjax.config import Settings
from mmjax.datasets.dataset import Dataset
from mmjax.errors import WorkdirError
from mmjax.io.atomic import write_json

_VERSION = 1
_BLOCK = 8192
"""Rows of words or image vectors hashed at once: they stay in the cache."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64's constants (Steele, Lea and Flood 2014)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class DataDigest:
    """Digests of what a run reads.

    Attributes:
      columns: SHA-256 by column; photos, image vectors and `config.data.rows_with` count as columns.
      row_N: 32 bits of each row.
    """

    columns: dict[str, str]
    row_N: UInt32[np.ndarray, " N"]

    @classmethod
    def of(cls, dataset: Dataset, settings: Settings) -> "DataDigest":
        """Of the label, the groups and the inputs of the model; columns that nothing reads may change."""
        columns: dict[str, str] = {}
        row_N = np.zeros(len(dataset.table), np.uint64)
        for name, value_N in _columns(dataset, settings):
            columns[name] = hashlib.sha256(value_N.astype("<u8").tobytes()).hexdigest()
            row_N = _mix(row_N * _GOLDEN + value_N)
        return cls(columns, row_N.astype(np.uint32))

    def save(self, path: Path) -> None:
        """Writes JSON, whole or not at all.

        Raises:
          WorkdirError: the file cannot be written.
        """
        rows = base64.b64encode(self.row_N.astype("<u4").tobytes()).decode()
        write_json(path, {"version": _VERSION, "columns": self.columns, "rows": rows})

    @classmethod
    def load(cls, path: Path) -> "DataDigest | None":
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

    def check(self, known: "DataDigest", dataset: Dataset, workdir: Path) -> None:
        """Compares with the digests a work folder was begun with.

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
            f"{dataset.table.path}: its data have changed since the work folder {workdir} was begun ({first}changed: "
            f"{', '.join(changed)}); restore them or use another work folder."
        )


def _columns(dataset: Dataset, settings: Settings) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
    """Every column the run reads, with 64 bits a row."""
    table, schema, modalities = dataset.table, dataset.schema, settings.model.modalities
    if settings.task == "classifier" and table.label is not None:
        yield schema.label, _of_texts([*table.classes, ""])[table.label]  # -1, a missing label, reads the last entry
    if dataset.usable_N is not None:
        yield "config.data.rows_with", dataset.usable_N.astype(np.uint64)
    if settings.cv.group and table.group is not None:  # numbered in order of appearance, so equal groups have equal numbers
        yield f"groups ({schema.group if settings.cv.group == 'schema' else settings.cv.group})", table.group.astype(np.uint64)
    if TABULAR in modalities:
        for name, values, code_N in zip(schema.categorical, table.categories, table.categorical.T, strict=True):
            yield name, _of_texts(values)[code_N]
        for name, number_N in zip(schema.continuous, table.continuous.T, strict=True):
            # One bit pattern for all nan, and for both zeros.
            yield name, _mix((np.where(np.isnan(number_N), np.nan, number_N) + 0.0).astype(np.float64).view(np.uint64))
    if TEXT in modalities and table.words.shape[1]:
        yield schema.text, _of_rows(table.words, _of_texts(table.word_list))
    if IMAGE in modalities and dataset.image_store is not None and dataset.image_store.digest_N is not None:
        yield f"photos ({schema.image or schema.image_pattern})", dataset.image_store.digest_N
    if IMAGE_FEATURES in modalities and dataset.features is not None and dataset.features_present is not None:
        yield "image vectors", np.where(dataset.features_present, _of_rows(dataset.features), np.uint64(0))


def _of_texts(texts: Sequence[str]) -> UInt64[np.ndarray, " n"]:
    """64 bits of each text; few, since a column's values and words are numbered."""
    whole = b"".join(hashlib.blake2b(t.encode("utf-8", "surrogatepass"), digest_size=8).digest() for t in texts)
    return np.frombuffer(whole, "<u8").astype(np.uint64)


def _of_rows(value_NxT: np.ndarray, lookup: np.ndarray | None = None) -> UInt64[np.ndarray, " N"]:
    """64 bits of each row of float32 numbers, or of numbers that `lookup` has 64 bits of: a sum with odd factors by place."""
    factor_T = _mix(np.arange(1, value_NxT.shape[1] + 1, dtype=np.uint64) * _GOLDEN) | np.uint64(1)
    out_N = np.zeros(len(value_NxT), np.uint64)
    for at in range(0, len(out_N), _BLOCK):
        block_nxT = np.ascontiguousarray(value_NxT[at : at + _BLOCK])
        bits_nxT = block_nxT.view(np.uint32).astype(np.uint64) if lookup is None else lookup[block_nxT]
        out_N[at : at + _BLOCK] = bits_nxT @ factor_T
    return _mix(out_N)


def _mix(value_N: UInt64[np.ndarray, " N"]) -> UInt64[np.ndarray, " N"]:
    """splitmix64's last steps: every bit of a value moves every bit of the result; one to one."""
    value_N = (value_N ^ (value_N >> np.uint64(30))) * _FIRST
    value_N = (value_N ^ (value_N >> np.uint64(27))) * _SECOND
    return value_N ^ (value_N >> np.uint64(31))
