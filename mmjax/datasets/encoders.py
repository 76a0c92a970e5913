"""All encoders of one fold: fitted on its training rows, saved with it, and the arrays a batch is cut from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from mmjax.batch import IMAGE, IMAGE_FEATURES, MODALITIES, PADDING, TABULAR, TEXT, InputSpec
from mmjax.config import Settings
from mmjax.data.arrays import Allocate, in_memory
from mmjax.data.data_report import DataReport
from mmjax.datasets.dataset import Dataset
from mmjax.errors import CheckpointError, DataError
from mmjax.io.atomic import write_text
from mmjax.modalities.tabular import TabularEncoder
from mmjax.modalities.text import TextEncoder, load_vectors, random_vectors
from mmjax.modalities.vectors import FeatureEncoder

_VERSION = 1


@dataclass(frozen=True)
class FoldEncoders:
    """One encoder a modality, and what the model is sized by.

    Attributes:
      modalities: in canonical order.
      classes: label names in the order of the class index.
      image_size: S in pixels; 0 without the image modality.
      tabular, text, features: None without their modality.
    """

    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    image_size: int = 0
    tabular: TabularEncoder | None = None
    text: TextEncoder | None = None
    features: FeatureEncoder | None = None

    @classmethod
    def fit(cls, dataset: Dataset, rows: NDArray[np.integer], settings: Settings) -> "FoldEncoders":
        """Fits every encoder on `rows`, the training rows of the fold, alone.

        Raises:
          DataError: the data set lacks a modality of `settings.model.modalities`, or there is nothing to fit on.
        """
        data, table, schema = settings.data, dataset.table, dataset.schema
        modalities = tuple(m for m in MODALITIES if m in settings.model.modalities)
        for modality in modalities:
            _require(dataset, modality)
        tabular = text = features = None
        if TABULAR in modalities:
            names = {"categorical_names": schema.categorical, "continuous_names": schema.continuous}
            tabular = TabularEncoder.fit(table, rows, discretize=data.discretize, bins=data.bins, **names)
        if TEXT in modalities:
            text = TextEncoder.fit(table, rows, min_count=data.min_count, max_words=data.max_words)
        if IMAGE_FEATURES in modalities and dataset.features is not None and dataset.features_present is not None:
            features = FeatureEncoder.fit(dataset.features, dataset.features_present, rows)
        image_size = dataset.image_store.size if IMAGE in modalities and dataset.image_store is not None else 0
        return cls(modalities, tuple(table.classes), image_size, tabular, text, features)

    @property
    def spec(self) -> InputSpec:
        """Sizes the model is built from."""
        tabular, text, features = self.tabular, self.text, self.features
        return InputSpec(
            modalities=self.modalities,
            classes=self.classes,
            onehot=tabular.onehot if tabular else 0,
            groups=tabular.groups if tabular else 0,
            numbers=tabular.numbers if tabular else 0,
            tokens=text.tokens if text else 0,
            vocabulary=text.vocabulary if text else 0,
            image_size=self.image_size,
            features=len(features.mean) if features else 0,
        )

    def encode(self, dataset: Dataset, allocate: Allocate = in_memory) -> dict[str, np.ndarray]:
        """Every row of `dataset`, training rows or not, as arrays under the keys of `mmjax.batch`.

        `image` is the store's memory map itself. Without a store or image vectors that modality is absent everywhere.

        Args:
          dataset: the table, its photos and vectors.
          allocate: makes the arrays of encoded rows.

        Returns:
          tabular_id, tabular_number, text, image, image_features: those of the modalities, N rows.
          present: bool N x M. label: int32 N, -1 where there is none or the class was not trained.

        Raises:
          DataError: columns, tokens, image size or vector length differ from training.
        """
        rows = len(dataset.table.ids)
        out: dict[str, np.ndarray] = {}
        present: dict[str, np.ndarray] = {}
        if self.tabular is not None:
            out["tabular_id"], out["tabular_number"] = self.tabular.transform(dataset.table, allocate)
            present[TABULAR] = np.ones(rows, bool)
        if self.text is not None:
            out["text"] = self.text.transform(dataset.table, allocate)
            present[TEXT] = (out["text"] != PADDING).any(axis=1)
        if IMAGE in self.modalities:
            out["image"], present[IMAGE] = self._images(dataset, rows)
        if self.features is not None:
            out["image_features"], present[IMAGE_FEATURES] = self._features(self.features, dataset, rows, allocate)
        out["present"] = np.stack([present[m] for m in self.modalities], axis=1)
        out["label"] = self._labels(dataset, rows)
        return out

    def vectors(
        self, dim: int, path: str, seed: int, scale: float, report: DataReport | None = None
    ) -> Float[np.ndarray, "V E"] | None:
        """Start values of the embedding table, or None where there is no text or no file.

        Args:
          dim: E, numbers a word.
          path: GloVe or fastText text file; '' for none.
          seed: of the words the file does not have; such a word gets the same vector in every fold.
          scale: those are drawn from U(-scale, scale).
          report: told of malformed lines.

        Returns:
          float32 V x E with V = `spec.vocabulary`; the padding row is zero, the unknown word's is drawn.

        Raises:
          DataError: the file cannot be used.
        """
        if self.text is None or not path:
            return None
        found_VxE, found_V = load_vectors(Path(path), self.text.words, dim, report)
        # '' names the unknown word: no real word is empty.
        drawn_VxE = random_vectors(["", *self.text.words], dim, seed=seed, scale=scale)
        drawn_VxE[1:][found_V] = found_VxE[found_V]
        return np.concatenate([np.zeros((1, dim), np.float32), drawn_VxE])

    def notes(self) -> list[str]:
        """What the log should say about missing values and sizes."""
        lines = self.tabular.notes() if self.tabular else []
        if self.text:
            lines.append(f"text: {len(self.text.words)} words in the vocabulary, {self.text.tokens} tokens a row.")
        return lines

    def save(self, path: Path) -> None:
        """Writes JSON, whole or not at all.

        Raises:
          WorkdirError: the file cannot be written.
        """
        parts = {"tabular": self.tabular, "text": self.text, "features": self.features}
        values = {name: part.to_dict() if part else None for name, part in parts.items()}
        head = {"version": _VERSION, "modalities": self.modalities, "classes": self.classes, "image_size": self.image_size}
        write_text(Path(path), json.dumps({**head, **values}, allow_nan=False))

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
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{path}: is damaged ({type(error).__name__}); {again}.") from error

    @classmethod
    def _from_dict(cls, d: dict[str, Any]) -> "FoldEncoders":
        encoders = cls(
            tuple(map(str, d["modalities"])),
            tuple(map(str, d["classes"])),
            int(d["image_size"]),
            TabularEncoder.from_dict(d["tabular"]) if d["tabular"] else None,
            TextEncoder.from_dict(d["text"]) if d["text"] else None,
            FeatureEncoder.from_dict(d["features"]) if d["features"] else None,
        )
        parts = {
            TABULAR: encoders.tabular is not None,
            TEXT: encoders.text is not None,
            IMAGE: encoders.image_size > 0,
            IMAGE_FEATURES: encoders.features is not None,
        }
        if encoders.modalities != tuple(m for m in MODALITIES if parts[m]):
            raise ValueError("modalities without their encoders")
        return encoders

    def _images(self, dataset: Dataset, rows: int) -> tuple[np.ndarray, np.ndarray]:
        store, size = dataset.image_store, self.image_size
        if store is None:  # a view of one zero: no memory, however many rows
            return np.broadcast_to(np.zeros((), np.uint8), (rows, size, size, 3)), np.zeros(rows, bool)
        if store.size != size:
            raise DataError(
                f"{dataset.name}: photos are stored at {store.size} px, training had {size}; set data.image_size={size}."
            )
        return store.pixels, store.present

    @staticmethod
    def _features(encoder: FeatureEncoder, dataset: Dataset, rows: int, allocate: Allocate) -> tuple[np.ndarray, np.ndarray]:
        if dataset.features is None or dataset.features_present is None:
            return np.zeros((rows, len(encoder.mean)), np.float32), np.zeros(rows, bool)
        return encoder.transform(dataset.features, dataset.features_present, allocate), dataset.features_present

    def _labels(self, dataset: Dataset, rows: int) -> np.ndarray:
        """Class indices by name, since another table may list its classes in another order."""
        if dataset.table.label is None:
            return np.full(rows, -1, np.int32)
        index = {name: i for i, name in enumerate(self.classes)}
        lookup = np.array([*(index.get(name, -1) for name in dataset.table.classes), -1], np.int32)
        return lookup[dataset.table.label]  # label -1 reads the last entry


def _require(dataset: Dataset, modality: str) -> None:
    schema = dataset.schema
    lacking = {
        TEXT: not schema.text and "the schema names no text column",
        IMAGE: dataset.image_store is None and "there is no image store (the schema names no image column or pattern)",
        IMAGE_FEATURES: dataset.features is None and "there are no image features (the schema names no file)",
    }.get(modality)
    if lacking:
        raise DataError(f"{dataset.name}: the model uses '{modality}' but {lacking}; add it or drop it from model.modalities.")
