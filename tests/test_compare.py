"""Several runs on the same folds in one table."""

import json
from pathlib import Path

import numpy as np
import pytest

import mmjax
from mmjax.cli.main import main
from mmjax.datasets.splits import save_folds
from mmjax.errors import ConfigError, WorkdirError
from mmjax.reproduce.statistics import corrected_resampled_t_test, holm
from tests.fake_runs import fake_run


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [fake_run(folder / f"skill{skill}", classes=3, skill=skill, seed=1, rows=200) for skill in (1, 1.4, 3)]


def test_differences_are_to_the_first_and_tested(three: list[Path]):
    found = mmjax.compare(three)
    names = [str(path) for path in three]
    assert list(found.index.unique("workdir")) == names
    scores = [
        [done["metrics"]["accuracy"] for done in json.loads((path / "summary.json").read_text())["by_fold"].values()]
        for path in three
    ]
    tests = [corrected_resampled_t_test(own, scores[0], test_rows=40, train_rows=160) for own in scores[1:]]
    rows = found.loc["accuracy"]
    assert np.isnan(rows.loc[names[0], "difference"])
    for name, test, corrected in zip(names[1:], tests, holm([test.p for test in tests]), strict=True):
        assert rows.loc[name, "difference"] == pytest.approx(test.difference)
        assert rows.loc[name, "p"] == pytest.approx(test.p)
        assert rows.loc[name, "p_holm"] == pytest.approx(corrected)
    assert set(rows["folds"]) == {5}


def test_the_command_shows_and_writes_it(three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["compare", *map(str, three), f"--out={tmp_path}/compare.html"]) == 0
    shown = capsys.readouterr().out
    assert "accuracy %" in shown
    assert "p (Holm)" in shown
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    assert "Nadeau" in page
    assert str(three[2]) in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": 201}, "200 and 201 rows"),
        ({"ids": 7}, "row 8 is 'r7' in one, 'other' in the other"),
        ({"fold": 3}, "1 of 200 rows are in other folds"),
    ],
)
def test_other_rows_or_folds_are_refused(three: list[Path], tmp_path: Path, change: dict[str, int], said: str):
    other = fake_run(tmp_path / "other", classes=3, seed=1, rows=change.get("rows", 200))
    ids, fold_N = np.array([f"r{i}" for i in range(200)], object), np.arange(200) % 5
    if "ids" in change:
        ids[change["ids"]] = "other"
    if "fold" in change:
        fold_N[change["fold"]] = 0
    if "rows" not in change:
        save_folds(other / "folds.csv", ids, fold_N)
    with pytest.raises(WorkdirError) as refused:
        mmjax.compare([three[0], other])
    assert said in str(refused.value)
    assert str(three[0]) in str(refused.value)
    assert str(other) in str(refused.value)


def test_a_fold_of_one_alone_and_other_metrics_are_refused(three: list[Path], tmp_path: Path):
    other = fake_run(tmp_path / "other", classes=3, seed=1, rows=200)
    summary = json.loads((other / "summary.json").read_text())
    left = summary | {"by_fold": {f: done for f, done in summary["by_fold"].items() if f != "4"}}
    (other / "summary.json").write_text(json.dumps(left))
    with pytest.raises(WorkdirError, match="repeat 1, fold 4 is finished in one of them alone"):
        mmjax.compare([three[0], other])
    done = {f: {"metrics": {"mse": 1.0}} for f in summary["by_fold"]}
    (other / "summary.json").write_text(json.dumps(summary | {"by_fold": done, "mean": {"mse": 1.0}}))
    with pytest.raises(WorkdirError, match="no metric in common"):
        mmjax.compare([three[0], other])


def test_folds_of_all_repeats_are_paired(tmp_path: Path):
    """Breaks where the further repeats' folds are not looked at, or their scores are left out."""
    runs = []
    for name, skill in (("a", 1), ("b", 2)):
        runs.append(fake_run(tmp_path / name, classes=3, seed=1, rows=200, skill=skill))
        again = fake_run(runs[-1] / "repeat_1", classes=3, seed=2, rows=200, skill=skill)
        first, second = (json.loads((folder / "summary.json").read_text()) for folder in (runs[-1], again))
        repeats = {"repeats": {"means": [first["mean"], second["mean"]], "by_fold": [first["by_fold"], second["by_fold"]]}}
        (runs[-1] / "summary.json").write_text(json.dumps(first | repeats))
    assert set(mmjax.compare(runs)["folds"]) == {10}
    save_folds(again / "folds.csv", np.array([f"r{i}" for i in range(200)], object), (np.arange(200) + 1) % 5)
    with pytest.raises(WorkdirError, match="200 of 200 rows are in other folds"):
        mmjax.compare(runs)


def test_one_workdir_is_no_comparison(three: list[Path], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ConfigError, match="at least two"):
        mmjax.compare(three[:1])
    assert main(["compare"]) == 2
    assert main(["compare", str(three[0]), "/no/such/run"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
