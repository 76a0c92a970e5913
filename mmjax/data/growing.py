"""Arrays that grow by chunks, in memory or, for what is larger, in a file that is then mapped."""

import tempfile
from pathlib import Path

import numpy as np

from mmjax.data.atomic import write_error


class GrowingArray:
    """Rows x width, extended chunk by chunk.

    Args:
      width: columns.
      dtype: of the elements.
      folder: where the file goes; None keeps all in memory. The file has no name: it vanishes with the process.
    """

    def __init__(self, width: int, dtype: type, folder: Path | None = None):
        self._width, self._dtype, self._rows = width, np.dtype(dtype), 0
        self._chunks: list[np.ndarray] = []
        self._folder = folder
        self._file = None
        if folder is not None and width:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the array
            except OSError as error:
                raise write_error(folder, error) from error

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
