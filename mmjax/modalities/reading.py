"""What a modality's parts promise while a table is read and encoded; mmjax/modalities/base.py says how they meet."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, UInt64

from mmjax.data.arrays import Allocate
from mmjax.data.data_report import DataReport


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
    """

    path: str
    root: Path
    report: DataReport
    cache: Path
    spill: Path | None = None
    predicting: bool = False
    log: Callable[[str], None] | None = None
    progress: Callable[[int, int], None] | None = None


class Columns(ABC):
    """A modality of all N rows of a table, before any fold: a frozen dataclass whose arrays have a row axis first."""

    @property
    @abstractmethod
    def present(self) -> Bool[np.ndarray, " N"]:
        """Which rows have the modality."""

    @abstractmethod
    def fingerprints(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """Name and 64 bits a row of every column: tells whether a table has changed (mmjax/datasets/fingerprint.py)."""

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

    def notes(self) -> list[str]:
        """Sentences for the log."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `Modality.load_encoder(to_dict())` encodes alike."""
        return asdict(self)  # type: ignore[call-overload]
