"""Nothing is lost: kills at every durable write and at random moments end in the same bytes as an uninterrupted run."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import killing

CONFIG = ["--config=configs/mmae_attention.py"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, compiled: Path) -> tuple[dict[str, str], int]:
    """An uninterrupted run: what it left, and how many durable calls it made."""
    folder = tmp_path_factory.mktemp("whole")
    options = [*CONFIG, *killing.TINY, f"--config.data.cache={folder / 'cache'}"]
    out = killing.finish(["tests/kill_at.py", "0"], folder / "run", options, compiled)
    found = re.search(r"durable calls: (\d+)", out)
    assert found, out
    return killing.digest(folder / "run"), int(found[1])


def killed_at(calls: list[int], folder: Path, compiled: Path) -> dict[str, str]:
    """Kills one run at each of the given durable calls in turn, then lets it end."""
    options = [*CONFIG, *killing.TINY, f"--config.data.cache={folder / 'cache'}"]
    for call in calls:
        process = killing.start(["tests/kill_at.py", str(call)], folder / "run", options, compiled)
        out, _ = process.communicate(timeout=300)
        assert process.returncode in (0, -signal.SIGKILL), out
    killing.finish(["train.py"], folder / "run", options, compiled)
    return killing.digest(folder / "run")


def test_kills_at_durable_writes(whole: tuple[dict[str, str], int], compiled: Path, tmp_path: Path):
    """Short form: three places, spread over caching, training and reporting."""
    expected, calls = whole
    assert killed_at([max(2, calls // 40), calls // 3, calls // 4], tmp_path, compiled) == expected


def test_sigterm_saves_and_says_where(whole: tuple[dict[str, str], int], compiled: Path, tmp_path: Path):
    """Exit code 75 within ten seconds, and the same command ends in the same bytes."""
    expected, _ = whole
    options = [*CONFIG, *killing.TINY, f"--config.data.cache={tmp_path / 'cache'}"]
    code, seconds, out = killing.terminate_after(tmp_path / "run", options, compiled, "autoencoder epoch 1", signal.SIGTERM)
    assert code == 75, out
    assert seconds < 10
    assert "saved in" in out
    assert "Traceback" not in out
    killing.finish(["train.py"], tmp_path / "run", options, compiled)
    assert killing.digest(tmp_path / "run") == expected


REPRODUCE = ["reproduce", "table1", "--rows=1"]
REPORT_CALLS = 9
"""Durable calls of a report's three files: each is synced, renamed, and its folder synced."""


def reproduced(folder: Path) -> dict[str, Any]:
    """What a report says, without clocks and places."""
    report = json.loads((folder / "report.json").read_text())
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "workdir")} for row in report["rows"]]
    lines = [line for line in (folder / "report.md").read_text().splitlines() if line.startswith("| #")]
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    return {"rows": rows, "pairs": report["pairs"], "lines": lines}


def report_killed(folder: Path, compiled: Path, before_the_end: list[int]) -> tuple[int, int]:
    """Kills `mmjax reproduce` that many durable calls before its last; how many kills, and how many reports differed."""
    options = [*killing.TINY, f"--config.data.cache={folder / 'cache'}"]
    out = killing.finish(["tests/kill_at.py", "0", *REPRODUCE], folder / "whole", options, compiled)
    calls, expected, different = int(out.split("durable calls: ")[1]), reproduced(folder / "whole"), 0
    for back in before_the_end:
        run = folder / str(back)
        process = killing.start(["tests/kill_at.py", str(calls - back), *REPRODUCE], run, options, compiled)
        out, _ = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, out
        assert (run / "row1" / "summary.json").exists(), "killed after training, in the report"
        killing.finish(["tests/kill_at.py", "0", *REPRODUCE], run, options, compiled)
        different += reproduced(run) != expected
    return len(before_the_end), different


def test_killed_while_a_report_is_written(compiled: Path, tmp_path: Path):
    """Short form: as the plot gets its name, between report.json and report.md."""
    assert report_killed(tmp_path, compiled, [4]) == (1, 0)


@pytest.mark.faults
def test_killed_at_every_write_of_a_report(compiled: Path, tmp_path: Path):
    """Long form: every durable call of a report."""
    kills, different = report_killed(tmp_path, compiled, list(range(REPORT_CALLS)))
    print(f"{kills} kills while a report was written, {different} differences")
    assert different == 0


@pytest.mark.faults
def test_kills_at_every_durable_write(whole: tuple[dict[str, str], int], compiled: Path, tmp_path: Path):
    """Long form: a run of its own for each of forty places spread over all of them."""
    expected, calls = whole
    places = sorted({round(1 + i * (calls - 1) / 39) for i in range(40)})
    different = [p for p in places if killed_at([p], tmp_path / str(p), compiled) != expected]
    print(f"{len(places)} kills at durable writes, {len(different)} differences")
    assert not different


@pytest.mark.faults
def test_a_hundred_random_kills(whole: tuple[dict[str, str], int], compiled: Path, tmp_path: Path):
    """Long form: 100 SIGKILLs at random moments over as many runs as that takes; 0 differences."""
    expected, _ = whole
    killed, runs, different = 0, 0, 0
    while killed < 100:
        folder = tmp_path / str(runs)
        options = [*CONFIG, *killing.TINY, f"--config.data.cache={folder / 'cache'}"]
        killed += killing.kill_at_random(folder / "run", options, compiled, min(10, 100 - killed), runs, 14.0)
        killing.finish(["train.py"], folder / "run", options, compiled)
        different += killing.digest(folder / "run") != expected
        runs += 1
        print(f"{killed} kills, {runs} runs, {different} differences", flush=True)
    assert different == 0


@pytest.mark.faults
@pytest.mark.real
@pytest.mark.parametrize(
    "config",
    [
        "--config=configs/attention.py:fashion",
        "--config=configs/attention.py:petfinder_features",
    ],
)
def test_twenty_kills_on_real_data(config: str, data_root: Path, compiled: Path, tmp_path: Path):
    """Long form on real tables: 20 kills, 0 differences."""
    name = config.split(":")[1]
    options = [
        config,
        f"--config.data.root={data_root / name.removesuffix('_features')}",
        f"--config.data.cache={tmp_path / 'cache'}",
        "--config.data.max_rows=1500",
        "--config.train.max_epochs=3",
        "--config.train.steps_per_dispatch=8",
        "--config.train.checkpoint_seconds=0.0",
    ]
    killing.finish(["train.py"], tmp_path / "whole", options, compiled)
    expected, killed, runs = killing.digest(tmp_path / "whole"), 0, 0
    while killed < 20:
        run = tmp_path / f"run{runs}"
        killed += killing.kill_at_random(run, options, compiled, min(10, 20 - killed), runs, 20.0)
        killing.finish(["train.py"], run, options, compiled)
        assert killing.digest(run) == expected
        runs += 1
    print(f"{name}: {killed} kills, {runs} runs, 0 differences")


def test_a_second_process_is_refused(compiled: Path, tmp_path: Path):
    """The second names the first and leaves its folder alone."""
    from mmjax.train.workdir import Workdir

    with Workdir(tmp_path / "run").lock():
        command = [sys.executable, "train.py", *CONFIG, *killing.TINY, f"--workdir={tmp_path / 'run'}"]
        out = subprocess.run(
            command, cwd=killing.ROOT, env=killing.environment(compiled), capture_output=True, text=True, check=False
        )
    assert out.returncode == 2
    assert "process" in out.stderr
    assert "Traceback" not in out.stderr
