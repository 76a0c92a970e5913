"""What a run ran on: versions, device, commit; one entry a session in environment.json."""

import os
import platform
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("mmjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "pandas", "pillow", "scikit-learn")


def environment() -> dict[str, Any]:
    """Versions, device, machine, commit and command line of this process; JSON-able."""
    devices = jax.devices()
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "argv": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "backend": jax.default_backend(),
        "device": devices[0].device_kind,
        "device_count": len(devices),
        "process_count": jax.process_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "git": _git(Path(__file__).resolve().parents[2]),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def short_versions() -> dict[str, Any]:
    """Of what decides a run's numbers and its speed."""
    named = {name: _version(name) for name in ("mmjax", "jax")}
    return {**named, "python": platform.python_version(), "platform": platform.platform()}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(root: Path) -> dict[str, Any] | None:
    """Commit of the checkout mmjax lies in; None where it was installed, or git is absent."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None

    def ask(*arguments: str) -> str:
        # status would refresh the index and so take git's lock away from a person at work
        env = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
        command = [git, "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10, env=env).stdout.strip()  # noqa: S603

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None
