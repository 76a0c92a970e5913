"""Ready-made vectors, such as another model's of a photo or a text: an .npz file aligned to the table's ids."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, UInt64
from numpy.typing import NDArray

from mmjax.config_rules import below_one, movable_path, positive
from mmjax.data.arrays import CHUNK, Allocate, in_memory
from mmjax.data.data_report import DataReport
from mmjax.data.hashing import hash_rows
from mmjax.errors import DataError
from mmjax.modalities.base import Columns, Encoder, Modality, PathOption, Reader, Sizes, TableContext, Target, Tower
from mmjax.models.mlp import MLP
from mmjax.registry import register_modality
from mmjax.schema import Schema, SchemaKey

_SPELLINGS = {
    "leading zeros": lambda name: name.strip().lstrip("0") or "0",
    "whole numbers": lambda name: name.strip().removesuffix(".0"),
    "small and capital letters": lambda name: name.strip().casefold(),
    "endings of file names": lambda name: PurePosixPath(name.strip()).stem,
}
"""What ids of one thing differ in where two programs wrote them."""

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
        module = MLP(units, model.vectors.dropout, dtype, axis_name, model.activation, parent=None)
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


def load_vectors(path: Path, ids: Sequence[str], report: DataReport) -> tuple[Float[np.ndarray, "N V"], Bool[np.ndarray, " N"]]:
    """Reads `ids` and `features` from an .npz file, without pickle, and puts them in the table's order.

    Args:
      path: .npz with `ids` (strings or whole numbers) and `features` (numbers, one row an id).
      ids: the table's ids.
      report: told of table rows without a vector ('vectors_missing'), of vectors that are not finite ('vectors_broken') and
        of ids that occur twice in the file ('vectors_twice'; the first counts).

    Returns:
      features: float32 N x V, zeros where absent.
      present: bool N.

    Raises:
      DataError: the file is absent, damaged, holds pickled objects, or its arrays do not fit each other.
    """
    path = Path(path)
    file_ids, feature_FxV = _read(path)
    row_of: dict[str, int] = {}
    for row, name in enumerate(file_ids):
        if row_of.setdefault(name, row) != row:
            report.add("vectors_twice", file=str(path), row=row, column="ids", value=name, action="the first vector counts")
    names = [str(name) for name in ids]
    at_N = np.array([row_of.get(name, -1) for name in names], np.int64)
    feature_NxV = np.zeros((len(at_N), feature_FxV.shape[1]), np.float32)
    found_N = at_N >= 0
    feature_NxV[found_N] = feature_FxV[at_N[found_N]]
    finite_N = np.isfinite(feature_NxV).all(axis=1)
    feature_NxV[~finite_N] = 0
    missing = np.flatnonzero(~found_N)
    action = f"vectors treated as absent: the file has none for this id{_near_miss([names[i] for i in missing], file_ids)}"
    for row in missing:
        report.add("vectors_missing", file=str(path), row=int(row), column="ids", value=names[row], action=action)
    for row in np.flatnonzero(~finite_N):
        action = "vectors treated as absent: a number is not finite"
        report.add("vectors_broken", file=str(path), row=int(row), column="features", value=names[row], action=action)
    return feature_NxV, found_N & finite_N


def _near_miss(names: Sequence[str], file_ids: Sequence[str]) -> str:
    """What most ids that were not found differ in from the file's, or the file's first id."""
    for what, plain in _SPELLINGS.items():
        known = {plain(name): name for name in file_ids}
        found = [name for name in names if plain(name) in known]
        if len(found) > len(names) / 2:
            return f", only for {known[plain(found[0])]!r}: write {what} alike in both"
    return f", whose first is {file_ids[0]!r}" if file_ids else ""


def _read(path: Path) -> tuple[list[str], Float[np.ndarray, "F V"]]:
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: is a single array; save an .npz with 'ids' and 'features'.")
            with stored:
                ids, features = stored["ids"], stored["features"]
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file of vectors; check the schema or the config.") from error
    except KeyError as error:
        raise DataError(f"{path}: has no array {error.args[0]!r}; it needs 'ids' and 'features'.") from error
    except DataError:
        raise
    except Exception as error:  # zip, zlib and header parsing raise a dozen classes on damaged files
        why = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        if "pickle" in why:  # NumPy's own words advise to load it all the same
            why = "it holds Python objects, or is no .npz file"
        raise DataError(f"{path}: cannot be read as .npz without pickle ({why}); save it anew with numpy.savez.") from error
    if ids.ndim != 1 or ids.dtype.kind not in "USiu":
        raise DataError(f"{path}: 'ids' must be one column of strings or whole numbers, not {ids.dtype} {ids.shape}.")
    if features.ndim != 2 or features.shape[0] != len(ids) or features.shape[1] == 0 or features.dtype.kind not in "fiub":
        raise DataError(
            f"{path}: 'features' must be numbers, {len(ids)} x V to fit 'ids', not {features.dtype} {features.shape}."
        )
    if ids.dtype.kind == "S":
        ids = np.char.decode(ids, "utf-8", "replace")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf and is reported as not finite
        return [str(name) for name in ids], features.astype(np.float32)


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
