"""A file system of a few hundred kilobytes, to fill."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mounts a tmpfs on `folder`; skips the test where this process may not mount."""
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    made = mount and subprocess.run(command, check=False, capture_output=True)
    if not made or made.returncode:
        pytest.skip("mounting a tmpfs needs privileges this process does not have")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)
