"""Ready-made vectors, such as another model's of a photo or a text: an .npz file aligned to the table's ids."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, UInt64
from numpy.typing import NDArray

from mmjax.config_rules import below_one, movable_path, positive
from mmjax.data.arrays import CHUNK, Allocate, in_memory
from mmjax.data.data_report import DataReport
from mmjax.data.hashing import hash_rows
from mmjax.encoding.vector_file import load_vectors
from mmjax.errors import DataError
from mmjax.modalities.base import Columns, Encoder, Modality, PathOption, Reader, Sizes, TableContext, Target, Tower
from mmjax.models.mlp import MLP
from mmjax.registry import register_modality
from mmjax.schema import Schema, SchemaKey

_TELLING = 8  # numbers other than 0 of a vector that is like no other by chance


@register_modality("vectors")
class Vectors(Modality):
    """One file of vectors; `column` is its path."""

    aliases = ("image_features",)
    schema_keys = (SchemaKey("vectors", holds="value", aliases=("image_features",)),)
    path_options = (PathOption("features", "image_features", "file (.npz) of vectors"),)
    nominal_sizes: ClassVar[dict[str, int]] = {"features": 255}  # Kaggle's image metadata of PetFinder

    @dataclass(frozen=True)
    class DataSettings:
        """Joins `config.data`."""

        image_features: str = movable_path()  # .npz with ids and features, overrides the schema's one file of vectors
        vector_root: bool = False  # signed square roots: a few large scores no longer hide the many small ones
        vector_clip: float = positive(1e6)  # standardised values beyond this are cut; the default keeps float32 sums finite
        vector_least: float = below_one(0.0)  # share of training rows in which a number must not be 0, else it is left out

    @dataclass(frozen=True)
    class ModelSettings:
        """`config.model.vectors`: dense layers with ReLU and dropout."""

        hidden: tuple[int, ...] = (256,)  # our reading: as the tabular tower
        dropout: float = below_one(0.2)  # our reading

    @classmethod
    def all_of(cls, schema: Schema, data: Any) -> list[Modality]:
        """One a file; several are named by their file without its ending."""
        files = schema["vectors"] or ((data.image_features,) if data.image_features else ())
        return [cls(cls.kind if len(files) == 1 else Path(f).stem, f, schema, data) for f in files]

    @property
    def reads(self) -> tuple[str, ...]:
        """None: rows are found by their id."""
        return ()

    def path(self, source: TableContext) -> Path:
        """Where the file lies."""
        alone = self.data.image_features if self.name == self.kind else ""
        return Path(alone) if alone and Path(alone).is_file() else source.root / (alone or self.column)

    def lacking(self, header: Sequence[str], source: TableContext) -> str:
        """Its file may be absent."""
        del header
        path = self.path(source)
        return "" if path.is_file() else f"there is no file {path} of vectors (name one with --features)"

    def reader(self, source: TableContext) -> "VectorReader":
        """Reads the file once the ids are known."""
        path = self.path(source)
        if not path.is_file():
            raise DataError(f"{path}: there is no such file of vectors; set config.data.image_features to the .npz file.")
        return VectorReader(path, source.report)

    def fit(self, columns: "VectorColumns", rows: NDArray[np.integer]) -> "VectorEncoder":
        """Learns means and deviations."""
        data = self.data
        options = {"root": data.vector_root, "clip": data.vector_clip, "least": data.vector_least}
        return VectorEncoder.fit(columns.vector_NxV, columns.present, rows, **options)

    @classmethod
    def load_encoder(cls, values: dict[str, Any]) -> "VectorEncoder":
        """Inverse of `VectorEncoder.to_dict`."""
        return VectorEncoder.from_dict(values)

    @staticmethod
    def arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
        """`vector`: standardised."""
        return {"vector": ((sizes["features"],), np.float32)}

    @staticmethod
    def tower(sizes: Sizes, model: Any, *, dtype: Any, axis_name: str | None) -> Tower:
        """An MLP, as the table's."""
        del sizes
        units = (*model.vectors.hidden, model.width)
        options = model.activation, model.input_dropout, model.init
        module = MLP(units, model.vectors.dropout, dtype, axis_name, *options, parent=None)
        return Tower(module, lambda inputs, _: (inputs["vector"], {}))

    @staticmethod
    def target(sizes: Sizes, model: Any) -> Target:
        """The standardised vector."""
        del model
        return Target(sizes["features"], lambda inputs, _, dtype: inputs["vector"].astype(dtype))


@dataclass(frozen=True)
class VectorColumns(Columns):
    """All rows of a file: vector_NxV, zeros where absent, and which rows have one."""

    tells_absent = True

    file: str
    vector_NxV: Float[np.ndarray, "N V"]
    present_N: Bool[np.ndarray, " N"]

    @property
    def present(self) -> Bool[np.ndarray, " N"]:
        """Rows with a vector."""
        return self.present_N

    def fingerprints(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """Of the numbers of rows that have a vector."""
        yield f"vectors ({self.file})", np.where(self.present, hash_rows(self.vector_NxV), np.uint64(0))

    def copies(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """The same vectors, unless they are short or say nothing."""
        telling_N = self.present & (np.count_nonzero(self.vector_NxV, axis=1) >= _TELLING)
        yield "vector", np.where(telling_N, hash_rows(self.vector_NxV), np.uint64(0))


class VectorReader(Reader):
    """Needs no cells."""

    def __init__(self, path: Path, report: DataReport):
        self._path, self._report = path, report

    def take(self, columns: Mapping[str, Sequence[str]], first: int) -> None:
        """Nothing: vectors are found by id."""

    def finish(self, ids: Sequence[str]) -> VectorColumns:
        """The vectors of `ids`."""
        return VectorColumns(self._path.name, *load_vectors(self._path, ids, self._report))


@dataclass(frozen=True)
class VectorEncoder(Encoder):
    """Mean 0 and standard deviation 1 over the training rows; a constant column is 0.

    Attributes:
      mean: V numbers.
      std: V numbers; 0 marks a column that is constant or left out.
      root: whether they are of signed square roots.
      clip: standardised values beyond this are cut.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    root: bool = False
    clip: float = 1e6

    @classmethod
    def fit(
        cls,
        feature_NxV: Float[np.ndarray, "N V"],
        present_N: Bool[np.ndarray, " N"],
        rows: NDArray[np.integer],
        *,
        root: bool = False,
        clip: float = 1e6,
        least: float = 0.0,
    ) -> "VectorEncoder":
        """Means over those of `rows` that have a vector; with none, every column counts as constant.

        Args:
          feature_NxV: the whole table's; rows outside `rows` are not read.
          present_N: which rows have a vector.
          rows: training rows.
          root: take signed square roots first.
          clip: see the class.
          least: share of the rows in which a column must not be 0; else it counts as constant.
        """
        known = np.asarray(rows)[present_N[rows]]
        if len(known) == 0:
            return cls((0.0,) * feature_NxV.shape[1], (0.0,) * feature_NxV.shape[1], root, clip)
        value_NxV = _rooted(feature_NxV[known].astype(np.float64), root)
        kept_V = (np.ptp(value_NxV, axis=0) > 0) & ((value_NxV != 0).mean(axis=0) >= least)
        std_V = np.where(kept_V, value_NxV.std(axis=0), 0.0)
        return cls(tuple(value_NxV.mean(axis=0).tolist()), tuple(std_V.tolist()), root, clip)

    @property
    def sizes(self) -> dict[str, int]:
        """features: V, the length of a vector."""
        return {"features": len(self.mean)}

    def transform(
        self, columns: VectorColumns | None, rows: int, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """`vector`: standardised float32 N x V in what `allocate` makes, zeros where absent.

        Raises:
          DataError: vectors of another length than in training.
        """
        if columns is None:
            return {"vector": np.zeros((rows, len(self.mean)), np.float32)}, np.zeros(rows, bool)
        vector_NxV = columns.vector_NxV
        if vector_NxV.shape[1] != len(self.mean):
            found, fitted = vector_NxV.shape[1], len(self.mean)
            raise DataError(f"vectors have {found} numbers a row, training had {fitted}; use the same kind of vectors.")
        std_V = np.asarray(self.std)
        scale_V = np.divide(1, std_V, out=np.zeros_like(std_V), where=std_V > 1e-30)  # below, 1 / std would overflow
        out_NxV = allocate(vector_NxV.shape, np.float32)
        for start in range(0, len(out_NxV), CHUNK):
            part = slice(start, start + CHUNK)
            scaled_nxV = (_rooted(vector_NxV[part], self.root) - np.asarray(self.mean)) * scale_V
            out_NxV[part] = np.where(columns.present[part, None], np.clip(scaled_nxV, -self.clip, self.clip), 0)
        return {"vector": out_NxV}, columns.present

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "VectorEncoder":
        """Inverse of `to_dict`."""
        return cls(tuple(map(float, d["mean"])), tuple(map(float, d["std"])), bool(d["root"]), float(d["clip"]))


def _rooted(value_nxV: Float[np.ndarray, "n V"], root: bool) -> Float[np.ndarray, "n V"]:
    return np.sign(value_nxV) * np.sqrt(np.abs(value_nxV)) if root else value_nxV
