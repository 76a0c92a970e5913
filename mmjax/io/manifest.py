"""Sealed folders: written under another name, hashed file by file, renamed whole; any later change is found before use."""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmjax.errors import CheckpointError
from mmjax.io.atomic import sync_folder

MANIFEST = "manifest.json"
UNFINISHED, REPLACED = ".tmp", ".old"


class DamagedError(CheckpointError):
    """A sealed folder is not as it was written; says what differs."""


def seal(folder: Path, body: dict[str, Any]) -> None:
    """Writes `folder`/manifest.json: `body`, SHA-256 and size of every file, and a hash of all that; syncs everything.

    Raises:
      OSError: a file cannot be written or synced.
    """
    body = body | {"files": {name: _checksum(folder / name, sync=True) for name in _files(folder)}}
    with (folder / MANIFEST).open("w", encoding="utf-8") as out:
        json.dump({"sha256": _hash_body(body), "body": body}, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    for inside in (*(p for p in folder.rglob("*") if p.is_dir()), folder):
        sync_folder(inside)


def verify(folder: Path) -> dict[str, Any]:
    """The body of a sealed folder, every file of which is as it was written.

    Only files found on disk are opened, never a path that the manifest names, so a forged one cannot point elsewhere.

    Raises:
      DamagedError: a file is missing, added, cut short or changed, or the manifest itself is.
    """
    try:
        sealed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        body = sealed["body"]
        if sealed["sha256"] != _hash_body(body):
            raise DamagedError(f"{MANIFEST} is not as it was written")
        known, found = body["files"], set(_files(folder))
        for name in sorted(known.keys() ^ found):
            raise DamagedError(f"{name} is {'missing' if name in known else 'not in the manifest'}")
        for name, checksum in known.items():
            size = (folder / name).stat().st_size
            if size != checksum["size"]:
                raise DamagedError(f"{name} has {size} bytes instead of {checksum['size']}")
            if _checksum(folder / name)["sha256"] != checksum["sha256"]:
                raise DamagedError(f"the content of {name} has changed")
    except FileNotFoundError as error:
        raise DamagedError(f"{Path(error.filename).name} is missing") from error
    except OSError as error:
        raise DamagedError(f"it cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{MANIFEST} is not a manifest") from error
    return body


def put_in_place(folder: Path) -> None:
    """Renames `X.tmp` to `X`; an X already there goes only once the new one has its name.

    Raises:
      OSError: the rename failed.
    """
    final = folder.with_name(folder.name.removesuffix(UNFINISHED))
    old = final.with_name(final.name + REPLACED)
    if final.exists():
        final.replace(old)
    folder.replace(final)
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def tidy(final: Path) -> None:
    """Undoes what a kill inside `put_in_place`, or before it, left beside `final`."""
    old, unfinished = final.with_name(final.name + REPLACED), final.with_name(final.name + UNFINISHED)
    if old.exists() and not final.exists():
        with suppress(OSError):
            old.replace(final)
    for left in (old, unfinished):
        shutil.rmtree(left, ignore_errors=True)


def discard(folder: Path) -> None:
    """Deletes a sealed folder; a kill half-way leaves a `.tmp`, not something that looks like a damaged checkpoint."""
    unfinished = folder.with_name(folder.name + UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    with suppress(OSError):
        folder.replace(unfinished)
    shutil.rmtree(unfinished, ignore_errors=True)


def _files(folder: Path) -> list[str]:
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()]
    return sorted(n for n in names if n != MANIFEST)


def _checksum(file: Path, *, sync: bool = False) -> dict[str, Any]:
    if file.is_symlink() or not file.is_file():
        raise DamagedError(f"{file.name} is not a plain file")
    with file.open("rb") as content:
        checksum = {"sha256": hashlib.file_digest(content, "sha256").hexdigest(), "size": os.fstat(content.fileno()).st_size}
        if sync:
            os.fsync(content.fileno())
    return checksum


def _hash_body(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
