"""Which photo belongs to which row: paths checked, files hashed. Nothing outside the image folder is ever opened."""

import errno
import hashlib
import re
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mmjax.data.data_report import DataReport
from mmjax.data.image_decode import MAX_BYTES
from mmjax.errors import DataError

_REMOTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_UNUSABLE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """One row's photo.

    Attributes:
      name: as the table has it; '' for none.
      path: where it lies.
      digest: SHA-256 of its bytes; '' where the row has no readable photo.
      problem: (kind for the report, why), or None.
    """

    name: str
    path: Path
    digest: str = ""
    problem: tuple[str, str] | None = None


def find_photos(names: Sequence[str], image_dir: Path, workers: int, report: DataReport, column: str = "") -> list[PhotoFile]:
    """Looks up and hashes every photo, in row order; each problem is reported, in `column`, for every row that has it.

    Raises:
      DataError: `image_dir` is no folder though a row names a photo, or the machine failed to read a file.
    """
    distinct = list(dict.fromkeys(str(name) for name in names))
    if any(distinct) and not image_dir.is_dir():
        raise DataError(f"{image_dir}: there is no such folder of photos; check data.images or the schema's image_dir.")
    root = image_dir.resolve()
    with ThreadPoolExecutor(workers) as pool:
        found = dict(zip(distinct, pool.map(lambda name: _look(name, root), distinct), strict=True))
    photos = [found[str(name)] for name in names]
    for row, photo in enumerate(photos):
        if photo.problem is not None:
            kind, why = photo.problem
            place = {"file": photo.name, "row": row, "column": column or None, "value": photo.name}
            report.add(kind, **place, action=f"photo treated as absent: {why}")
    return photos


def require_one(has_N: Iterable[bool], names: Sequence[str], image_dir: Path, column: str, what: str) -> None:
    """A model that reads photos learns nothing from them where no row has one.

    Args:
      has_N: whether each row has its photo.
      names: as the table has them, '' for none.
      image_dir: folder they were looked for in.
      column: they are named in, or the pattern they are made from.
      what: has not happened to any, such as 'was found'.

    Raises:
      DataError: no row has one.
    """
    if any(has_N):
        return
    named = sum(map(bool, names))
    place = f"made by {column}" if "{" in column else f"named in column {column}"
    why = f"none of the {named} photos {place} {what}" if named else f"no row has a photo {place}"
    raise DataError(f"{image_dir}/: {why}; set --config.data.images=DIR or leave photos out of config.model.modalities.")


def _look(name: str, root: Path) -> PhotoFile:
    path = root / name if name else root
    try:
        problem = _path_problem(name, path, root)
        if not name or problem:
            return PhotoFile(name, path, problem=("image_path", problem) if problem else None)
        return _hash(name, path)
    except PermissionError:
        return PhotoFile(name, path, problem=("image_broken", "the file may not be read (permission denied)"))
    except (FileNotFoundError, NotADirectoryError):
        return PhotoFile(name, path, problem=("image_missing", "there is no such file"))
    except (OSError, ValueError, RuntimeError) as error:  # also: a NUL or lone surrogate in the name; a loop of links
        if isinstance(error, OSError) and error.errno not in _UNUSABLE:
            raise DataError(f"{path}: cannot be read now ({error.strerror or error}); run the same command again.") from error
        return PhotoFile(name, path, problem=("image_path", "the path cannot be used"))


def _path_problem(name: str, path: Path, root: Path) -> str:
    if _REMOTE.match(name):
        return "remote addresses are never fetched"
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        return "the path leaves the image folder"
    return "" if path.resolve().is_relative_to(root) else "a link leads out of the image folder"


def _hash(name: str, path: Path) -> PhotoFile:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        return PhotoFile(name, path, problem=("image_broken", "it is not a regular file"))
    if status.st_size > MAX_BYTES:
        return PhotoFile(name, path, problem=("image_broken", f"it has more than {MAX_BYTES} bytes"))
    with path.open("rb") as data:
        return PhotoFile(name, path, hashlib.file_digest(data, "sha256").hexdigest())
