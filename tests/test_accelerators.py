"""What a GPU or a TPU would run, on a machine that has neither: lowered for it, and its rules obeyed on the CPU."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from jax.stages import Lowered

from benchmarks.sizes import CASES, SIZES, Case, make_settings, make_spec
from mmjax.tasks.base import make_task
from mmjax.train import step as steps
from mmjax.train.cross_validation import cross_validate
from mmjax.train.execution import compile
from mmjax.train.execution.parallel import Executor
from mmjax.train.execution.plan import Sizes, make_plan
from tests.shrunken import shrunken

SIZE = SIZES["tiny"]


class LoweredFor:
    """A jitted function whose `lower` is for a platform."""

    def __init__(self, jitted: Any, platform: str):
        self.jitted, self.platform = jitted, platform

    def lower(self, *args: Any) -> Lowered:
        return self.jitted.trace(*args).lower(lowering_platforms=(self.platform,))


@pytest.mark.parametrize(
    ("case", "dtype", "resident"),
    [
        (CASES["mmae"], "float32", "device"),
        (CASES["mmae"], "bfloat16", "host"),
        (CASES["row1"], "float32", "device"),
        (CASES["row5"], "float32", "host"),
        (CASES["row8"], "bfloat16", "device"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_every_program_lowers(case: Case, dtype: str, resident: str, platform: str, monkeypatch: pytest.MonkeyPatch):
    """Breaks where an operation, an option or a shape is the CPU's own."""
    monkeypatch.setattr(jax, "default_backend", lambda: {"cuda": "gpu"}.get(platform, platform))
    settings = make_settings(case.row, SIZE, train={"dtype": dtype, "resident": resident, "devices": 1})
    spec = make_spec(case.row, SIZE)
    task = make_task(case.task, settings, spec)
    executor = Executor(make_plan(task, Sizes.of(task, folds=3, train_rows=200, rows=300)))
    assert executor.plan.scan, "a dispatch is one program"
    assert executor.plan.vmap == (case.row == 1), "small dense folds go in one program"
    programs = executor.programs(task)
    ahead = {k: LoweredFor(getattr(programs, k), platform) for k in ("train", "evaluate", "end_epoch")}
    monkeypatch.setattr(executor, "programs", lambda task: programs._replace(**ahead))
    arguments = compile.ProgramShapes(task, executor, rows=300, batch=SIZE.batch, valid_batch=16)
    _, train = arguments.lower_steps()
    evaluate, _, end_epoch = arguments.lower_epoch()
    predictor = LoweredFor(steps.predictor(task), platform)
    monkeypatch.setattr(compile, "predictor", lambda task: predictor)
    (predict,) = compile.lower_predict(task, 16)
    for program in (train, evaluate, end_epoch, predict):
        assert "stablehlo" in program.as_text()


@pytest.mark.parametrize(
    ("row", "tolerance"), [pytest.param("mmae_attention", 2e-3, marks=pytest.mark.slow), ("image", 2e-3), ("tabular", 1e-5)]
)
def test_a_run_by_a_gpus_rules_gives_the_cpus_numbers(
    row: str, tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Folds in one program, steps in a loop and plain layers against threads, single steps and fast layers.

    Every layer alone is equal to 1e-5 (test_towers.py); over a run, maxima, ReLUs and RMSprop's division enlarge last bits.
    """
    found, plans = [], []
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda b=backend: b)
        settings = shrunken(row, tmp_path / "cache")
        cross_validate(settings, tmp_path / backend, lambda line: None)
        predictions = pd.read_csv(tmp_path / backend / "predictions.csv")
        found.append(predictions.filter(like="p_").to_numpy())
        plans.append(list(json.loads((tmp_path / backend / "plan.json").read_text()).values()))
    np.testing.assert_allclose(found[1], found[0], atol=tolerance)
    on_cpu, on_gpu = (plan[-1] for plan in plans)
    assert (on_cpu["concurrent"], on_gpu["concurrent"]) == (2, 1)
    assert on_gpu["scan"]
    assert on_gpu["placement"] == ("vmap" if row == "tabular" else "one")
