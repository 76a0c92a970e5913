"""A disk that fills, or cannot be written, at each place a command writes: one sentence, and what was there stays."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fuzz_image import encoded
from PIL import Image
from small_disk import small_disk

from mmjax.cli.main import main
from mmjax.data.data_report import DataReport
from mmjax.data.image_store import open_image_store
from mmjax.errors import WorkdirError
from mmjax.io.atomic import write_text
from mmjax.io.workdir import Workdir
from tests import killing

if TYPE_CHECKING:  # pytest imports the plugin itself
    from tests.fixtures_trained import Trained

pytest_plugins = ("tests.fixtures_trained",)


def test_a_checkpoint_that_does_not_fit(tmp_path: Path):
    """In a process of its own: tensorstore's threads print a traceback each where the failure is not theirs alone."""
    options = ["--config=configs/tabular.py", *(o for o in killing.TINY if "autoencoder" not in o)]
    with small_disk(tmp_path / "disk", "500k") as disk:
        command = [
            sys.executable,
            "train.py",
            "--no-report",
            *options,
            f"--config.data.cache={tmp_path}",
            f"--workdir={disk / 'run'}",
        ]
        command += ["--config.model.tabular.hidden=(256,128)"]
        environment = killing.environment(tmp_path / "compiled")
        ended = subprocess.run(command, cwd=killing.ROOT, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert ended.stderr.startswith("mmjax: cannot write ")
        assert "checkpoints" in ended.stderr
        assert "the disk or quota is full" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


def test_photos_that_do_not_fit(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    names = [f"{i}.png" for i in range(20)]
    for i, name in enumerate(names):
        (tmp_path / "photos" / name).write_bytes(encoded(Image.new("RGB", (9, 7), (i, 0, 0)), "PNG"))
    with small_disk(tmp_path / "disk", "100k") as disk:
        with pytest.raises(WorkdirError, match="the disk or quota is full"):
            open_image_store(names, tmp_path / "photos", 64, disk / "cache", DataReport())
        assert not [p for p in (disk / "cache").glob("images-*") if p.is_dir() and p.suffix != ".partial"]
        assert open_image_store(names, tmp_path / "photos", 8, disk / "cache", DataReport()).present.all()


def test_predictions_that_do_not_fit(trained: "Trained", tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with small_disk(tmp_path / "disk", "16k") as disk:
        out = disk / "out.csv"
        out.write_text("old")
        line = ["predict", f"--workdir={trained.workdir}", f"--data={trained.table}", f"--images={trained.photos}"]
        assert main([*line, f"--out={out}"]) == 2
        assert "the disk or quota is full" in capsys.readouterr().err
        assert [p.name for p in disk.iterdir()] == ["out.csv"]
        assert out.read_text() == "old"


def test_a_disk_mounted_read_only(tmp_path: Path):
    with small_disk(tmp_path / "disk", "64k") as disk:
        work = Workdir(disk / "run")
        write_text(disk / "run" / "config.json", "{}")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(WorkdirError, match="Read-only file system; choose a folder"), work.lock():
            pass
        with pytest.raises(WorkdirError, match="Read-only file system"):
            write_text(disk / "run" / "config.json", "after")
        with pytest.raises(WorkdirError, match="Read-only file system"):
            Workdir(disk / "other")
        assert (disk / "run" / "config.json").read_text() == "{}"
