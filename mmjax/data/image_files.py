"""Which photo belongs to which row: paths checked, files hashed. Nothing outside the image folder is ever opened."""

import errno
import hashlib
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath, PureWindowsPath

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
    look = partial(_look, root=root, given=image_dir, listed=cache(_listed))
    with ThreadPoolExecutor(workers) as pool:
        found = dict(zip(distinct, pool.map(look, distinct), strict=True))
    photos = [found[str(name)] for name in names]
    for row, photo in enumerate(photos):
        if photo.problem is not None:
            kind, why = photo.problem
            place = {"file": photo.name, "row": row, "column": column or None, "value": photo.name}
            report.add(kind, **place, action=f"photo treated as absent: {why}")
    return photos


def require_one(
    has_N: Iterable[bool], names: Sequence[str], image_dir: Path, column: str, what: str, reasons: Sequence[str] = ()
) -> None:
    """A model that reads photos learns nothing from them where no row has one.

    Args:
      has_N: whether each row has its photo.
      names: as the table has them, '' for none.
      image_dir: folder they were looked for in.
      column: they are named in, or the pattern they are made from.
      what: has not happened to any, such as 'was found'.
      reasons: why each row has none; the first is quoted.

    Raises:
      DataError: no row has one.
    """
    if any(has_N):
        return
    named = sum(map(bool, names))
    place = f"made by {column}" if "{" in column else f"named in column {column}"
    why = f"none of the {named} photos {place} {what}" if named else f"no row has a photo {place}"
    first = next((f"; the first is {n[:80]!r}: {r.removesuffix('.')}" for n, r in zip(names, reasons, strict=False) if r), "")
    fix = "name their folder (config.data.images; in Python images=DIR) or leave photos out of config.model.modalities"
    raise DataError(f"{image_dir}/: {why}{first}; {fix}.")


def _look(name: str, root: Path, given: Path, listed: Callable[[Path], dict[str, list[str]]]) -> PhotoFile:
    """The photo of that name, or of the name that another system would give it; the first problem counts."""
    first = PhotoFile(name, root)
    for i, spelled in enumerate(_spellings(name, (root, given.absolute())) if name else ()):
        photo = _look_once(name, spelled, root)
        first = photo if i == 0 else first
        if photo.digest:
            return photo
        if photo.problem and photo.problem[0] == "image_missing":
            other = _as_listed(spelled, root, listed)
            if other and (photo := _look_once(name, other, root)).digest:
                return photo
    return first


def _look_once(name: str, spelled: str, root: Path) -> PhotoFile:
    path = root / spelled
    try:
        if problem := _path_problem(spelled, path, root):
            return PhotoFile(name, path, problem=("image_path", problem))
        return _hash(name, path)
    except PermissionError:
        return PhotoFile(name, path, problem=("image_broken", "the file may not be read (permission denied)"))
    except (FileNotFoundError, NotADirectoryError):
        several = next((mark for mark in ";|," if mark in name), "")
        why = f", and the cell seems to name several, separated by {several!r}: keep one" if several else ""
        return PhotoFile(name, path, problem=("image_missing", f"there is no such file{why}"))
    except (OSError, ValueError, RuntimeError) as error:  # also: a NUL or lone surrogate in the name; a loop of links
        if isinstance(error, OSError) and error.errno not in _UNUSABLE:
            raise DataError(f"{path}: cannot be read now ({error.strerror or error}); run the same command again.") from error
        return PhotoFile(name, path, problem=("image_path", "the path cannot be used"))


def _spellings(name: str, roots: Sequence[Path]) -> list[str]:
    """The name, then what it would be here if another system, or another folder's owner, had written it."""
    found = [name]
    slashed = PureWindowsPath(name).as_posix() if "\\" in name else name
    if slashed != name:
        found.append(slashed)
    path = PurePosixPath(slashed)
    if _REMOTE.match(name) or not (path.is_absolute() or PureWindowsPath(name).drive):
        return found
    inside = [str(path.relative_to(root)) for root in roots if path.is_relative_to(root)]
    at = [i for i, part in enumerate(path.parts) if part == roots[0].name]
    tails = [str(PurePosixPath(*path.parts[i + 1 :])) for i in reversed(at) if path.parts[i + 1 :]]
    drive = PureWindowsPath(name)
    below = str(PurePosixPath(*drive.parts[1:])) if len(drive.parts) > 1 else ""  # '/sub/p.jpg', as of a web page
    return list(dict.fromkeys([*found, *inside, *tails, *([below] if below else [])]))


def _as_listed(spelled: str, root: Path, listed: Callable[[Path], dict[str, list[str]]]) -> str:
    """The one file that has this path but for upper case and the way accents are composed, or ''."""
    place = root
    for part in PurePosixPath(spelled).parts:
        names = listed(place).get(_plain(part), [])
        if part in ("..", "/") or (part not in names and len(names) != 1):
            return ""
        place = place / (part if part in names else names[0])
    return str(place.relative_to(root))


def _listed(folder: Path) -> dict[str, list[str]]:
    """Names in a folder, by their plain spelling."""
    found: dict[str, list[str]] = {}
    try:
        for entry in folder.iterdir():
            found.setdefault(_plain(entry.name), []).append(entry.name)
    except OSError:  # no folder, or one that may not be read: the photo is missing
        pass
    return found


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _path_problem(name: str, path: Path, root: Path) -> str:
    if _REMOTE.match(name):
        return "remote addresses are never fetched: download the photos"
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
