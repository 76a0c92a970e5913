"""All encoders of one fold: fitted on its training rows, saved with it, and the arrays a batch is cut from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmjax.data.arrays import Allocate, in_memory
from mmjax.datasets.dataset import Dataset
from mmjax.errors import CheckpointError, ConfigError
from mmjax.io.atomic import write_text
from mmjax.modalities.base import Encoder, InputSpec, modality_class

_VERSION = 2


@dataclass(frozen=True)
class FoldEncoders:
    """One encoder a modality, and what the model is sized by.

    Attributes:
      classes: label names in the order of the class index.
      kinds: kind of each modality, by name, in canonical order.
      encoders: by name.
    """

    classes: tuple[str, ...]
    kinds: dict[str, str]
    encoders: dict[str, Encoder]

    @classmethod
    def fit(cls, dataset: Dataset, rows: NDArray[np.integer]) -> "FoldEncoders":
        """Fits every encoder on `rows`, the training rows of the fold, alone.

        Raises:
          DataError: there is nothing to fit on.
        """
        encoders = {m.name: m.fit(dataset.columns[m.name], rows) for m in dataset.modalities}
        return cls(tuple(dataset.classes), {m.name: m.kind for m in dataset.modalities}, encoders)

    @property
    def spec(self) -> InputSpec:
        """Sizes the model is built from."""
        return InputSpec(tuple(self.kinds), self.classes, self.kinds, {n: e.sizes for n, e in self.encoders.items()})

    def encode(self, dataset: Dataset, allocate: Allocate = in_memory) -> dict[str, np.ndarray]:
        """Every row of `dataset`, training rows or not, as the arrays of a batch (mmjax/modalities/base.py).

        A modality that the data set lacks is absent everywhere.

        Args:
          dataset: the table.
          allocate: makes the arrays of encoded rows.

        Raises:
          DataError: columns, tokens, image size or vector length differ from training.
        """
        rows = len(dataset)
        out: dict[str, np.ndarray] = {}
        present: list[np.ndarray] = []
        for name, encoder in self.encoders.items():
            parts, present_N = encoder.transform(dataset.columns.get(name), rows, allocate)
            out |= {f"{name}/{part}": array for part, array in parts.items()}
            present.append(present_N)
        out["present"] = np.stack(present, axis=1)
        out["label"] = self._labels(dataset)
        return out

    def notes(self) -> list[str]:
        """What the log should say about missing values and sizes."""
        return [note for encoder in self.encoders.values() for note in encoder.notes()]

    def save(self, path: Path) -> None:
        """Writes JSON, whole or not at all.

        Raises:
          WorkdirError: the file cannot be written.
        """
        encoders = {name: encoder.to_dict() for name, encoder in self.encoders.items()}
        values = {"version": _VERSION, "classes": self.classes, "kinds": self.kinds, "encoders": encoders}
        write_text(Path(path), json.dumps(values, allow_nan=False))

    @classmethod
    def load(cls, path: Path) -> "FoldEncoders":
        """Reads what `save` wrote.

        Raises:
          CheckpointError: the file is absent, damaged or of another version.
        """
        again = f"delete the folder {Path(path).parent} and run the same `mmjax train` command again"
        try:
            d = json.loads(Path(path).read_text(encoding="utf-8"))
            if d["version"] != _VERSION:
                raise CheckpointError(f"{path}: was written by another version of mmjax ({d['version']}); {again}.")
            return cls._from_dict(d)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}); {again}.") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
            raise CheckpointError(f"{path}: is damaged ({type(error).__name__}); {again}.") from error

    @classmethod
    def _from_dict(cls, d: dict[str, Any]) -> "FoldEncoders":
        kinds = {str(name): str(kind) for name, kind in d["kinds"].items()}
        encoders = {name: modality_class(kind).load_encoder(d["encoders"][name]) for name, kind in kinds.items()}
        if kinds.keys() != d["encoders"].keys():
            raise ValueError("encoders without their modality")
        return cls(tuple(map(str, d["classes"])), kinds, encoders)

    def _labels(self, dataset: Dataset) -> np.ndarray:
        """Class indices by name, since another table may list its classes in another order."""
        index = {name: i for i, name in enumerate(self.classes)}
        lookup = np.array([*(index.get(name, -1) for name in dataset.classes), -1], np.int32)
        return lookup[dataset.label]  # label -1 reads the last entry
