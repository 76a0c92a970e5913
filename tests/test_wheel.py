"""What `pip install mmjax` gives: a command that trains from an empty folder, with nothing of the repository beside it."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def run(*line: str | Path, cwd: Path) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
    env = kept | {"XDG_CACHE_HOME": str(cwd.parent / "cache")}
    done = subprocess.run(list(map(str, line)), cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_trains_in_an_empty_folder(tmp_path: Path):
    """Breaks where a config or schema is not in the wheel, or something reads a path of the repository."""
    pytest.importorskip("setuptools", minversion="77")  # builds the wheel
    source, empty = tmp_path / "source", tmp_path / "empty"
    shutil.copytree(REPOSITORY / "mmjax", source / "mmjax", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, source)
    quiet = ("--quiet", "--no-deps", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *quiet, "--no-build-isolation", "-w", tmp_path, source, cwd=source)
    (wheel,) = tmp_path.glob("mmjax-*.whl")
    assert {"mmjax/configs/text.py", "mmjax/configs/schemas/petfinder.toml", "mmjax/report/page.html.j2"} <= set(
        zipfile.ZipFile(wheel).namelist()
    )
    venv.create(tmp_path / "venv")
    (packages,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    # mmjax's requirements are those of this environment; a path in a .pth file makes no editable install of it.
    (packages / "requirements.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    python = tmp_path / "venv" / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        *quiet,
        "--no-index",
        "--ignore-installed",
        wheel,
        cwd=source,
    )
    shutil.rmtree(source)
    empty.mkdir()
    small = ["--config.data.max_rows=200", "--config.cv.folds=2", "--config.train.max_epochs=1", "--workdir=run"]
    shown = run(python.with_name("mmjax"), "train", "--config=tabular", *small, cwd=empty)
    assert "mean ± std" in shown
    assert (empty / "run" / "summary.json").is_file()
    assert shown.splitlines()[-1] == "Report: run/report.html"
    assert "parameters" in run(python.with_name("mmjax"), "inspect", "--config=configs/tabular.py:fashion", cwd=empty)
