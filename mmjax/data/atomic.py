"""Files and folders that are there whole or not at all, whatever kills the process in between."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmjax.errors import WorkdirError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def sync_folder(folder: Path) -> None:
    """Makes renames inside `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes `text` beside `path`, syncs it, and renames it over `path`.

    Raises:
      WorkdirError: the disk is full or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise write_error(path, error) from error


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
