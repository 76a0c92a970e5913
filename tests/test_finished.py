"""Workdirs that people changed: what was deleted is made anew, what is damaged or does not belong is one true sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmjax.config import Settings
from mmjax.datasets.synthetic import write_synthetic
from mmjax.errors import CheckpointError, DataError, Interrupted, MmjaxError, WorkdirError
from mmjax.inference import Ensemble
from mmjax.train.callbacks import StopSignals
from mmjax.train.cross_validation import cross_validate
from mmjax.train.trainer import Trainer
from tests.shrunken import shrunken


def quiet(line: str) -> None:
    del line


def config(root: Path, row: str = "tabular", **changes: Any) -> Settings:
    """A table of one's own, that a test may change."""
    own = {"data__root": str(root), "data__table": "parcels.csv", "data__schema": "schema.toml", "data__text_length": 16}
    once = {"train__max_epochs": 1, "train__autoencoder_max_epochs": 1, "data__image_size": 16}
    return shrunken(row, root.parent / "cache", "table", **(own | once | changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """synthetic/, the data; run/, a finished run of the table; codes/, one of an autoencoder's codes."""
    folder = tmp_path_factory.mktemp("made")
    write_synthetic(folder / "synthetic", rows=120, seed=0)
    cross_validate(config(folder / "synthetic"), folder / "run", quiet)
    cross_validate(codes(folder / "synthetic"), folder / "codes", quiet)
    return folder


def codes(root: Path) -> Settings:
    towers = {"model__modalities": ("tabular", "text"), "model__text__widths": (3,)}
    return config(root, "mmae_attention", **towers)


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def outcome(run: Path) -> dict[str, bytes]:
    """Every file of a run but for logs, clocks and what has the folder's name in it."""
    clocked = {
        "data_report.json",
        "metrics.jsonl",
        "environment.json",
        "run.json",
        "config.json",
        "schema.toml",
        "plan.json",
        "spec.json",
        ".lock",
    }
    files = (f for f in sorted(run.rglob("*")) if f.is_file() and f.name not in clocked and "tb" not in f.parts)
    return {str(f.relative_to(run)): f.read_bytes() for f in files if "manifest" not in f.name and "arrays" not in f.parts}


def delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "name", ["fold_0", "fold_0/classifier", "fold_0/encoders.json", "fold_0/predictions.csv", "fold_0/done.json"]
)
def test_what_was_deleted_of_a_finished_fold_is_made_anew(name: str, copy: Path):
    """Breaks when done.json alone says that a fold is finished: `predict` would go on telling people to train again."""
    before = outcome(copy / "run")
    delete(copy / "run" / name)
    cross_validate(config(copy / "synthetic"), copy / "run", quiet)
    assert outcome(copy / "run") == before
    assert len(Ensemble.load(copy / "run").members) == 2


def test_a_model_of_a_deleted_autoencoders_codes_goes_with_it(copy: Path, monkeypatch: pytest.MonkeyPatch):
    """The classifier is trained again on the new codes; a run that is stopped before that does not pass for finished."""
    before, run = outcome(copy / "codes"), copy / "codes"
    delete(run / "fold_1" / "autoencoder")
    monkeypatch.setattr(Trainer, "run", lambda self: (_ for _ in ()).throw(Interrupted("stopped")))
    with pytest.raises(Interrupted):
        cross_validate(codes(copy / "synthetic"), run, quiet)
    assert not (run / "fold_1" / "classifier").exists()
    assert not (run / "fold_1" / "done.json").exists()
    assert (run / "fold_0" / "done.json").exists()
    monkeypatch.undo()
    cross_validate(codes(copy / "synthetic"), run, quiet)
    assert outcome(run) == before


@pytest.mark.parametrize("name", ["classifier", "encoders.json"])
def test_the_advice_on_a_damaged_fold_is_true(name: str, copy: Path):
    """Training refuses it too, names the folder, and makes it anew once that is deleted."""
    before, fold = outcome(copy / "run"), copy / "run" / "fold_0"
    file = fold / name if name.endswith("json") else next(f for f in (fold / name / "arrays").rglob("*") if f.is_file())
    file.write_bytes(file.read_bytes()[:-1])
    for command in (
        lambda: cross_validate(config(copy / "synthetic"), copy / "run", quiet),
        lambda: Ensemble.load(copy / "run"),
    ):
        with pytest.raises(CheckpointError, match=rf"damaged.*delete the folder {fold} and run the same `mmjax train` command"):
            command()
    delete(fold)
    cross_validate(config(copy / "synthetic"), copy / "run", quiet)
    assert outcome(copy / "run") == before


def first_row_twice(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join([*lines, lines[1]])


DAMAGE: list[tuple[str, Callable[[str], str], str]] = [
    ("fold_0/predictions.csv", lambda text: "garbage\n", "it has no header"),
    ("fold_1/predictions.csv", lambda text: "", "it has no header"),
    ("fold_0/predictions.csv", lambda text: "".join(text.splitlines(keepends=True)[:-1]), "has 59 rows instead of 60"),
    ("fold_1/predictions.csv", first_row_twice, "more than the fold's 60 rows"),
    ("fold_0/predictions.csv", lambda text: text[: text.rindex(",")], "row 60 has . columns instead of"),
    ("fold_0/predictions.csv", lambda text: text.replace("\nP", "\nQ", 1), "'Q.*' in the place of 'P"),
    ("fold_0/done.json", lambda text: "garbage", "JSONDecodeError"),
    ("fold_0/done.json", lambda text: "[]", "it is no dict"),
    ("fold_1/done.json", lambda text: '{"rows": 60, "metrics": {"accuracy": "x"}}', "no rows and metrics"),
]


@pytest.mark.parametrize(("name", "damage", "why"), DAMAGE)
def test_damaged_results_are_named_and_written_again_once_deleted(
    name: str, damage: Callable[[str], str], why: str, copy: Path
):
    before, file = outcome(copy / "run"), copy / "run" / name
    file.write_text(damage(file.read_text()))
    with pytest.raises(WorkdirError, match=rf"{file} is damaged \(.*{why}.*\); delete it and run the same `mmjax train`"):
        cross_validate(config(copy / "synthetic"), copy / "run", quiet)
    if name.endswith("done.json"):
        with pytest.raises(WorkdirError, match=rf"{file} is damaged"):
            Ensemble.load(copy / "run")
    delete(file)
    cross_validate(config(copy / "synthetic"), copy / "run", quiet)
    assert outcome(copy / "run") == before


@pytest.mark.parametrize("name", ["config.json", "schema.toml", "environment.json", "folds.csv", "data_fingerprint.json"])
@pytest.mark.parametrize("content", [b"x = [", b"3", b"\xff\xfe", b""])
def test_no_damaged_file_is_a_traceback(name: str, content: bytes, copy: Path):
    (copy / "run" / name).write_bytes(content)
    with pytest.raises(WorkdirError, match=name.replace(".", r"\.")):
        cross_validate(config(copy / "synthetic"), copy / "run", quiet)


def test_data_that_changed_are_refused_and_restored_ones_are_not(copy: Path):
    """Breaks when folds trained before and after an edit are put into one summary."""
    file, run = copy / "synthetic" / "parcels.csv", copy / "run"
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    edited = table.copy()
    edited.loc[7, "route"] = "east" if table.loc[7, "route"] != "east" else "west"
    edited.to_csv(file, index=False)
    delete(run / "fold_1")
    before = outcome(run)
    with pytest.raises(
        WorkdirError, match=rf"{file}: its data have changed .*{run} .*row 8 \(id 'P000007'\).* route\); restore"
    ):
        cross_validate(config(copy / "synthetic"), run, quiet)
    assert outcome(run) == before
    table.to_csv(file, index=False)
    cross_validate(config(copy / "synthetic"), run, quiet)
    (run / "data_fingerprint.json").unlink()  # a workdir of an older version has none
    edited.to_csv(file, index=False)
    cross_validate(config(copy / "synthetic"), run, quiet)
    assert not (run / "data_fingerprint.json").exists(), "the data it was begun with are not known"


@pytest.mark.parametrize(
    ("row", "wrong", "said"),
    [
        ("tabular", {"cv__folds": 400}, "set config.cv.folds to at most 120"),
        ("text", {"data__schema": "no_text.toml"}, "the schema names no text"),
        ("text", {"data__word_vectors": "/no/such/glove.txt"}, "check data.word_vectors"),
    ],
)
def test_a_rejected_first_run_does_not_claim_the_folder(row: str, wrong: dict[str, Any], said: str, made: Path, tmp_path: Path):
    """Breaks when config.json is written before the data have been asked: the corrected command would be another config."""
    schema = (made / "synthetic" / "schema.toml").read_text()
    (made / "synthetic" / "no_text.toml").write_text(schema.replace('text = "note"\n', 'ignore = ["note"]\n'))
    with pytest.raises(DataError, match=said):
        cross_validate(config(made / "synthetic", row, **wrong), tmp_path / "run", quiet)
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]
    assert cross_validate(config(made / "synthetic"), tmp_path / "run", quiet)["folds_finished"] == 2


def test_a_stop_before_the_first_step_speaks_of_no_checkpoint(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    original = StopSignals.__init__
    monkeypatch.setattr(StopSignals, "__init__", lambda self, stop, *args: original(self, lambda: True, *args))
    with pytest.raises(Interrupted, match="before the first step of fold 0.*; the same command goes on") as raised:
        cross_validate(config(made / "synthetic", train__fold_parallel="sequential"), tmp_path / "run", quiet)
    assert not raised.value.saved
    assert not list((tmp_path / "run").glob("checkpoints/*"))
    assert isinstance(raised.value, MmjaxError)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["task"] == "classifier"
