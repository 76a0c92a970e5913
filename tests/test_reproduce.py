"""Paper beside ours: rows run once, share their folds, and are compared as Nadeau and Bengio say."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from scipy import stats

from mmjax.cli.main import main
from mmjax.cli.reproduce_command import _show
from mmjax.reproduce.baselines import NAMES, _predictions
from mmjax.reproduce.pairs import compare, paired_differences
from mmjax.reproduce.paper import TABLES
from mmjax.reproduce.table_report import Report, duration
from mmjax.train import cross_validation
from tests.row_reports import row

pytest_plugins = ("tests.fixtures_trained",)

SMALL = [
    "--config.data.synthetic_rows=240",
    "--config.cv.folds=2",
    "--config.model.width=16",
    "--config.model.tabular.hidden=(16,)",
    "--config.model.text.embed_dim=8",
    "--config.model.text.maps=8",
    "--config.train.max_epochs=1",
    "--config.train.devices=1",
]


def test_paired_differences_are_those_of_the_formula():
    """Plain t would have 1/5 alone; breaks if pairs are taken across folds, or the folds' shared rows are forgotten."""
    a, b = [0.30, 0.32, 0.31, 0.35, 0.30], [0.33, 0.32, 0.35, 0.36, 0.34]
    (pair,) = paired_differences([row(1, a), row(2, b)], "accuracy")
    d = np.subtract(b, a)
    t = d.mean() / math.sqrt((1 / 5 + 20 / 80) * d.var(ddof=1))
    assert pair["difference"] == pytest.approx(d.mean())
    assert pair["t"] == pytest.approx(t)
    assert pair["p"] == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert pair["p_holm"] == pytest.approx(pair["p"])
    assert pair["low"] < pair["difference"] < pair["high"]


def test_holms_correction():
    """Sorted p-values times 3, 2, 1, never falling (Holm 1979)."""
    rng = np.random.default_rng(0)
    rows = [row(k, list(0.3 + 0.02 * k + 0.01 * rng.standard_normal(5))) for k in (1, 2, 3)]
    pairs = sorted(paired_differences(rows, "accuracy"), key=lambda p: p["p"])
    expected = np.minimum(np.maximum.accumulate([pairs[i]["p"] * (3 - i) for i in range(3)]), 1)
    assert [p["p_holm"] for p in pairs] == pytest.approx(list(expected))


def test_every_fold_of_every_repeat_is_paired():
    """Three seeds of two folds are six differences; breaks if only the first seed's folds, or the seeds' means, are tested."""
    a, b = [[0.30, 0.32], [0.31, 0.35], [0.30, 0.29]], [[0.33, 0.32], [0.35, 0.36], [0.34, 0.31]]
    (pair,) = paired_differences([row(1, *a), row(2, *b)], "accuracy")
    d = np.subtract(b, a).ravel()
    assert (pair["folds"], pair["difference"]) == (6, pytest.approx(d.mean()))
    assert pair["t"] == pytest.approx(d.mean() / math.sqrt((1 / 6 + 20 / 80) * d.var(ddof=1)))
    assert pair["p"] == pytest.approx(2 * stats.t.sf(pair["t"], 5))


def test_a_repeat_with_other_rows_in_its_folds_is_not_paired():
    """Breaks if the first repeat's assignment stands for all, or if repeats are paired by fold alone."""
    one, two = row(1, [0.3, 0.4], [0.1, 0.1], [0.3, 0.3]), row(2, [0.5, 0.5], [0.9, 0.9], [0.4, 0.5])
    two = replace(two, folds_digests=("same 0", "other", "same 2"))
    found = compare(one, two, "accuracy")
    assert found
    assert (found.folds, found.repeats, found.mean) == (4, 2, pytest.approx(0.15))
    fewer = compare(row(1, [0.3, 0.4]), two, "accuracy")  # a row with one seed has no more to pair
    assert fewer
    assert (fewer.folds, fewer.repeats) == (2, 1)


def test_a_table_of_several_seeds_shows_the_deviation_over_seeds(tmp_path: Path):
    """Means 0.31 and 0.35: 33.00 ± 2.00; breaks if the first seed's folds are shown, or the text does not say what the ± is."""
    rows = [row(1, [0.30, 0.32], [0.34, 0.36]), row(2, [0.40, 0.42], [0.42, 0.44])]
    Report("table1", "synthetic", rows, {}, "mmjax reproduce").write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| 33.00 ± 2.00 |" in text
    assert "over 2 seeds, each the mean over its 2 folds" in text
    assert "Bouckaert and Frank 2004" in text
    ours = json.loads((tmp_path / "report.json").read_text())["rows"][0]["ours"]
    assert ours["repeats"]["mean"]["accuracy"] == pytest.approx(0.33)
    Report("table1", "synthetic", [row(1, [0.30, 0.32]), row(2, [0.40, 0.42])], {}, "mmjax reproduce").write(tmp_path)
    one_seed = (tmp_path / "report.md").read_text()
    assert "over 2 folds, held-out" in one_seed
    assert "Bouckaert" not in one_seed


def test_rows_on_other_folds_are_not_paired_and_one_fold_is_not_tested():
    assert paired_differences([row(1, [0.3, 0.4]), row(2, [0.4, 0.5], digest="other")], "accuracy") == []
    (pair,) = paired_differences([row(1, [0.3]), row(2, [0.4])], "accuracy")
    assert pair["difference"] == pytest.approx(0.1)
    assert pair["p"] is None
    assert pair["p_holm"] is None


@pytest.mark.parametrize(
    ("table", "dataset"),
    [("table1", "synthetic"), ("table1", "petfinder+grouped"), ("table2", "petfinder"), ("table2", "fashion")],
)
def test_a_report_is_valid_json_a_markdown_table_and_a_picture(table: str, dataset: str, tmp_path: Path):
    more = {"ceiling": 0.9} if (table, dataset) == ("table1", "synthetic") else {}
    rows = [row(n, [0.03 * n, 0.031 * n, 0.03 * n], table=table, **more) for n in (1, 2, 3)]
    rows[2] = row(3, [0.03, 0.031, 0.03], table=table, **more)  # equal to row 1: no infinite t may reach the JSON
    Report(table, dataset, rows, {}, "mmjax reproduce", ["a note"]).write(tmp_path)
    text = (tmp_path / "report.json").read_text()
    assert "Infinity" not in text
    assert "NaN" not in text
    report = json.loads(text)
    assert [r["number"] for r in report["rows"]] == [1, 2, 3]
    assert report["rows"][0]["paper"]["mean"] == TABLES[table][0].value
    assert report["rows"][0]["seconds"] == 61.0
    lines = (tmp_path / "report.md").read_text().splitlines()
    shown = "36.73 ± 0.61" if table == "table1" else "0.03786"
    assert any(line.startswith("| 1 |") and shown in line for line in lines)
    assert any(line.startswith("| #2 - #1 |") for line in lines)
    claimed = [] if table == "table1" else [(2, 1), (3, 2), (3, 1)]
    assert [(c["better"], c["worse"]) for c in report["claims"]] == claimed
    assert all(f"- {c['sentence']}" in lines for c in report["claims"])
    assert ("## The paper's claims" in lines) == bool(claimed)
    assert len({line.count("|") for line in lines if line.startswith(("| 1", "| 2", "| 3"))}) == 1
    pixels = imread(tmp_path / "plot.png")
    assert pixels.shape[1] > 800
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 10  # something is drawn


def test_the_terminal_says_what_becomes_of_each_claim(capsys: pytest.CaptureFixture[str]):
    """As report.md does, with the tables; breaks if a sentence is left out there, or one seed's table speaks of seeds."""
    rows = [row(n, [0.3, 0.3 + 0.01 * n], [0.3, 0.31]) for n in (4, 6, 8)]
    for report in (
        Report("table1", "petfinder", rows, {}, "mmjax reproduce"),
        Report("table1", "petfinder", [row(4, [0.3, 0.3])], {}, "x"),
    ):
        _show(report, print)
        out = capsys.readouterr().out
        assert all(f"- {verdict.sentence}\n" in out for verdict in report.verdicts())
        assert ("The paper's claims:" in out) == ("over 2 seeds" in out) == ("#6 - #4" in out) == (report.rows == rows)
    assert len(Report("table1", "petfinder", rows, {}, "x").verdicts()) == 2


def test_the_papers_numbers():
    """The eight rows of Table 1 and the three of Table 2, as printed."""
    printed = [36.729, 29.403, 29.252, 37.080, 37.152, 37.381, 37.582, 37.883]
    assert [round(100 * r.value, 3) for r in TABLES["table1"]] == printed
    assert [r.value for r in TABLES["table2"]] == [0.03786, 0.03557, 0.03468]


@pytest.mark.parametrize(("seconds", "text"), [(48.4, "48 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_duration(seconds: float, text: str):
    assert duration(seconds) == text


def test_rows_are_run_once_and_share_their_folds(
    synthetic_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A second call adds a row and trains no finished one again; its report holds both, and the first row's time stays.

    A further seed adds its time once. Breaks if a row passes for finished, or is timed on and on, by its first seed alone.
    """
    line = ["reproduce", "table1", f"--workdir={tmp_path}", *SMALL, f"--config.data.cache={synthetic_cache}"]
    assert main([*line, "--rows=1"]) == 0
    before = json.loads((tmp_path / "report.json").read_text())
    assert before["rows"][0]["seconds"] > 0
    assert before["pairs"] == []
    trained = []
    original = cross_validation.train_phase

    def watched(run: Any, *args: Any) -> Any:
        trained.append(run.workdir.path.name)
        return original(run, *args)

    monkeypatch.setattr(cross_validation, "train_phase", watched)
    assert main([*line, "--rows=2,1"]) == 0
    assert set(trained) == {"row2"}
    report = json.loads((tmp_path / "report.json").read_text())
    assert [r["number"] for r in report["rows"]] == [1, 2]
    assert report["rows"][0] == before["rows"][0]
    assert (tmp_path / "row1/folds.csv").read_bytes() == (tmp_path / "row2/folds.csv").read_bytes()
    (pair,) = (p for p in report["pairs"] if p["metric"] == "accuracy")
    ours = [r["ours"]["mean"]["accuracy"] for r in report["rows"]]
    assert pair["difference"] == pytest.approx(ours[1] - ours[0])
    assert report["rows"][0]["train_rows"] == report["rows"][0]["test_rows"] == 120
    assert report["rows"][0]["ceiling"] == pytest.approx(json.loads((tmp_path / "row1/summary.json").read_text())["ceiling"])
    assert "#2 - #1" in capsys.readouterr().out
    trained.clear()
    seconds = []
    for _ in range(2):
        assert main([*line, "--rows=1", "--config.cv.repeats=2"]) == 0
        seconds.append(json.loads((tmp_path / "report.json").read_text())["rows"][0]["seconds"])
    assert set(trained) == {"repeat_1"}
    assert before["rows"][0]["seconds"] < seconds[0] == seconds[1]
    assert "over 2 seeds" in capsys.readouterr().out
    # Finished rows do not mix with another config.
    assert main([*line, "--rows=1", "--config.optim.learning_rate=0.01"]) == 2


def test_baselines_are_of_the_datas_own_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The largest class scores its share; logistic regression and boosting find what the synthetic rows hold.

    Breaks when a baseline is scored on rows it was fitted on, on other folds, or left out.
    """
    small = ["--config.data.synthetic_rows=240", "--config.cv.folds=2"]
    assert main(["reproduce", "baselines", "--workdir", str(tmp_path), *small]) == 0
    found = json.loads((tmp_path / "baselines.json").read_text())
    assert list(found) == ["majority", "logistic", "boosting", "boosting_entity"]
    assert all(len(values["by_fold"]) == 2 for values in found.values())
    accuracy = {name: values["mean"]["accuracy"] for name, values in found.items()}
    assert accuracy["majority"] < 0.45 < min(accuracy["logistic"], accuracy["boosting"]) < 0.999
    assert "logistic regression" in capsys.readouterr().out


def test_plain_boosting_reads_every_file_of_vectors():
    """Several are named by their file, not by their kind; breaks where an array's kind is guessed from its name."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 200)
    arrays = {"tabular/number": rng.normal(size=(200, 1)), "front/vector": label[:, None] + rng.normal(0, 0.1, (200, 2))}
    dataset: Any = SimpleNamespace(label=label, classes=("a", "b"))
    kinds = {"tabular": "tabular", "front": "vectors"}
    found = dict(_predictions(arrays, kinds, dataset, np.arange(150), np.arange(150, 200), 100, tuple(NAMES)))
    assert (found["boosting"].argmax(axis=1) == label[150:]).mean() > 0.9
