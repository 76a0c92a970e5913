"""Nothing is lost: kills at every durable write and at random moments end in the same bytes as an uninterrupted run."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
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
    killing.forked(options, folder / "run", compiled)
    out = killing.output(folder / "run").read_text()
    found = re.search(r"durable calls: (\d+)", out)
    assert found, out
    return killing.digest(folder / "run"), int(found[1])


@pytest.fixture(scope="module")
def whole_vmap(tmp_path_factory: pytest.TempPathFactory, compiled: Path) -> dict[str, str]:
    """An uninterrupted run of both folds in one batched program."""
    folder = tmp_path_factory.mktemp("whole_vmap")
    options = [*CONFIG, *killing.VMAP, f"--config.data.cache={folder / 'cache'}"]
    killing.forked(options, folder / "run", compiled)
    assert "2 folds in one batched program" in killing.output(folder / "run").read_text()
    return killing.digest(folder / "run")


def killed_at(calls: Sequence[int | str], folder: Path, compiled: Path, size: Sequence[str] = killing.TINY) -> dict[str, str]:
    """Kills one run at each of the given durable calls (see kill_at.py) in turn, then lets it end."""
    options = [*CONFIG, *size, f"--config.data.cache={folder / 'cache'}"]
    for call in calls:
        code = killing.forked(options, folder / "run", compiled, call)
        assert code == -signal.SIGKILL or isinstance(call, int), killing.output(folder / "run").read_text()
    killing.forked(options, folder / "run", compiled)
    return killing.digest(folder / "run")


def test_kills_at_durable_writes(whole: tuple[dict[str, str], int], compiled: Path, tmp_path: Path):
    """Short form: three places, spread over caching, training and reporting."""
    expected, calls = whole
    assert killed_at([max(2, calls // 40), calls // 3, calls // 4], tmp_path, compiled) == expected


def test_kills_of_folds_in_one_program(whole_vmap: dict[str, str], compiled: Path, tmp_path: Path):
    """Short form of the fold-parallel path: in a checkpoint of the autoencoder's, and in one of the classifier's."""
    assert killed_at([60, 40], tmp_path, compiled, killing.VMAP) == whole_vmap


def test_kills_while_a_fold_is_saved_behind_the_next(whole: tuple[dict[str, str], int], compiled: Path, tmp_path: Path):
    """One fold after the other: before the first one's autoencoder and classifier get their names, and just after."""
    calls = [f"{n}@{name}" for name in ("autoencoder", "classifier") for n in (1, 2)]
    assert killed_at(calls, tmp_path, compiled, killing.SEQUENTIAL) == whole[0]


def test_sigterm_saves_and_says_where(compiled: Path, tmp_path: Path):
    """Exit code 75 within ten seconds, and the same command ends in the same bytes.

    A hundred epochs: a signal sent after the first arrives in the training however busy the machine is.
    """
    options = [*CONFIG, *killing.TINY, f"--config.data.cache={tmp_path / 'cache'}"]
    options += ["--config.train.autoencoder_max_epochs=100", "--config.train.autoencoder_patience=100"]
    options += ["--config.train.checkpoint_seconds=60"]
    killing.forked(options, tmp_path / "whole", compiled)
    code, seconds, out = killing.terminate_after(tmp_path / "run", options, compiled, "autoencoder epoch 1", signal.SIGTERM)
    assert code == 75, out
    assert seconds < 10
    assert "saved in" in out
    assert "Traceback" not in out
    killing.forked(options, tmp_path / "run", compiled)
    assert killing.digest(tmp_path / "run") == killing.digest(tmp_path / "whole")


REPRODUCE = ["reproduce", "table1", "--rows=1"]
REPORT_CALLS = 8
"""Durable calls of a report's three files from report.json's name on: each is synced, renamed, and its folder synced."""


def reproduced(folder: Path) -> dict[str, Any]:
    """What a report says, without clocks and places."""
    report = json.loads((folder / "report.json").read_text())
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "workdir")} for row in report["rows"]]
    lines = [line for line in (folder / "report.md").read_text().splitlines() if line.startswith("| #")]
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    return {"rows": rows, "pairs": report["pairs"], "lines": lines}


def report_killed(folder: Path, compiled: Path, places: Sequence[int]) -> tuple[int, int]:
    """Kills `mmjax reproduce` at those durable calls of its report; how many kills, and how many reports differed."""
    options = [*killing.TINY, f"--config.data.cache={folder / 'cache'}"]
    killing.forked(options, folder / "whole", compiled, command=REPRODUCE)
    expected, killed, different = reproduced(folder / "whole"), 0, 0
    for place in places:
        run = folder / str(place)
        killed += killing.forked(options, run, compiled, f"{place}@report.json", REPRODUCE) != 0
        assert (run / "row1" / "summary.json").exists(), "killed after training, in the report"
        killing.forked(options, run, compiled, command=REPRODUCE)
        different += reproduced(run) != expected
    return killed, different


def test_killed_while_a_report_is_written(compiled: Path, tmp_path: Path):
    """Short form: as the plot gets its name, between report.json and report.md."""
    assert report_killed(tmp_path, compiled, [4]) == (1, 0)


@pytest.mark.faults
def test_killed_at_every_write_of_a_report(compiled: Path, tmp_path: Path):
    """Long form: every durable call of a report."""
    kills, different = report_killed(tmp_path, compiled, range(1, REPORT_CALLS + 1))
    killing.record("kills in a report", kills=kills, differences=different)
    assert (kills, different) == (REPORT_CALLS, 0)


@pytest.mark.faults
def test_kills_at_every_durable_write(whole: tuple[dict[str, str], int], compiled: Path, tmp_path: Path):
    """Long form: a run of its own for each of forty places spread over all of them."""
    expected, calls = whole
    places, killed, different = sorted({round(1 + i * (calls - 1) / 39) for i in range(40)}), 0, []
    for place in places:
        folder = tmp_path / str(place)
        options = [*CONFIG, *killing.TINY, f"--config.data.cache={folder / 'cache'}"]
        killed += killing.forked(options, folder / "run", compiled, place) == -signal.SIGKILL
        killing.forked(options, folder / "run", compiled)
        if names := killing.differing(expected, folder / "run"):
            different.append({"place": place, "names": names})  # its folder stays
        else:
            shutil.rmtree(folder)
    killing.record("durable writes", calls=calls, kills=killed, runs=len(places), differences=different)
    assert not different
    assert killed >= 0.9 * len(places)  # a run's last calls vary by a few with the clock


def killed_at_random(
    name: str, options: list[str], expected: dict[str, str], kills: int, folder: Path, compiled: Path, *, cold: bool = False
) -> int:
    """Random kills over as many runs as it takes; how many runs ended in other bytes.

    `cold` gives every run an empty compilation cache, so that kills find it compiling and writing programs.
    """
    where = [*options, f"--config.data.cache={folder / 'whole' / 'cache'}"]
    killing.forked(where, folder / "whole" / "run", compiled)
    began = time.monotonic()
    killing.forked(where, folder / "again" / "run", compiled)
    seconds = time.monotonic() - began
    assert killing.digest(folder / "again" / "run") == expected, "the same seed gave other bytes"
    rng, killed, runs, different = random.Random(name), Counter(), 0, []
    while killed.total() < kills:
        run = folder / str(runs)
        programs = run / "compiled" if cold else compiled
        arguments = [*options, f"--config.data.cache={run / 'cache'}"]
        killed += killing.kill_at_random(run / "run", arguments, programs, kills - killed.total(), rng, seconds)
        if names := killing.differing(expected, run / "run"):
            different.append({"run": runs, "names": names})  # its folder stays
        else:
            shutil.rmtree(run)
        runs += 1
        print(f"{name}: {killed.total()} kills, {runs} runs, {len(different)} differences", flush=True)
    killing.record(f"random kills, {name}", kills=killed.total(), runs=runs, differences=different, seconds=seconds, at=killed)
    return len(different)


@pytest.mark.faults
def test_a_hundred_random_kills(whole: tuple[dict[str, str], int], compiled: Path, tmp_path: Path):
    """Long form: 100 SIGKILLs at random moments over as many runs as that takes; 0 differences."""
    assert killed_at_random("folds one by one", [*CONFIG, *killing.TINY], whole[0], 100, tmp_path, compiled) == 0


@pytest.mark.faults
def test_random_kills_of_folds_in_one_program(whole_vmap: dict[str, str], compiled: Path, tmp_path: Path):
    """Long form of the fold-parallel path, killed while it compiles too."""
    assert killed_at_random("vmap", [*CONFIG, *killing.VMAP], whole_vmap, 20, tmp_path, compiled, cold=True) == 0


REAL = [
    "--config.data.max_rows=600",
    "--config.cv.folds=2",
    "--config.train.max_epochs=2",
    "--config.train.autoencoder_max_epochs=2",
    "--config.train.steps_per_dispatch=4",
    "--config.train.checkpoint_seconds=0.0",
    "--config.train.devices=1",
    "--config.model.image.layers=(1,1)",
    "--config.model.text.embed_dim=50",
]
"""Real rows, texts, photos and vectors through a small model."""


@pytest.mark.faults
@pytest.mark.real
@pytest.mark.parametrize("name", ["fashion", "petfinder_features"])
def test_twenty_kills_on_real_data(name: str, data_root: Path, compiled: Path, tmp_path: Path):
    """Long form on real data: 20 kills, 0 differences."""
    root = data_root / name.removesuffix("_features")
    options = [f"--config=configs/mmae_attention.py:{name}", f"--config.data.root={root}", *REAL]
    killing.forked([*options, f"--config.data.cache={tmp_path / 'cache'}"], tmp_path / "first", compiled)
    assert killed_at_random(name, options, killing.digest(tmp_path / "first"), 20, tmp_path, compiled) == 0


def test_a_second_process_is_refused(compiled: Path, tmp_path: Path):
    """The second names the first and leaves its folder alone."""
    from mmjax.io.workdir import Workdir

    with Workdir(tmp_path / "run").lock():
        command = [sys.executable, "train.py", "--no-report", *CONFIG, *killing.TINY, f"--workdir={tmp_path / 'run'}"]
        out = subprocess.run(
            command, cwd=killing.ROOT, env=killing.environment(compiled), capture_output=True, text=True, check=False
        )
    assert out.returncode == 2
    assert "process" in out.stderr
    assert "Traceback" not in out.stderr
