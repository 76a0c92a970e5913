"""What a modality's parts promise while a table is read and encoded; mmjax/modalities/base.py says how they meet."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Int, UInt64

from mmjax.data.arrays import Allocate
from mmjax.data.cells import READING
from mmjax.data.data_report import DataReport


def id_dtype(count: int) -> str:
    """Of ids below `count`, and -1: half the memory where they fit, so that a million rows of text stay small."""
    return "int16" if count <= 1 << 15 else "int32"


class PathOption(NamedTuple):
    """A path a person may give when predicting: `--<flag>`, `config.data.<setting>`."""

    flag: str
    setting: str
    what: str


@dataclass(frozen=True)
class TableContext:
    """A table that is read, and what its readers need to know.

    Attributes:
      path: the table's name for messages.
      root: folder that other paths are relative to.
      report: told of every problem.
      cache: folder for what is kept between runs.
      spill: folder for columns of a table larger than memory; None keeps them in memory.
      predicting: rows to predict may lack anything; training rows may not all lack a modality.
      log: prints a line.
      progress: told how many files of how many are read.
      reading: how cells are read, see `data/cells.py`.
      shared: readers of columns that several modalities read, by what they read.
    """

    path: str
    root: Path
    report: DataReport
    cache: Path
    spill: Path | None = None
    predicting: bool = False
    log: Callable[[str], None] | None = None
    progress: Callable[[int, int], None] | None = None
    reading: int = READING
    shared: dict[Any, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class TrainingLabels:
    """What an encoder that learns from labels may know.

    Attributes:
      rows: training rows of the fold, those of the inner validation included.
      label_N: class index of each row of the table, -1 without one; none but those of `rows` may be read.
      classes: K; 0: there are none to read.
      group_column: column whose values never straddle two folds; '': folds are random.
      group_N: its values as numbers, where there is one.
      unlabelled: rows of which what needs no label may be learnt too.
    """

    rows: Int[np.ndarray, " n"]
    label_N: Int[np.ndarray, " N"]
    classes: int
    group_column: str = ""
    group_N: Int[np.ndarray, " N"] | None = None
    unlabelled: Int[np.ndarray, " u"] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def every_row(self) -> Int[np.ndarray, " n"]:
        """`rows` and `unlabelled`, sorted."""
        return np.union1d(self.rows, self.unlabelled) if len(self.unlabelled) else self.rows

    @classmethod
    def none(cls, rows: Int[np.ndarray, " n"], table_rows: int) -> "TrainingLabels":
        """Of training rows that have no labels."""
        return cls(rows, np.full(table_rows, -1), 0)

    @property
    def unit_N(self) -> Int[np.ndarray, " N"]:
        """Rows that must not know one another's labels share a number: those of a group, where folds keep groups together."""
        return np.arange(len(self.label_N)) if self.group_N is None else np.asarray(self.group_N)


class Columns(ABC):
    """A modality of all N rows of a table, before any fold: a frozen dataclass whose arrays have a row axis first."""

    tells_absent: ClassVar[bool] = False  # its reader has told why each absent row is so; else `open_dataset` tells that it is

    @property
    @abstractmethod
    def present(self) -> Bool[np.ndarray, " N"]:
        """Which rows have the modality."""

    @abstractmethod
    def fingerprints(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """Name and 64 bits a row of every column: tells whether a table has changed (mmjax/datasets/fingerprint.py)."""

    def copies(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """What, and 64 bits a row that two rows share only where one is a copy of the other; 0 where that cannot be told."""
        yield from ()

    def part(self, rows: slice) -> Self:
        """Consecutive rows, as views: a memory-mapped table stays on the disk."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return replace(self, **{n: v[rows] for n, v in values.items() if isinstance(v, np.ndarray)})  # type: ignore[type-var]


class Reader(ABC):
    """Collects a modality's columns while a table is read."""

    @abstractmethod
    def take(self, columns: Mapping[str, Sequence[str]], first: int) -> None:
        """Adds a chunk: cells by column; `first` is the number of its first row."""

    @abstractmethod
    def finish(self, ids: Sequence[str]) -> Columns:
        """All rows.

        Raises:
          DataError: no row has what training needs.
        """


class Encoder(ABC):
    """What one fold learnt of a modality on its training rows: a frozen dataclass of plain values."""

    @property
    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """What `Modality.tower` and `arrays` are sized by."""

    @abstractmethod
    def transform(self, columns: Any, rows: int, allocate: Allocate) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """Arrays of all rows, by part, in what `allocate` makes, and which rows are present.

        Args:
          columns: `Columns`; None where a table lacks the modality: it is absent in every row.
          rows: N.
          allocate: makes the arrays.
        """

    def transform_training(
        self, columns: Any, labels: TrainingLabels, allocate: Allocate
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """As `transform`, of the table that the encoder was fitted on: no value of a training row knows the row's own label.

        What a model trains on must look like what it will be given: a row to predict has no label to know.

        Args:
          columns: of the table.
          labels: what the encoder was fitted on.
          allocate: makes the arrays.
        """
        return self.transform(columns, len(labels.label_N), allocate)

    def notes(self) -> list[str]:
        """Sentences for the log."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """Plain values and arrays, which `FoldEncoders.save` keeps apart; `Modality.load_encoder(to_dict())` encodes alike."""
        return asdict(self)  # type: ignore[call-overload]
