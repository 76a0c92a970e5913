"""Arrays as long as a table: in memory or, where that is short, in nameless mapped files that vanish with the process."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import DTypeLike

from mmjax.io.atomic import write_error

Allocate = Callable[[tuple[int, ...], DTypeLike], np.ndarray]
"""Makes an array of a shape and a type, to be filled."""

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_LINE = 64
CHUNK = 16384
"""Rows that are encoded at a time."""


def in_memory(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array at a multiple of 64 bytes: XLA's CPU backend reads such an array where it lies, and would copy any other."""
    count = _bytes(shape, dtype)
    whole = np.empty(count + _LINE, np.uint8)
    start = -whole.ctypes.data % _LINE
    return whole[start : start + count].view(dtype).reshape(shape)


def in_files(folder: Path) -> Allocate:
    """Arrays in files of `folder`, a file each.

    Raises:
      WorkdirError: (when called) the file cannot be made as large as the array.
    """

    def allocate(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        count = _bytes(shape, dtype)
        if not count:
            return np.empty(shape, dtype)
        with _nameless(folder) as file:  # the map holds it
            try:
                os.posix_fallocate(file.fileno(), 0, count)  # a disk that is full says so here, not by a signal at some row
            except OSError as error:
                raise write_error(folder, error) from error
            return np.memmap(file, dtype, "r+", shape=shape)

    return allocate


class Reused:
    """An `Allocate` for arrays that come and go: their memory is lent again once nobody holds them, jax included.

    Batches of photos taken anew are pages that the kernel clears each time: most of an epoch at 512 px (docs/RESULTS.md, Larger
    photos). As much is kept as was ever lent at one time.
    """

    def __init__(self):
        self._free: dict[int, list[np.ndarray]] = {}

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """An array with whatever the last user left in it."""
        count = _bytes(shape, dtype)
        free = self._free.setdefault(count, [])
        try:  # Grain's threads share it: asking first could find it empty after all
            whole = free.pop()
        except IndexError:
            whole = in_memory((count,), np.uint8)
        return np.asarray(_Loan(whole, free)).view(dtype).reshape(shape)


class _Loan:
    """What all views of a lent array hold on to (`ndarray.base`)."""

    def __init__(self, whole: np.ndarray, free: list[np.ndarray]):
        self._whole, self._free = whole, free
        self.__array_interface__ = whole.__array_interface__

    def __del__(self) -> None:
        self._free.append(self._whole)


def host_memory() -> int:
    """Bytes this process may use: the machine's memory, or less where its container has a limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [Path(p).read_text().strip() for p in _LIMITS if os.access(p, os.R_OK)]
    return min([machine, *(int(limit) for limit in limits if limit.isdigit())])


class GrowingArray:
    """Rows x width, extended chunk by chunk.

    Args:
      width: columns.
      dtype: of the elements.
      folder: where the file goes; None keeps all in memory.
    """

    def __init__(self, width: int, dtype: type, folder: Path | None = None):
        self._width, self._dtype, self._rows = width, np.dtype(dtype), 0
        self._chunks: list[np.ndarray] = []
        self._folder = folder
        self._file = _nameless(folder) if folder is not None and width else None

    def extend(self, chunk: np.ndarray) -> None:
        """Adds rows."""
        chunk = np.ascontiguousarray(chunk, self._dtype)
        self._rows += len(chunk)
        if self._file is None:
            self._chunks.append(chunk)
            return
        try:
            self._file.write(chunk.tobytes())
        except OSError as error:
            raise write_error(self._folder or Path(), error) from error

    def finish(self) -> np.ndarray:
        """All rows, as one array or a read-only memory map."""
        if self._file is not None:
            self._file.flush()
            mapped = np.memmap(self._file, self._dtype, "r", shape=(self._rows, self._width))
            self._file.close()  # the map holds the file
            return mapped
        empty = np.zeros((0, self._width), self._dtype)
        return np.concatenate(self._chunks) if self._chunks else empty


def _bytes(shape: tuple[int, ...], dtype: DTypeLike) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _nameless(folder: Path) -> IO[bytes]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)  # lives as long as the array
    except OSError as error:
        raise write_error(folder, error) from error
