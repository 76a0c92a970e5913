"""Files and folders that are there whole or not at all, whatever kills the process in between."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmjax.errors import WorkdirError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def sync_folder(folder: Path) -> None:
    """Makes renames inside `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` beside `path`, syncs it, renames it over `path` and syncs the folder; makes the folder if need be.

    Raises:
      WorkdirError: the disk is full or the folder cannot be written; what was at `path` is still there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        _forget(partial)
        raise write_error(path, error, len(content)) from error


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` of indented JSON in the dict's own order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _forget(partial: Path) -> None:
    try:
        partial.unlink(missing_ok=True)
    except OSError:  # the folder went read-only in between; the error that matters is the caller's
        return


def write_error(path: Path, error: OSError, needed: int = 0) -> WorkdirError:
    """The sentence for a failed write; `needed` is in bytes."""
    if error.errno in _FULL:
        size = f" ({needed / 2**30:.2f} GiB are needed)" if needed else ""
        return WorkdirError(f"cannot write {path}: the disk or quota is full{size}; free some space or choose another folder.")
    return WorkdirError(f"cannot write {path}: {error.strerror or error}; choose a folder that can be written.")


@contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on the file `path`, waiting for another process that has it.

    The kernel drops the lock when its holder dies, so a stale lock cannot exist.

    Raises:
      WorkdirError: the lock file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise write_error(path, error) from error
        yield
    finally:
        os.close(handle)
