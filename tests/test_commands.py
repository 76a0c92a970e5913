"""What a person types: exit codes, one sentence for an error, rows in and rows out."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from mmjax import __version__
from mmjax.cli.main import main
from mmjax.cli.predict_command import _refuse_inputs, _trained_on
from mmjax.config import data_settings
from mmjax.configs import find, get_config, names, parse_overrides
from mmjax.errors import ConfigError
from mmjax.schema import Schema

if TYPE_CHECKING:  # pytest imports the plugin itself
    from tests.fixtures_trained import Trained

REPOSITORY = Path(__file__).parents[1]

pytest_plugins = ("tests.fixtures_trained",)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("evaluate", "--workdir"),
        ("evaluate --workdir=/no/such/folder", "/no/such/folder"),
        ("evaluate --workdir=x --data=/no/rows.csv", "/no/rows.csv"),
        ("evaluate --workdir=x --wrong", "--wrong"),
        ("evaluate --workdir=x --images=y", "--data"),
        ("evaluate --workdir=x --config.cv.folds=3", "--config.cv.folds=3"),
        ("predict --workdir=x --data=/no/rows.csv --out=o.csv", "/no/rows.csv"),
        ("predict --workdir=x --data=pyproject.toml --out=/no/folder/o.csv", "/no/folder"),
        ("predict --workdir=x --data=pyproject.toml --out=pyproject.toml", "input itself"),
        ("reproduce table3 --workdir=x", "table3"),
        ("reproduce table1 --workdir=x --rows=1,9", "'9'"),
        ("reproduce table1 --workdir=x --dataset=cifar", "cifar"),
        ("reproduce table1 --workdir=x --config.cv.fold=3", "did you mean folds"),
        ("reproduce table1 --workdir=x --config.cv.folds", "no value"),
        ("reproduce table2 --workdir=x --dataset=petfinder_features", "no photos"),
        ("schema /no/rows.csv", "/no/rows.csv"),
        ("schema pyproject.toml --out=/no/folder/s.toml", "/no/folder"),
        ("schema pyproject.toml --out=README.md", "is there already; delete it first"),
        ("schema mmjax", "mmjax: is a folder, not a table"),
        ("train --config", "--config: expected one argument"),
        ("train --config --workdir=x", "--config: expected one argument"),
        ("train --config configs/tabular.py:moon", "moon"),
        ("inspect --config configs/mmae.py:moon", "'moon' is neither a modality nor a data set"),
        ("inspect", "required: --config"),
        ("inspect --config=configs/nothing.py", "ae_attention, attention, concat"),
        ("train --config=nothing:table", "named by its path, such as mine.py"),
        (
            "train --config=tabular:table --config.data.schema=no.toml --config.data.table=x.csv",
            "'no.toml': there is no such file",
        ),
        ("train --config=tabular --config.data.table=x.csv --config.data.root=/tmp", "add ':table' to its name"),
        ("train --config=configs/recomended.py:table", "did you mean recommended?"),
        ("inspect --config=configs/text.py:petfinder --spec=rows=many", "rows=many"),
        ("train --config=configs/tabular.py:moon", "moon"),
        ("train --config=configs/tabular.py --config.train.max_epochs=many", "many"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_exit_code_2(
    line: str, named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(REPOSITORY)
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("mmjax: ")
    assert named in printed.err
    assert len(printed.err.splitlines()) == 1
    assert f"mmjax: mmjax {line.split(maxsplit=1)[0]}" not in printed.err


@pytest.mark.parametrize("command", ["train", "evaluate", "report", "compare", "predict", "reproduce", "schema", "inspect"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code in (0, None)
    assert f"mmjax {command}" in capsys.readouterr().out


@pytest.mark.parametrize("config", ["text:fashion", "configs/text.py:fashion"])
def test_a_shipped_config_is_found_from_any_folder(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Breaks where a clone's folder is needed, as in a wheel; `NAME` does not take a folder of that name for a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").mkdir()
    settings = get_config(config, {"cv.only": (1,)}, cv__folds=4)
    assert (settings.data.name, settings.cv.only, settings.cv.folds) == ("fashion", (1,), 4)
    assert settings == get_config(f"{find('text')[0]}:fashion", {"cv.only": (1,), "cv.folds": 4})


def test_a_file_of_your_own_changes_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tabular.py").write_text(
        "from mmjax.configs.base import base\n\ndef get_config(arg=''):\n    return base(arg, width=32)\n"
    )
    assert get_config("tabular.py:table").model.width == 32
    assert get_config("tabular:table").model.width == 128
    (tmp_path / "configs").mkdir()
    (tmp_path / "tabular.py").rename("configs/tabular.py")
    assert get_config("configs/tabular.py:table").model.width == 32


def test_every_file_of_configs_is_a_config():
    assert {"tabular", "text", "image", "attention", "mmae_attention", "mmae"} <= set(names())
    assert all(get_config(name).cv.folds == 5 for name in names())
    assert (REPOSITORY / "configs").resolve() == find("text")[0].parent


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("model.modalities=('tabular','text')", ("tabular", "text")),
        ("model.modalities=tabular,text", ("tabular", "text")),
        ("cv.only=(0,)", (0,)),
        ("cv.only=3", (3,)),
        ("cv.group=7", "7"),
        ("train.refit=true", True),
        ("train.refit=False", False),
        ("optim.learning_rate=1e-2", 0.01),
        ("optim.learning_rate=1", 1.0),
        ("model.autoencoder.weights.text=0.5", {"text": 0.5}),
        ("model.autoencoder.weights={'text': 2}", {"text": 2.0}),
    ],
)
def test_overrides_of_a_command_line(text: str, value: object):
    path = text.partition("=")[0].removesuffix(".text")
    found = get_config("attention", parse_overrides([f"--config.{text}", "--config.train.seed=3"]))
    assert found.train.seed == 3
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    ("variant", "modalities", "name"),
    [
        ("", ("tabular", "text", "image"), "synthetic"),
        (":table", ("tabular", "text", "image"), "table"),
        (":petfinder+grouped", ("tabular", "text", "image"), "petfinder"),
        (":image+tabular", ("tabular", "image"), "synthetic"),
        (":image,fashion", ("image",), "fashion"),
    ],
)
def test_an_autoencoder_of_a_data_set_as_other_configs_name_it(variant: str, modalities: tuple[str, ...], name: str):
    settings = get_config(f"mmae{variant}")
    assert (settings.model.modalities, settings.data.name) == (modalities, name)


def test_the_version_and_the_module(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mmjax {__version__}\n"
    shown = subprocess.run([sys.executable, "-m", "mmjax", "--version"], cwd=REPOSITORY, capture_output=True, check=True)
    assert shown.stdout.decode() == f"mmjax {__version__}\n"


@pytest.mark.parametrize("argument", ["--version", "--help", "nothing"])
def test_what_needs_no_jax_answers_at_once(argument: str):
    """Breaks if the way out of the process imports what trains."""
    code = f"import sys; from mmjax.cli.main import entry; entry(['{argument}']); sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, check=True)


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    """`train.py --help | head`: the pipe is closed before the help is written."""
    reading, writing = os.pipe()
    os.close(reading)
    line = [sys.executable, "train.py", "--help"]
    done = subprocess.run(line, cwd=REPOSITORY, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def get_config(arg=''):\n    return {}['absent']\n", "absent"),
        ("def get_config(:\n", "invalid syntax"),
        ("import sys\nsys.exit(3)\n", r"ends the program \(3\)"),
        ("def get_config(arg=''):\n    return None\n", "mine.py returns NoneType; it must return"),
        ("def get_config(arg=''):\n    return {'train': 1}\n", "mine.py returns dict; it must return"),
    ],
)
def test_a_config_file_that_fails_is_named_with_its_error(
    code: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(ConfigError, match=message):
        get_config(str(tmp_path / "mine.py"))
    assert capfd.readouterr().err == ""


def test_a_cache_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "cache").write_text("")
    line = ["--config=tabular", f"--config.data.cache={tmp_path / 'cache'}", f"--workdir={tmp_path / 'run'}"]
    assert main(["train", *line]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_predict_gives_a_row_for_every_row_whatever_is_wrong_with_it(trained: "Trained", tmp_path: Path):
    """Same ids, same order, no label column needed; breaks if a broken or repeated row is dropped, moved or renumbered."""
    frame = pd.read_csv(trained.table, dtype=str, keep_default_na=False).drop(columns=["route", "sender"])
    frame = frame.sample(frac=1.0, random_state=0).reset_index(drop=True)
    frame.loc[0, ["material", "mass", "age"]] = ["?", "inf", "-1e400"]
    frame.loc[1, "parcel"] = frame.loc[5, "parcel"]
    frame.loc[2, ["note", "photo"]] = ["", "missing.jpg"]
    frame.loc[3, "note"] = 'two\nlines, "quoted"'
    data, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    frame.to_csv(data, index=False)
    line = ["predict", f"--workdir={trained.workdir}", f"--data={data}", f"--out={out}", f"--images={trained.photos}"]
    assert main(line) == 0
    with out.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [r["id"] for r in rows] == list(frame["parcel"])
    classes = ["north", "east", "south", "west"]  # the schema's order
    attention = [f"attention_{m}" for m in ("tabular", "text", "image")]
    assert list(rows[0]) == ["id", "prediction", *(f"p_{c}" for c in classes), *attention]
    p_NxK = np.array([[float(r[f"p_{c}"]) for c in classes] for r in rows])
    np.testing.assert_allclose(p_NxK.sum(axis=1), 1.0, atol=1e-6)
    assert [r["prediction"] for r in rows] == [classes[k] for k in p_NxK.argmax(axis=1)]
    assert float(rows[2]["attention_text"]) == float(rows[2]["attention_image"]) == 0
    report = json.loads((tmp_path / "out.csv.report.json").read_text())
    assert (report["rows"], report["folds"]) == (240, [0, 1])
    assert {"id_twice", "image_missing", "number_infinite"} <= report["counts"].keys()
    assert not list(tmp_path.glob(".*partial"))


def test_predict_leaves_the_old_output_alone_when_it_fails(trained: "Trained", tmp_path: Path):
    data, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    data.write_text("parcel,note\nP1,hello\n")
    out.write_text("old")
    assert main(["predict", f"--workdir={trained.workdir}", f"--data={data}", f"--out={out}"]) == 2
    assert out.read_text() == "old"


def test_predict_writes_over_nothing_that_is_read(
    trained: "Trained", copy_of: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The workdir's files, the training table, and the input under the report's name are left as they are."""
    workdir, root = copy_of(trained.workdir), tmp_path / "root"
    root.mkdir()
    data = root / "new.csv.report.json"
    for file in (root / "train.csv", root / "schema.toml", data):
        file.write_bytes((trained.table if file != root / "schema.toml" else workdir / "schema.toml").read_bytes())
    line = ["predict", f"--workdir={workdir}", f"--data={data}"]
    for out, said in ((workdir / "config.json", "in the workdir"), (root / "new.csv", "which is the input itself")):
        assert main([*line, f"--out={out}"]) == 2
        assert said in capsys.readouterr().err
    trained_here = data_settings(name="table", root=str(root), table="train.csv", schema="schema.toml")
    for file in (root / "train.csv", root / "schema.toml"):
        with pytest.raises(ConfigError, match="is the input itself"):
            _refuse_inputs(file, _trained_on(trained_here, Schema.load(root / "schema.toml")))
    assert data.read_bytes() == (root / "train.csv").read_bytes() == trained.table.read_bytes()
    assert json.loads((workdir / "config.json").read_text())


def test_evaluate_finds_the_numbers_of_summary_json(trained: "Trained", capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", f"--workdir={trained.workdir}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    summary = json.loads((trained.workdir / "summary.json").read_text())
    assert found["equal"] is True
    for fold, done in summary["by_fold"].items():
        assert found["by_fold"][fold] == pytest.approx(done["metrics"], abs=1e-12)
    assert found["mean"] == pytest.approx(summary["mean"], abs=1e-12)


def test_evaluate_says_which_number_differs(
    trained: "Trained", copy_of: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
):
    """A workdir whose summary was changed by hand: exit code 1, and the number named."""
    workdir = copy_of(trained.workdir)
    summary = json.loads((workdir / "summary.json").read_text())
    summary["by_fold"]["1"]["metrics"]["log_loss"] += 1e-5
    (workdir / "summary.json").write_text(json.dumps(summary))
    assert main(["evaluate", f"--workdir={workdir}"]) == 1
    assert "Not equal to summary.json: fold 1: log_loss" in capsys.readouterr().out


def test_evaluate_scores_a_labelled_table(trained: "Trained", tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The ensemble's accuracy is that of predict's classes; a label training never saw is counted out, not wrong."""
    frame = pd.read_csv(trained.table, dtype=str, keep_default_na=False).head(60)
    frame.loc[:2, "route"] = ["up", "", "down"]
    frame.loc[50:, "parcel"] = [f"new{i}" for i in range(10)]
    data, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    frame.to_csv(data, index=False)
    where = [f"--workdir={trained.workdir}", f"--data={data}", f"--images={trained.photos}"]
    assert main(["evaluate", *where, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["predict", *where, f"--out={out}"]) == 0
    predicted = pd.read_csv(out)["prediction"]
    assert found["ensemble"]["accuracy"] == pytest.approx(np.mean(predicted[3:] == frame["route"][3:]))
    assert (found["rows"], found["rows_scored"], found["rows_trained_on"]) == (60, 57, 50)
    assert found["data_report"]["label_unknown"] == 2
    assert main(["evaluate", *where]) == 0
    shown = capsys.readouterr().out
    assert f"data: 2 x label_unknown; first: {data}, row 1, column route, value up" in shown
    (file,) = trained.workdir.glob("evaluate_rows.csv.report.json")
    assert str(file) in shown
    assert [e["value"] for e in json.loads(file.read_text())["entries"]["label_unknown"]] == ["up", "down"]
    file.unlink()


def test_evaluate_an_autoencoder(trained_autoencoder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", f"--workdir={trained_autoencoder}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mean"].keys() == {"mse_image", "dead_units"}


def test_schema_proposes_roles_and_writes_toml(trained: "Trained", tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "proposed.toml"
    assert main(["schema", str(trained.table), "--label=route", f"--out={out}"]) == 0
    schema = Schema.load(out)
    assert (schema.id, schema.label, schema["image"]) == ("parcel", "route", ("photo",))
    assert {"mass", "age"} <= set(schema["continuous"])
    shown = capsys.readouterr().out
    assert all(column in shown for column in ("parcel", "material", "photo"))
    assert "No label yet" not in shown
    out.write_text("edited by hand")
    assert main(["schema", str(trained.table), "--label=route", f"--out={out}"]) == 2
    assert out.read_text() == "edited by hand"
    assert main(["schema", str(trained.table)]) == 0
    assert "No label yet: add --label=COLUMN" in capsys.readouterr().out
