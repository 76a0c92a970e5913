"""An .npz file of vectors, brought into the order of a table's ids."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Float

from mmjax.data.data_report import DataReport
from mmjax.errors import DataError

_SPELLINGS = {
    "leading zeros": lambda name: name.strip().lstrip("0") or "0",
    "whole numbers": lambda name: name.strip().removesuffix(".0"),
    "small and capital letters": lambda name: name.strip().casefold(),
    "endings of file names": lambda name: PurePosixPath(name.strip()).stem,
}
"""What ids of one thing differ in where two programs wrote them."""


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
