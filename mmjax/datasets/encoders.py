"""All encoders of one fold: fitted on its training rows, saved with it, and the arrays a batch is cut from."""

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mmjax.data.arrays import Allocate, in_memory
from mmjax.data.cells import READING
from mmjax.datasets.dataset import Dataset
from mmjax.errors import CheckpointError, ConfigError
from mmjax.io.atomic import write_bytes, write_text
from mmjax.modalities.base import Encoder, InputSpec, TrainingLabels, modality_class

_VERSION = 3
"""2: encoders of reading 1 (`data/cells.py`), under a key of their own."""
_OWN = ("version", "reading", "classes", "kinds")
_ARRAY = "array"
"""Key of a dict that stands for an array which lies beside the JSON."""


@dataclass(frozen=True)
class FoldEncoders:
    """One encoder a modality, and what the model is sized by.

    Attributes:
      classes: label names in the order of the class index.
      kinds: kind of each modality, by name, in canonical order.
      encoders: by name.
      reading: how cells were read that they were fitted on, see `data/cells.py`.
    """

    classes: tuple[str, ...]
    kinds: dict[str, str]
    encoders: dict[str, Encoder]
    reading: int = READING

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        rows: NDArray[np.integer],
        group_column: str = "",
        unlabelled: NDArray[np.integer] | Sequence[int] = (),
    ) -> "FoldEncoders":
        """Fits every encoder on `rows`, the training rows of the fold, and on `unlabelled` ones what needs no label.

        Args:
          dataset: the table.
          rows: training rows.
          group_column: column whose values never straddle two folds, or ''.
          unlabelled: further rows.

        Raises:
          DataError: there is nothing to fit on.
        """
        labels = replace(training_labels(dataset, rows, group_column), unlabelled=np.asarray(unlabelled, np.int64))
        encoders = {m.name: m.fit_labels(dataset.columns[m.name], labels) for m in dataset.modalities}
        return cls(tuple(dataset.classes), {m.name: m.kind for m in dataset.modalities}, encoders, dataset.reading)

    @property
    def spec(self) -> InputSpec:
        """Sizes the model is built from."""
        return InputSpec(tuple(self.kinds), self.classes, self.kinds, {n: e.sizes for n, e in self.encoders.items()})

    def encode(
        self, dataset: Dataset, allocate: Allocate = in_memory, labels: TrainingLabels | None = None
    ) -> dict[str, np.ndarray]:
        """Every row of `dataset`, training rows or not, as the arrays of a batch (mmjax/modalities/base.py).

        A modality that the data set lacks is absent everywhere.

        Args:
          dataset: the table.
          allocate: makes the arrays of encoded rows.
          labels: those it was fitted on, where the rows are trained on; None: all rows are new to it.

        Raises:
          DataError: columns, tokens, image size or vector length differ from training.
        """
        rows = len(dataset)
        out: dict[str, np.ndarray] = {}
        present: list[np.ndarray] = []
        for name, encoder in self.encoders.items():
            columns = dataset.columns.get(name)
            if labels is None or columns is None:
                parts, present_N = encoder.transform(columns, rows, allocate)
            else:
                parts, present_N = encoder.transform_training(columns, labels, allocate)
            out |= {f"{name}/{part}": array for part, array in parts.items()}
            present.append(present_N)
        out["present"] = np.stack(present, axis=1)
        out["label"] = self._labels(dataset)
        return out

    def notes(self) -> list[str]:
        """What the log should say about missing values and sizes."""
        return [note for encoder in self.encoders.values() for note in encoder.notes()]

    def save(self, path: Path) -> None:
        """Writes JSON, and arrays beside it where there are any, each whole or not at all.

        Raises:
          WorkdirError: the file cannot be written.
        """
        arrays: dict[str, np.ndarray] = {}
        encoders = {name: _apart(encoder.to_dict(), name, arrays) for name, encoder in self.encoders.items()}
        if arrays:
            content = io.BytesIO()
            np.savez(content, **arrays)  # type: ignore[arg-type]
            write_bytes(_arrays_of(path), content.getvalue())
        values = dict(zip(_OWN, (_VERSION, self.reading, self.classes, self.kinds), strict=True))
        write_text(Path(path), json.dumps(values | {_key(name): d for name, d in encoders.items()}, allow_nan=False))

    @classmethod
    def load(cls, path: Path) -> "FoldEncoders":
        """Reads what `save` wrote.

        Raises:
          CheckpointError: the file is absent, damaged or of another version.
        """
        again = f"delete the folder {Path(path).parent} and run the same `mmjax train` command again"
        try:
            d = json.loads(Path(path).read_text(encoding="utf-8"))
            if d["version"] == _VERSION - 1:
                d |= {"reading": 1, **{_key(name): values for name, values in d.pop("encoders").items()}}
            elif d["version"] != _VERSION:
                raise CheckpointError(f"{path}: was written by another version of mmjax ({d['version']}); {again}.")
            file = _arrays_of(path)
            with np.load(file, allow_pickle=False) if file.exists() else nullcontext({}) as arrays:
                return cls._from_dict(_joined(d, arrays))
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}); {again}.") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError, BadZipFile) as error:
            raise CheckpointError(f"{path}: is damaged ({type(error).__name__}); {again}.") from error

    @classmethod
    def _from_dict(cls, d: dict[str, Any]) -> "FoldEncoders":
        kinds = {str(name): str(kind) for name, kind in d["kinds"].items()}
        encoders = {name: modality_class(kind).load_encoder(d[_key(name)]) for name, kind in kinds.items()}
        if d.keys() != {*_OWN, *map(_key, kinds)}:
            raise ValueError("encoders without their modality")
        return cls(tuple(map(str, d["classes"])), kinds, encoders, int(d["reading"]))

    def _labels(self, dataset: Dataset) -> np.ndarray:
        """Class indices by name, since another table may list its classes in another order."""
        index = {name: i for i, name in enumerate(self.classes)}
        lookup = np.array([*(index.get(name, -1) for name in dataset.classes), -1], np.int32)
        return lookup[dataset.label]  # label -1 reads the last entry


def saved_reading(workdir: Path) -> int:
    """How a workdir's first session read its table (`data/cells.py`); today's way where it saved no encoders."""
    for file in workdir.glob("fold_*/encoders.json"):
        with suppress(CheckpointError):  # told of where the fold is finished; else made anew
            return FoldEncoders.load(file).reading
    return READING


def training_labels(dataset: Dataset, rows: NDArray[np.integer], group_column: str = "") -> TrainingLabels:
    """What encoders may know of the labels of a fold's training rows."""
    return TrainingLabels(rows, dataset.label, len(dataset.classes), group_column, dataset.table.group_N)


def _key(name: str) -> str:
    """Of an encoder in the file: a modality may be named as a key of ours is, but no name ends in a space."""
    return f"{name} " if name in _OWN else name


def _arrays_of(path: Path) -> Path:
    return Path(path).with_suffix(".npz")


def _apart(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """The same tree with a reference for each array, which goes to `arrays`."""
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return {_ARRAY: place}
    if isinstance(value, dict):
        return {key: _apart(v, f"{place}.{key}", arrays) for key, v in value.items()}
    if isinstance(value, list | tuple) and any(isinstance(v, dict | list | tuple | np.ndarray) for v in value):
        return [_apart(v, f"{place}.{i}", arrays) for i, v in enumerate(value)]
    return value


def _joined(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Inverse of `_apart`."""
    if isinstance(value, dict):
        return arrays[value[_ARRAY]] if value.keys() == {_ARRAY} else {key: _joined(v, arrays) for key, v in value.items()}
    if isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        return [_joined(v, arrays) for v in value]
    return value
