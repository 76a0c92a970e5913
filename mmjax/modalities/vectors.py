"""Ready-made image vectors: an .npz file aligned to the table's ids, and their standardisation on the training rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from mmjax.data.arrays import CHUNK, Allocate, in_memory
from mmjax.data.data_report import DataReport
from mmjax.errors import DataError

_FAR = 1e6
"""Standardised values beyond this are cut, so that float32 sums stay finite; no tuning value."""


def load_image_features(
    path: Path, ids: Sequence[str], report: DataReport
) -> tuple[Float[np.ndarray, "N V"], Bool[np.ndarray, " N"]]:
    """Reads `ids` and `features` from an .npz file, without pickle, and puts them in the table's order.

    Args:
      path: .npz with `ids` (strings or whole numbers) and `features` (numbers, one row an id).
      ids: the table's ids.
      report: told of table rows without a vector ('features_missing'), of vectors that are not finite ('features_broken') and
        of ids that occur twice in the file ('features_twice'; the first counts).

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
            report.add("features_twice", file=str(path), row=row, column="ids", value=name, action="the first vector counts")
    names = [str(name) for name in ids]
    at_N = np.array([row_of.get(name, -1) for name in names], np.int64)
    feature_NxV = np.zeros((len(at_N), feature_FxV.shape[1]), np.float32)
    found_N = at_N >= 0
    feature_NxV[found_N] = feature_FxV[at_N[found_N]]
    finite_N = np.isfinite(feature_NxV).all(axis=1)
    feature_NxV[~finite_N] = 0
    for row in np.flatnonzero(~found_N):
        action = "image features treated as absent: the file has none for this id"
        report.add("features_missing", file=str(path), row=int(row), column="ids", value=names[row], action=action)
    for row in np.flatnonzero(~finite_N):
        action = "image features treated as absent: a number is not finite"
        report.add("features_broken", file=str(path), row=int(row), column="features", value=names[row], action=action)
    return feature_NxV, found_N & finite_N


def _read(path: Path) -> tuple[list[str], Float[np.ndarray, "F V"]]:
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: is a single array; save an .npz with 'ids' and 'features'.")
            with stored:
                ids, features = stored["ids"], stored["features"]
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file of image features; check data.image_features or the schema.") from error
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
class FeatureEncoder:
    """Mean 0 and standard deviation 1 over the training rows; a constant column is 0.

    Attributes:
      mean: V numbers.
      std: V numbers; 0 marks a constant column.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(
        cls, feature_NxV: Float[np.ndarray, "N V"], present_N: Bool[np.ndarray, " N"], rows: NDArray[np.integer]
    ) -> "FeatureEncoder":
        """Means over those of `rows` that have a vector; with none, every column counts as constant."""
        known = np.asarray(rows)[present_N[rows]]
        if len(known) == 0:
            return cls((0.0,) * feature_NxV.shape[1], (0.0,) * feature_NxV.shape[1])
        value_NxV = feature_NxV[known].astype(np.float64)
        std_V = np.where(np.ptp(value_NxV, axis=0) > 0, value_NxV.std(axis=0), 0.0)
        return cls(tuple(value_NxV.mean(axis=0).tolist()), tuple(std_V.tolist()))

    def transform(
        self, feature_NxV: Float[np.ndarray, "N V"], present_N: Bool[np.ndarray, " N"], allocate: Allocate = in_memory
    ) -> Float[np.ndarray, "N V"]:
        """Standardised float32 N x V in what `allocate` makes, zeros where absent.

        Raises:
          DataError: vectors of another length than in training.
        """
        if feature_NxV.shape[1] != len(self.mean):
            found, fitted = feature_NxV.shape[1], len(self.mean)
            raise DataError(f"image features have {found} numbers a row, training had {fitted}; use the same kind of vectors.")
        std_V = np.asarray(self.std)
        scale_V = np.divide(1, std_V, out=np.zeros_like(std_V), where=std_V > 1e-30)  # below, 1 / std would overflow
        out_NxV = allocate(feature_NxV.shape, np.float32)
        for start in range(0, len(out_NxV), CHUNK):
            part = slice(start, start + CHUNK)
            scaled_nxV = (feature_NxV[part] - np.asarray(self.mean)) * scale_V
            out_NxV[part] = np.where(present_N[part, None], np.clip(scaled_nxV, -_FAR, _FAR), 0)
        return out_NxV

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict(to_dict())` encodes alike."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "FeatureEncoder":
        """Inverse of `to_dict`."""
        return cls(tuple(map(float, d["mean"])), tuple(map(float, d["std"])))
