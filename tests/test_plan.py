"""The rule that decides placement (plan.py), on the eight virtual devices of the tests."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmjax.errors import ConfigError
from mmjax.modalities.base import InputSpec
from mmjax.tasks.base import make_task
from mmjax.train.execution.plan import Plan, Plans, Sizes, make_plan
from tests.shrunken import shrunken

INPUTS = {
    "tabular": {"onehot": 3, "groups": 1, "numbers": 1},
    "text": {"tokens": 8, "vocabulary": 9},
    "image": {"side": 8},
}
SIZES: dict[str, Any] = {
    "folds": 5,
    "steps_per_epoch": 337,
    "step_flops": 1e6,
    "row_bytes": 1 << 20,
    "state_bytes": 1 << 20,
}


def plan_of(row: str = "tabular", task: str = "classifier", *, sizes: dict[str, Any] | None = None, **changes: Any) -> Plan:
    settings = shrunken(row, Path("cache"), **changes)
    names = settings.model.modalities
    one = make_task(task, settings, InputSpec(names, ("a", "b"), {n: n for n in names}, {n: INPUTS[n] for n in names}))
    return make_plan(one, Sizes(**(SIZES | (sizes or {}))))


def test_folds_go_to_devices_of_their_own_and_a_single_fold_shares_its_batch():
    folds = plan_of(train__devices=8)
    assert (folds.placement, folds.devices, folds.folds) == ("folds", 5, 5)
    batch = plan_of(train__devices=8, sizes={"folds": 1})
    assert (batch.placement, batch.devices, batch.folds) == ("batch", 8, 1)
    odd = plan_of(train__devices=8, train__batch_size=30, sizes={"folds": 1})
    assert (odd.placement, odd.devices) == ("one", 1), "a batch of 30 cannot be shared by eight"


def test_rows_lie_on_the_device_up_to_half_of_its_memory():
    assert plan_of(train__devices=1).on_device
    assert not plan_of(train__devices=1, sizes={"row_bytes": 1 << 50}).on_device
    assert plan_of(train__devices=1, train__resident="device", sizes={"row_bytes": 1 << 50}).on_device


@pytest.mark.parametrize(
    ("changes", "sizes", "said"),
    [
        ({"train__placement": "folds", "train__resident": "host"}, {}, "placement=folds: rows stay on the host"),
        ({"train__placement": "folds"}, {"folds": 1}, "placement=folds: one fold is left"),
        ({"train__placement": "folds", "train__devices": 1}, {}, "placement=folds: there is one device"),
        ({"train__placement": "batch", "train__devices": 1}, {}, "placement=batch: there is one device"),
        ({"train__placement": "folds"}, {"state_bytes": 1 << 50}, "placement=folds: a device's memory does not hold its folds"),
        ({"train__fold_parallel": "threads"}, {}, "fold_parallel=threads: devices share a batch"),
        ({"train__fold_parallel": "vmap", "train__placement": "batch"}, {}, "fold_parallel=vmap: devices share a batch"),
        (
            {"train__fold_parallel": "vmap", "train__devices": 1, "train__resident": "host"},
            {},
            "fold_parallel=vmap: rows stay on the host",
        ),
    ],
)
def test_an_override_that_is_ignored_is_said(changes: dict[str, Any], sizes: dict[str, Any], said: str):
    assert f"override ignored: config.train.{said}" in plan_of(**({"train__devices": 8} | changes), sizes=sizes).reason


@pytest.mark.parametrize(
    ("changes", "placement"),
    [
        ({"train__placement": "folds"}, "folds"),
        ({"train__placement": "batch"}, "batch"),
        ({"train__fold_parallel": "vmap"}, "folds"),
        ({"train__fold_parallel": "sequential"}, "batch"),
        ({"train__fold_parallel": "vmap", "train__devices": 1}, "vmap"),
        ({"train__fold_parallel": "threads", "train__devices": 1}, "one"),
        ({"train__fold_parallel": "sequential", "train__devices": 1}, "one"),
        ({"train__resident": "host"}, "batch"),
    ],
)
def test_an_override_that_can_be_followed_is(changes: dict[str, Any], placement: str):
    plan = plan_of(**({"train__devices": 8} | changes))
    assert plan.placement == placement
    assert "ignored" not in plan.reason


def test_what_a_device_cannot_hold_is_not_put_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mmjax.train.execution.plan._device_bytes", lambda: 30e9)
    photos = {"row_bytes": int(12e9), "state_bytes": int(1e8), "scratch_bytes": int(24e9)}
    assert not plan_of(train__devices=1, sizes=photos).on_device, "rows alone would fit"
    assert plan_of(train__devices=8, train__placement="batch", sizes=photos).on_device, "an eighth of a batch leaves room"
    large = {"row_bytes": int(1e9), "state_bytes": int(14e9), "scratch_bytes": 0}
    assert plan_of(train__devices=4, sizes=large).placement == "batch", "two folds on a device would need 30 GB"
    assert plan_of(train__devices=5, train__batch_size=30, sizes=large).placement == "folds"


def test_batches_that_travel_are_no_more_than_a_quarter_of_a_gibibyte():
    photos = {"batch_bytes": 32 * 512 * 512 * 3}
    assert plan_of(train__devices=1, sizes=photos).steps == 337
    assert plan_of(train__devices=1, train__resident="host", sizes=photos).steps == 10


def test_a_dispatch_is_about_two_seconds_and_fills_an_epoch_evenly():
    assert plan_of(train__devices=1).steps == 337
    slow = plan_of(train__devices=1, sizes={"step_flops": 2e9})  # 40 steps in two seconds: nine dispatches of 38
    assert slow.steps == 38
    assert plan_of(train__devices=1, train__steps_per_dispatch=3).steps == 3


def test_on_a_cpu_convolutions_run_step_by_step_and_large_autoencoders_fold_by_fold():
    assert plan_of(train__devices=1).scan
    assert not plan_of("mmae_attention", train__devices=1).scan
    autoencoder = plan_of("mmae_attention", "autoencoder", train__devices=1, sizes={"state_bytes": 1 << 30})
    assert autoencoder.concurrent == 1
    assert autoencoder.scan


def test_a_batch_that_a_small_table_cuts_is_not_shared_by_more_devices_than_rows():
    """Breaks if eight devices are to share the four rows of a batch."""
    assert plan_of(train__devices=8, train__placement="auto", train__fold_parallel="sequential").placement == "batch"
    cut = plan_of(train__devices=8, train__fold_parallel="sequential", sizes={"smallest_batch": 4})
    assert cut.placement == "one"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train__devices": 99}, r"train.devices is 99, but jax sees 8"),
        (
            {"train__devices": 8, "train__placement": "batch", "train__batch_size": 30},
            r"batch_size=30\) is not a multiple of 8",
        ),
    ],
)
def test_what_cannot_be_placed_is_said(changes: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        plan_of(**changes)


def test_a_begun_fold_keeps_its_steps_a_dispatch(tmp_path: Path):
    """A checkpoint counts dispatches: the session that resumes a fold must not follow a rule that says otherwise by now.

    Breaks when a plan for the folds that are left, or for another number of devices, has other steps than the run's first.
    """
    first = Plan("one", 1, 1, False, True, 7, True, "reason")
    assert Plans(tmp_path / "plan.json").get("classifier", [0, 1, 2], lambda: first) == first
    resumed = Plans(tmp_path / "plan.json")
    assert resumed.get("classifier", [1, 2], lambda: replace(first, steps=9, reason="another day")).steps == 7
    assert resumed.get("classifier", [1, 2], lambda: replace(first, steps=11)).steps == 7
    assert resumed.get("autoencoder", [1, 2], lambda: replace(first, steps=9)).steps == 9, "another task's steps are its own"
