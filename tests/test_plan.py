"""The rule that decides placement (plan.py), on the eight virtual devices of the tests."""

from pathlib import Path
from typing import Any

import pytest

from mmjax.errors import ConfigError
from mmjax.train.plan import Plan, make_plan
from tests.shrunken import shrunken

SIZES: dict[str, Any] = {
    "phase": "classifier",
    "folds": 5,
    "steps_per_epoch": 337,
    "step_flops": 1e6,
    "row_bytes": 1 << 20,
    "state_bytes": 1 << 20,
}


def plan_of(row: str = "tabular", *, sizes: dict[str, Any] | None = None, **changes: Any) -> Plan:
    return make_plan(shrunken(row, Path("cache"), **changes), **(SIZES | (sizes or {})))


def test_folds_go_to_devices_of_their_own_and_a_single_fold_shares_its_batch():
    folds = plan_of(train__devices=8)
    assert (folds.placement, folds.devices, folds.folds) == ("folds", 5, 5)
    batch = plan_of(train__devices=8, sizes={"folds": 1})
    assert (batch.placement, batch.devices, batch.folds) == ("batch", 8, 1)
    odd = plan_of(train__devices=8, train__batch_size=30, sizes={"folds": 1})
    assert (odd.placement, odd.devices) == ("one", 1), "a batch of 30 cannot be shared by eight"


def test_rows_lie_on_the_device_up_to_half_of_its_memory():
    assert plan_of(train__devices=1).resident
    assert not plan_of(train__devices=1, sizes={"row_bytes": 1 << 50}).resident
    assert plan_of(train__devices=1, train__resident="device", sizes={"row_bytes": 1 << 50}).resident


def test_a_dispatch_is_about_two_seconds_and_fills_an_epoch_evenly():
    assert plan_of(train__devices=1).steps == 337
    slow = plan_of(train__devices=1, sizes={"step_flops": 2e9})  # 40 steps in two seconds: nine dispatches of 38
    assert slow.steps == 38
    assert plan_of(train__devices=1, train__steps_per_dispatch=3).steps == 3


def test_on_a_cpu_convolutions_run_step_by_step_and_large_autoencoders_fold_by_fold():
    assert plan_of(train__devices=1).looped
    assert not plan_of("mmae_attention", train__devices=1).looped
    autoencoder = {"phase": "autoencoder", "state_bytes": 1 << 30}
    assert plan_of("mmae_attention", train__devices=1, sizes=autoencoder).beside == 1
    assert plan_of("mmae_attention", train__devices=1, sizes=autoencoder).looped


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train__devices": 99}, r"train.devices is 99, but jax sees 8"),
        ({"train__devices": 8, "train__placement": "batch", "train__batch_size": 30}, r"batch_size=30 is not a multiple of 8"),
    ],
)
def test_what_cannot_be_placed_is_said(changes: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        plan_of(**changes)
