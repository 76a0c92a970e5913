"""A modality in one file of its own (examples/time_series.py), all the way: trained, resumed, predicted from, reconstructed.

Broken by anything in the package that names modalities, or that knows the built-in ones alone.
"""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mmjax
from mmjax.config import Settings
from mmjax.data.data_report import DataReport
from mmjax.errors import ConfigError
from mmjax.inference import Ensemble
from mmjax.new_table import open_new_table
from mmjax.registry import register_modality
from mmjax.train.cross_validation import cross_validate

pytest.importorskip("examples.time_series")

LENGTH, ROWS = 16, 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose class is the frequency of a sine in one of two columns; some cells are broken or empty."""
    folder, rng = tmp_path_factory.mktemp("ecg"), np.random.default_rng(0)
    with (folder / "rows.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "size", "ecg", "lead", "y"])
        for i in range(ROWS):
            wave = np.sin(np.arange(LENGTH) * (0.4 if i % 2 else 1.5) + rng.uniform(0, 6)) + rng.normal(0, 0.1, LENGTH)
            cell = " ".join(f"{v:.3f}" for v in wave)
            cells = ["" if i == 3 else "1 2 x" if i == 4 else cell, " ".join(f"{v:.3f}" for v in rng.normal(0, 1, LENGTH))]
            writer.writerow([f"r{i}", f"{rng.normal():.2f}", *cells, "ab"[i % 2]])
    return folder


def settings(folder: Path, series: str = '["ecg", "lead"]', **changes) -> Settings:
    (folder / "schema.toml").write_text(f'id = "id"\nlabel = "y"\ncontinuous = ["size"]\nseries = {series}\n')
    values = {
        "data": {"name": "table", "root": str(folder), "table": "rows.csv", "schema": "schema.toml", "series_length": LENGTH},
        "cv": {"folds": 2},
        "model": {"modalities": ("tabular", "series"), "width": 8, "series": {"maps": 4}, "tabular": {"hidden": (8,)}},
        "train": {"max_epochs": 12, "patience": 12, "devices": 1, "batch_size": 8, "autoencoder_max_epochs": 3},
        "optim": {"learning_rate": 0.01},
    }
    values["data"]["cache"] = str(folder / "cache")
    for group, own in changes.items():
        values[group] = {**values.get(group, {}), **own} if isinstance(own, dict) else own
    return Settings.from_dict(values)


def test_two_columns_train_resume_and_predict(folder: Path, tmp_path: Path):
    """Each column is a modality named by it; what is broken is absent and told; the second run trains nothing anew."""
    summary = cross_validate(settings(folder), tmp_path / "run", lambda line: None)
    assert summary["mean"]["accuracy"] > 0.9  # the tower reads its column
    header = (tmp_path / "run" / "predictions.csv").read_text().splitlines()[0]
    assert header.endswith("attention_tabular,attention_ecg,attention_lead")
    before = (tmp_path / "run" / "predictions.csv").read_bytes()
    (tmp_path / "run" / "fold_1" / "done.json").unlink()
    lines: list[str] = []
    cross_validate(settings(folder), tmp_path / "run", lines.append)
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == before
    assert not any("epoch" in line for line in lines), "nothing was trained again"
    report = DataReport()
    ensemble = Ensemble.load(tmp_path / "run")
    dataset = open_new_table(ensemble, folder / "rows.csv", report)
    assert report.counts()["series_unreadable"] == 1
    full = ensemble.predict(dataset)
    assert full.attention[3, 1] == full.attention[4, 1] == 0  # absent: no weight
    lacking = tmp_path / "without.csv"
    rows = [line.split(",") for line in (folder / "rows.csv").read_text().splitlines()]
    lacking.write_text("\n".join(",".join([*row[:2], row[3]]) for row in rows))
    report = DataReport()
    predictions = ensemble.predict(open_new_table(ensemble, lacking, report))
    assert report.counts()["modality_absent"] == 1
    assert not predictions.attention[:, 1].any()


def test_it_is_reconstructed_and_its_code_feeds_a_classifier(folder: Path, tmp_path: Path):
    auto = {"kind": "mmae", "hidden": 16, "code": 4}
    model = {**settings(folder).to_dict()["model"], "autoencoder": auto}
    alone = cross_validate(settings(folder, '"ecg"', model=model, task="autoencoder"), tmp_path / "auto", lambda line: None)
    assert set(alone["mean"]) == {"mse_tabular", "mse_series", "dead_units"}  # one column: named by its kind
    assert 0 < alone["mean"]["mse_series"] < 2
    both = cross_validate(settings(folder, model=model, cv={"folds": 2, "only": (0,)}), tmp_path / "both", lambda line: None)
    assert both["autoencoder"] == "mmae"


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ConfigError, match="'text' cannot be registered for Other"):

        @register_modality("text")
        class Other:
            pass


def test_the_command_line_knows_it_once_it_is_imported(folder: Path):
    """A run of its own process: the config file imports the modality."""
    code = (
        "import examples.time_series, sys; from mmjax.cli.main import main; "
        f"sys.exit(main(['schema', {str(folder / 'rows.csv')!r}, '--label', 'y']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_no_modality_or_task_is_refused_where_it_is_registered():
    """Breaks where it is noticed at training, or takes the place of a built-in one."""
    from mmjax.modalities.base import Modality
    from mmjax.tasks.base import Task

    for register, base in ((mmjax.register_modality, Modality), (mmjax.register_task, Task)):
        with pytest.raises(ConfigError, match="it lacks"):
            register("halfway")(type("Halfway", (base,), {}))
        with pytest.raises(ConfigError, match="it lacks"):
            register("nothing")(type("Nothing", (), {}))
        with pytest.raises(ConfigError, match="a name is missing"):
            register(type("Bare", (base,), {}))
        with pytest.raises(ConfigError, match="taken or no identifier"):
            register("class")(type("Halfway", (base,), {}))
    with pytest.raises(ConfigError, match="taken or no identifier"):
        mmjax.register_modality("text")(type("Text", (Modality,), {}))
