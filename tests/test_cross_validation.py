"""End to end on synthetic data: real configs, shrunk, through files on disk."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmjax.datasets.synthetic import write_synthetic
from mmjax.errors import Interrupted, WorkdirError
from mmjax.io import checkpoint
from mmjax.train import cross_validation, fold_training
from mmjax.train.callbacks import StopSignals
from mmjax.train.cross_validation import cross_validate
from mmjax.train.execution import plan
from mmjax.train.execution.plan import Plan
from tests.shrunken import shrunken


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def quiet(line: str) -> None:
    del line


def outcome(workdir: Path) -> dict[str, bytes]:
    """What two runs must agree on, byte for byte: every parameter, prediction and number."""
    names = ["predictions.csv", "summary.json", "folds.csv"]
    files = [workdir / n for n in names] + sorted(workdir.glob("fold_*/**/*"))
    return {str(f.relative_to(workdir)): f.read_bytes() for f in files if f.is_file() and "manifest" not in f.name}


def parameters(workdir: Path, cache: Path) -> list[np.ndarray]:
    import jax

    from mmjax.inference import Ensemble

    members = Ensemble.load(workdir).members
    return [np.asarray(x) for member in members for x in jax.tree.leaves(member.parameters)]


@pytest.mark.parametrize(
    "row",
    ["tabular", "text", "image", pytest.param("concat", marks=pytest.mark.slow), "concat_discretized", "attention", "mmae"],
)
def test_every_row_runs(row: str, cache: Path, tmp_path: Path):
    """Every config ends with each row held out once and a summary of the metrics of its task."""
    summary = cross_validate(shrunken(row, cache, train__max_epochs=1, train__autoencoder_max_epochs=1), tmp_path, quiet)
    predictions = pd.read_csv(tmp_path / "predictions.csv", dtype=str)
    assert summary["folds_finished"] == 2
    assert predictions["id"].is_unique
    assert len(predictions) == summary["rows"]
    expected = "mse_image" if row == "mmae" else "accuracy"
    assert 0 < summary["mean"][expected] < 1
    if row != "mmae":
        assert len(predictions) == 240
        attention = predictions[[c for c in predictions if c.startswith("attention_")]].astype(float)
        # A row that lacks the only modality of a model has nothing to attend to.
        total = attention.sum(axis=1)
        assert ((total - 1).abs().lt(1e-5) | (total.eq(0) & (row in ("text", "image")))).all()
        assert total.mean() > 0.9


def test_the_metrics_of_search_and_refit_stay_side_by_side(cache: Path, tmp_path: Path):
    """Breaks where the refit takes the search's events for its own and forgets them."""
    cross_validate(shrunken("tabular", cache, train__refit=True, train__max_epochs=3), tmp_path, quiet)
    events = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for fold in (0, 1):
        search = [e for e in events if (e["fold"], e["phase"]) == (fold, "classifier")]
        refit = [e for e in events if (e["fold"], e["phase"]) == (fold, "refit")]
        assert [e["epoch"] for e in search] == [1, 2, 3]
        assert len(refit) == search[-1]["best_epoch"]
        # What the search trained is not used; its epoch is.
        assert not checkpoint.check_model(tmp_path / f"fold_{fold}" / "search")["tree"]
        assert all("accuracy" in e["valid"] for e in search)


@pytest.mark.parametrize(
    ("row", "mode"),
    [
        pytest.param("mmae_attention", "frozen", marks=pytest.mark.slow),  # as the kill tests train it
        ("ae_attention", "finetune"),
        pytest.param("mmae_attention", "joint", marks=pytest.mark.slow),
    ],
)
def test_autoencoder_modes(row: str, mode: str, cache: Path, tmp_path: Path):
    summary = cross_validate(shrunken(row, cache, model__autoencoder__mode=mode), tmp_path, quiet)
    assert summary["folds_finished"] == 2
    assert (tmp_path / "fold_0" / "autoencoder").exists() == (mode != "joint")


def test_training_on_half_broken_photos(cache: Path, tmp_path: Path):
    """Every row stays, at its place; a broken photo is absent, weighs nothing in attention, and is in data_report.json."""
    write_synthetic(tmp_path / "synthetic", rows=240, seed=0)
    photos = sorted((tmp_path / "synthetic" / "photos").iterdir())
    broken = photos[::2]
    for i, photo in enumerate(broken):
        whole = photo.read_bytes()
        photo.write_bytes((whole[: len(whole) // 2], b"", b"not a photo", whole[:2] + bytes(len(whole)))[i % 4])
    settings = shrunken(
        "attention",
        cache,
        "table",
        data__root=str(tmp_path / "synthetic"),
        data__table="parcels.csv",
        data__schema="schema.toml",
        data__image_size=16,
        data__text_length=16,
    )
    summary = cross_validate(settings, tmp_path / "run", quiet)
    table = pd.read_csv(tmp_path / "synthetic" / "parcels.csv", dtype=str, keep_default_na=False)
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv", dtype=str)
    assert predictions["id"].tolist() == table["parcel"].tolist()
    assert predictions["label"].tolist() == table["route"].tolist()
    absent = table["photo"].isin([p.name for p in broken]) | table["photo"].eq("")
    assert predictions["attention_image"].astype(float).eq(0).tolist() == absent.tolist()
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())
    assert report["counts"]["image_broken"] == len(broken)
    assert {e["file"] for e in report["entries"]["image_broken"]} == {p.name for p in broken}
    assert 0 < summary["mean"]["accuracy"] < 1
    dull = []
    for fold in predictions["fold"].unique():
        held_out = predictions["fold"] == fold
        dull.append((predictions["label"][held_out] == predictions["label"][~held_out].mode()[0]).mean())
    assert summary["most_frequent_class"] == pytest.approx(np.mean(dull))


def test_rows_with_one_id_keep_their_places_and_a_second_session_reports_alike(cache: Path, tmp_path: Path):
    """Breaks when predictions are put in order by id, or a resumed run does not tell of a class smaller than its folds."""
    write_synthetic(tmp_path / "synthetic", rows=240, seed=0)
    file = tmp_path / "synthetic" / "parcels.csv"
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    table.loc[200, "parcel"] = table.loc[3, "parcel"]
    few = table.index[table["route"] == "west"][1:]
    table.loc[few, "route"] = "east"
    table.to_csv(file, index=False)
    root = {"data__root": str(file.parent), "data__table": "parcels.csv", "data__schema": "schema.toml"}
    settings = shrunken("tabular", cache, "table", **root, train__max_epochs=1)
    outcomes = []
    for _ in range(2):
        cross_validate(settings, tmp_path / "run", quiet)
        outcomes.append([(tmp_path / "run" / n).read_bytes() for n in ("data_report.json", "predictions.csv", "summary.json")])
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv", dtype=str)
    assert predictions["id"].tolist() == table["parcel"].tolist()
    assert predictions["label"].tolist() == table["route"].tolist()
    assert {"class_small": 1, "id_twice": 1}.items() <= json.loads(outcomes[0][0])["counts"].items()
    assert outcomes[0] == outcomes[1]


def test_interrupted_and_resumed_equals_uninterrupted(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Stops after every few dispatches, resumes, and ends with the same bytes: parameters, predictions, summary.

    Breaks if the loader's position, dropout's key, RMSprop's memory, the best parameters or an epoch's sums are not restored.
    """
    towers = {"model__image__fast": "off"}  # compile faster
    settings = shrunken("mmae_attention", cache, train__steps_per_dispatch=2, cv__only=(0,), **towers)
    cross_validate(settings, tmp_path / "whole", quiet)
    calls = 0

    def stop_now_and_then() -> bool:
        nonlocal calls
        calls += 1
        return calls % 3 == 0

    original = StopSignals.__init__
    monkeypatch.setattr(StopSignals, "__init__", lambda self, stop, *args: original(self, stop_now_and_then, *args))
    stops = 0
    while True:
        try:
            cross_validate(settings, tmp_path / "cut", quiet)
            break
        except Interrupted:
            stops += 1
            assert stops < 100
    assert stops >= 3
    whole, cut = outcome(tmp_path / "whole"), outcome(tmp_path / "cut")
    assert whole["predictions.csv"] == cut["predictions.csv"]
    assert json.loads(whole["summary.json"]) == json.loads(cut["summary.json"])
    for a, b in zip(parameters(tmp_path / "whole", cache), parameters(tmp_path / "cut", cache), strict=True):
        np.testing.assert_array_equal(a, b)
    logs = [[json.loads(line) for line in (tmp_path / n / "metrics.jsonl").read_text().splitlines()] for n in ("whole", "cut")]
    assert [line | {"time": 0} for line in logs[0]] == [line | {"time": 0} for line in logs[1]]


def test_same_seed_same_run_and_another_seed_another(cache: Path, tmp_path: Path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        cross_validate(shrunken("tabular", cache, train__seed=seed), tmp_path / name, quiet)
    a, b, c = ((tmp_path / n / "predictions.csv").read_bytes() for n in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize("row", ["tabular", pytest.param("mmae_attention", marks=pytest.mark.slow)])
def test_folds_together_equal_folds_alone(row: str, cache: Path, tmp_path: Path):
    """Folds of different one-hot and vocabulary sizes: by vmap to 1e-5 of one after the other, by threads exactly.

    Of four seeds one (0) has a fold where a last bit decides between two sides of a ReLU or a maximum, 8e-5 in the end.
    """
    results, logs = {}, {}
    for parallel in ("vmap", "sequential", "threads"):
        settings = shrunken(row, cache, train__fold_parallel=parallel, train__seed=1, cv__folds=3)
        cross_validate(settings, tmp_path / parallel, quiet)
        results[parallel] = pd.read_csv(tmp_path / parallel / "predictions.csv").filter(regex="^(p_|attention_)").to_numpy()
        events = [json.loads(line) for line in (tmp_path / parallel / "metrics.jsonl").read_text().splitlines()]
        logs[parallel] = [event | {"time": 0} for event in events]
    np.testing.assert_allclose(results["vmap"], results["sequential"], atol=1e-5, rtol=0)
    np.testing.assert_array_equal(results["threads"], results["sequential"])
    assert logs["threads"] == logs["sequential"]
    assert json.loads((tmp_path / "threads" / "plan.json").read_text()).popitem()[1]["concurrent"] > 1


def test_steps_one_by_one_equal_steps_in_a_loop(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The two ways a dispatch runs, on the model that has a loop of its own: 1e-5 on probabilities, the same training sums."""
    results, losses = {}, {}
    for scan in (True, False):

        def make_plan(*args: Any, scan: bool = scan, **kwargs: Any) -> Plan:
            return replace(plan.make_plan(*args, **kwargs), scan=scan)

        monkeypatch.setattr(fold_training, "make_plan", make_plan)
        workdir = tmp_path / str(scan)
        cross_validate(shrunken("tabular", cache, train__steps_per_dispatch=2), workdir, quiet)
        results[scan] = pd.read_csv(workdir / "predictions.csv").filter(regex="^p_").to_numpy()
        events = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        losses[scan] = [e["train"]["loss"] for e in events]
    np.testing.assert_allclose(results[True], results[False], atol=1e-5, rtol=0)
    np.testing.assert_allclose(losses[True], losses[False], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("row", "placement", "devices"),
    [
        ("mmae_attention", "batch", 8),
        ("tabular", "folds", 8),
        ("tabular", "folds", 2),
        pytest.param("image", "folds", 2, marks=pytest.mark.slow),
    ],
)
def test_several_devices_equal_one(row: str, placement: str, devices: int, cache: Path, tmp_path: Path):
    """pmap over virtual devices (gradients and BatchNorm averaged), or folds on devices, against jit on one: 1e-5.

    Over two epochs of several dispatches: each program's results are the next one's arguments.
    """
    results = {}
    for name, count in (("many", devices), ("one", 1)):
        options = {"train__placement": placement if count > 1 else "auto", "train__steps_per_dispatch": 2}
        folds = 3 if placement == "folds" else 2
        settings = shrunken(row, cache, train__devices=count, cv__folds=folds, train__max_epochs=2, **options)
        cross_validate(settings, tmp_path / name, quiet)
        results[name] = pd.read_csv(tmp_path / name / "predictions.csv").filter(regex="^(p_|attention_)").to_numpy()
    np.testing.assert_allclose(results["many"], results["one"], atol=1e-5, rtol=0)


def test_rows_on_the_host_equal_rows_on_the_device(cache: Path, tmp_path: Path):
    """Grain's gathering threads against gathering on the device: the same batches, so the same numbers."""
    results = {}
    for resident in ("host", "device"):
        cross_validate(shrunken("attention", cache, train__resident=resident, train__max_epochs=1), tmp_path / resident, quiet)
        results[resident] = pd.read_csv(tmp_path / resident / "predictions.csv").filter(regex="^p_").to_numpy()
    np.testing.assert_allclose(results["host"], results["device"], atol=1e-5, rtol=0)


def test_a_group_cut_off_while_its_modules_were_saved_is_trained_together_again(cache: Path, tmp_path: Path):
    """Breaks where the one fold that lacks its module is trained alone: its last bits and its metrics' order could differ."""
    settings = shrunken("tabular", cache, train__fold_parallel="vmap")
    cross_validate(settings, tmp_path, quiet)
    before, leaves = (tmp_path / "predictions.csv").read_bytes(), parameters(tmp_path, cache)
    metrics = (tmp_path / "metrics.jsonl").read_text().splitlines()
    for name in ("fold_1/classifier", "fold_1/done.json", "fold_0/done.json"):
        path = tmp_path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    said: list[str] = []
    cross_validate(settings, tmp_path, said.append)
    assert any("2 folds in one batched program" in line for line in said)
    assert (tmp_path / "predictions.csv").read_bytes() == before
    for a, b in zip(leaves, parameters(tmp_path, cache), strict=True):
        np.testing.assert_array_equal(a, b)
    again = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) | {"time": 0} for line in again] == [json.loads(line) | {"time": 0} for line in metrics]


@pytest.mark.parametrize("content", ["{", "[]", '{"classifier:0,1:1": {"placement": "one"}}'])
def test_a_plan_that_cannot_be_read_is_one_sentence(content: str, cache: Path, tmp_path: Path):
    """Damaged, or of a version whose plans had other fields."""
    cross_validate(shrunken("tabular", cache, cv__only=(0,)), tmp_path, quiet)
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(WorkdirError, match=r"plan.json is damaged .* another workdir"):
        cross_validate(shrunken("tabular", cache), tmp_path, quiet)
    cross_validate(shrunken("tabular", cache, cv__only=(0,)), tmp_path, quiet)  # a finished fold needs no plan


def test_finished_folds_are_not_trained_again(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = shrunken("tabular", cache)
    first = cross_validate(settings, tmp_path, quiet)
    monkeypatch.setattr(cross_validation, "train_phase", lambda *a: pytest.fail("a finished fold was trained again"))
    assert cross_validate(settings, tmp_path, quiet) == first


def test_single_folds_can_be_chosen_and_completed(cache: Path, tmp_path: Path):
    """Folds trained one by one over several commands give what one command gives."""
    settings = shrunken("tabular", cache, train__fold_parallel="sequential")
    whole = cross_validate(settings, tmp_path / "whole", quiet)
    for fold in (1, 0):
        parts = cross_validate(
            shrunken("tabular", cache, train__fold_parallel="sequential", cv__only=(fold,)), tmp_path / "parts", quiet
        )
    assert parts["by_fold"] == whole["by_fold"]


def test_repeats_are_runs_with_other_seeds(cache: Path, tmp_path: Path):
    """The second is what the seeds one higher give alone; a later session only adds.

    Breaks when repeats share folds, or when the summary leaves out a repeat's folds or has them in another order.
    """
    settings = shrunken("tabular", cache, train__max_epochs=1)
    alone = cross_validate(settings, tmp_path / "run", quiet)
    before = outcome(tmp_path / "run")
    twice = cross_validate(replace(settings, cv=replace(settings.cv, repeats=2)), tmp_path / "run", quiet)
    changed = {name for name, content in outcome(tmp_path / "run").items() if before.get(name) != content}
    assert changed == {"summary.json"}
    other = replace(settings, cv=replace(settings.cv, seed=1), train=replace(settings.train, seed=1))
    second = cross_validate(other, tmp_path / "other", quiet)
    assert twice["repeats"]["means"] == [alone["mean"], second["mean"]]
    assert twice["repeats"]["by_fold"] == [alone["by_fold"], second["by_fold"]]
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == twice
    assert twice["repeats"]["mean"]["accuracy"] == pytest.approx((alone["mean"]["accuracy"] + second["mean"]["accuracy"]) / 2)
    assert (tmp_path / "run" / "repeat_1" / "folds.csv").read_bytes() != (tmp_path / "run" / "folds.csv").read_bytes()
