"""A run that must end in time: what is cut, and that the same command goes on with it; own tables on the command line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmjax.cli.main import main
from mmjax.config import Settings
from mmjax.configs import get_config
from mmjax.errors import ConfigError
from mmjax.inference import load_settings
from mmjax.io.results import read_summary
from mmjax.io.workdir import Workdir
from mmjax.train.budget import limit as time_limit
from mmjax.train.budget.estimate import PhaseTime, TimeEstimate, estimate_time
from mmjax.train.budget.limit import fit_into, plan_time, seconds_of
from mmjax.train.run_tables import leaderboard
from mmjax.train.shorter import advice
from tests.shrunken import shrunken


def takes(seconds_of_run: dict[int, float]):
    """An estimate by the photos' size alone."""

    def estimate(settings: Settings) -> TimeEstimate:
        seconds = seconds_of_run[settings.data.image_size]
        return TimeEstimate(1.0, (PhaseTime("all", seconds / 100, 100, 1, 1, False),))

    return estimate


@pytest.mark.parametrize(("text", "seconds"), [("600", 600), (90, 90), ("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_limits_are_read(text: str, seconds: float):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5m", "soon", "inf", "10 minutes"])
def test_what_is_no_limit_is_refused(text: str):
    with pytest.raises(ConfigError, match="time limit"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("seconds", "size", "folds", "epochs"),
    [(20_000, 512, 5, 20), (8_000, 512, 5, 11), (1_000, 64, 5, 20), (400, 32, 5, 20), (60, 32, 3, 13), (32, 32, 2, 10)],
)
def test_what_is_cut(monkeypatch: pytest.MonkeyPatch, seconds: float, size: int, folds: int, epochs: int):
    """Epochs down to a half, then smaller photos, then fewer folds: a little less of each, and never less than needed."""
    monkeypatch.setattr(time_limit, "estimate_time", takes({512: 10_000, 64: 600, 32: 100}))
    said: list[str] = []
    found = fit_into(get_config("attention", {"data.image_size": 512}), seconds, said.append)
    assert (found.data.image_size, found.cv.folds, found.train.max_epochs) == (size, folds, epochs)
    assert ("fits" in said[-1]) == (seconds == 20_000)
    assert all(name in said[-1] for name, old in (("image_size", size != 512), ("folds", folds != 5)) if old)


def begun(workdir: Path, settings: Settings) -> None:
    """As a killed first session leaves a workdir."""
    folder = Workdir(workdir)
    with folder.lock():
        folder.record(settings, 'label = "x"\n', {})


@pytest.mark.parametrize("limit", ["1m", "2h", None])
def test_a_run_that_goes_on_keeps_what_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None):
    """Breaks where a later session, with a limit or without, cuts otherwise: the workdir would belong to another config."""
    monkeypatch.setattr(time_limit, "estimate_time", takes({512: 10_000, 64: 600, 32: 100}))
    asked, said = get_config("attention", {"data.image_size": 512}), []
    cut = plan_time(asked, "1m", tmp_path, print)
    assert (cut.data.image_size, cut.cv.folds) == (32, 3)
    begun(tmp_path, cut)
    monkeypatch.setattr(time_limit, "estimate_time", lambda settings: pytest.fail("timed again"))
    assert plan_time(asked, limit, tmp_path, said.append) == cut
    assert "its time limit of 1m cut it: " in said[0]
    assert "cv.folds=3" in said[0]
    assert plan_time(cut, limit, tmp_path, said.append) == cut


def test_another_config_is_not_taken_for_the_one_that_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A value that the first session was not asked for stays, for the workdir to refuse."""
    monkeypatch.setattr(time_limit, "estimate_time", takes({512: 10_000, 64: 600, 32: 100}))
    asked = get_config("attention", {"data.image_size": 512})
    begun(tmp_path, plan_time(asked, "1m", tmp_path, print))
    other = replace(asked, cv=replace(asked.cv, folds=10))
    assert plan_time(other, None, tmp_path, print).cv.folds == 10
    assert plan_time(asked, None, tmp_path / "new", print) is asked
    begun(tmp_path / "whole", asked)  # the session before it planned a cut, and was killed before it began
    (tmp_path / "whole" / "time_limit.json").write_text((tmp_path / "time_limit.json").read_text())
    assert plan_time(asked, None, tmp_path / "whole", print) == asked


def test_steps_are_really_timed(tmp_path: Path):
    """Both phases of a frozen autoencoder's run; nothing is left behind."""
    settings = shrunken("mmae_attention", tmp_path / "cache", "", model__modalities=("tabular", "text"))
    found = estimate_time(settings)
    assert [phase.title for phase in found.phases] == ["MMAE", "attention + MMAE code"]
    for phase in found.phases:
        assert 0 < phase.step_seconds < 1
        assert phase.steps > 0
    assert found.seconds == pytest.approx(found.preparing + sum(p.seconds for p in found.phases))
    assert len(found.lines()) == 3


def test_advice_names_values_that_help():
    assert "--config.data.image_size=64" in advice(get_config("attention", {"data.image_size": 512}))
    assert "--config.cv.only=0" in advice(get_config("tabular"))
    assert "image_size" not in advice(get_config("tabular"))


def test_the_best_stands_first():
    summary = {"title": "ours", "mean": {"accuracy": 0.6}, "std": {"accuracy": 0.01}}
    lines = leaderboard(summary, {"largest class": [{"accuracy": 0.3}], "boosting: x": [{"accuracy": 0.7}, {"accuracy": 0.8}]})
    assert [next(n for n in ("ours", "largest", "boosting") if n in line) for line in lines.splitlines()[3:]] == [
        "boosting",
        "ours",
        "largest",
    ]
    assert "75.00 ± 5.00" in lines


def own_table(folder: Path, rows: int = 80) -> Path:
    draw = np.random.default_rng(0)
    season = draw.choice(["summer", "winter"], rows)
    words = np.where(season == "summer", "light linen shirt", "warm woollen coat")
    notes = [f"{word} number {i} of the {draw.choice(['old', 'new'])} catalogue" for i, word in enumerate(words)]
    pd.DataFrame({"price": draw.normal(size=rows).round(3), "note": notes, "season": season}).to_csv(
        folder / "rows.csv", index=False
    )
    return folder / "rows.csv"


def test_a_table_of_ones_own_by_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """No schema, no root: the proposal is shown, what the table lacks is left out, and the report is there."""
    small = [
        "--config.train.min_steps=10",
        "--config.train.max_epochs=2",
        "--config.cv.folds=2",
        "--config.data.forest_trees=5",
    ]
    table, run = own_table(tmp_path), tmp_path / "run"
    assert main(["train", "--config=recommended", f"--table={table}", "--label=season", f"--workdir={run}", *small]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= 40
    assert 'label = "season"' in out
    assert out.splitlines()[-1] == f"Report: {run / 'report.html'}"
    assert "On the same folds, best first" in out
    assert load_settings(run).data.table == "rows.csv"
    assert read_summary(run)["folds_finished"] == 2
    assert (run / "tb" / "held_out").is_dir()
    page = (run / "report.html").read_text()
    assert "What spoke for" in page
    assert "<mark" in page or "spoke" in page


SMALL = ["--config.train.min_steps=10", "--config.train.max_epochs=2", "--config.cv.folds=3", "--config.data.forest_trees=5"]


def test_a_limited_run_goes_on_without_its_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A fold is gone and the command has no limit: what an unbroken run gives, and one sentence says by what it goes."""
    table, run = own_table(tmp_path), tmp_path / "run"
    command = ["train", f"--table={table}", "--label=season", f"--workdir={run}", *SMALL, "--no-report"]
    assert main([*command, "--time-limit=0.01"]) == 0
    whole, folds = (run / "predictions.csv").read_bytes(), load_settings(run).cv.folds
    assert folds == 2
    (run / "fold_1" / "done.json").unlink()
    capsys.readouterr()
    assert main(command) == 0
    assert "The run goes on as its time limit of 0.01 cut it: " in capsys.readouterr().out
    assert (run / "predictions.csv").read_bytes() == whole


def test_inspect_takes_a_table_by_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """As `train` does; the proposal goes to stderr, so that --json stays JSON, and nothing is written beside the table."""
    table = own_table(tmp_path)
    assert main(["inspect", f"--table={table}", "--label=season", "--time", "--json", *SMALL]) == 0
    out, error = capsys.readouterr()
    found = json.loads(out)
    assert found["rows"] == 80
    assert found["time"]["seconds"] > 0
    assert 'label = "season"' in error
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
    assert main(["inspect", "--label=season"]) == 2
    assert main(["inspect", f"--table={table}", "--label=season", "--spec=rows=5"]) == 2
    assert "--spec assumes sizes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--label=season"], "--label belongs to a table"),
        (["--table={table}"], "--table needs --label=COLUMN"),
        (["--table=absent.csv", "--label=season"], "absent.csv: there is no such table"),
        (["--table={table}", "--label=season", "--images=absent"], "absent: there is no such folder of photos"),
        (["--table={table}", "--label=season", "--schema=absent.toml"], "absent.toml: there is no such schema"),
        (["--table={table}", "--label=price2"], "price2"),
        (["--table={table}", "--label=season", "--time-limit=soon"], "the time limit is 'soon'"),
    ],
)
def test_own_tables_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str):
    given = [option.format(table=own_table(tmp_path)) for option in options]
    assert main(["train", "--config=recommended", f"--workdir={tmp_path / 'run'}", *given]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
