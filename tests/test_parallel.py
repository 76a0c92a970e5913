"""How a plan's programs treat arrays (parallel.py), on the virtual devices of the tests."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.sizes import SIZES, make_spec, random_rows
from mmjax.modalities.shapes import blank_constants
from mmjax.tasks.base import make_task
from mmjax.train import state
from mmjax.train.execution.parallel import Executor
from mmjax.train.execution.plan import Plan
from mmjax.train.step import FoldArrays
from tests.shrunken import shrunken


@pytest.mark.parametrize(("placement", "devices"), [("one", 1), ("vmap", 1), ("batch", 8), ("folds", 2)])
def test_a_states_memory_is_used_again_wherever_it_lies(placement: str, devices: int, tmp_path: Path):
    settings = shrunken("tabular", tmp_path)
    spec = make_spec(1, SIZES["tiny"])
    task = make_task("classifier", settings, spec, "device" if placement == "batch" else None)
    folds = 4 if placement in ("vmap", "folds") else 1
    executor = Executor(Plan(placement, folds, devices, placement == "vmap", True, 2, True, ""))
    programs = executor.programs(task)
    params, batch_stats = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), task.variables)
    one = state.create(params, batch_stats, programs.optimizer, np.zeros(2, np.uint32), steps_per_epoch=2, max_epochs=2)
    arrays = random_rows(spec, 16)
    constant = {k: np.ones(v.shape, v.dtype) for k, v in blank_constants(spec).items()}
    by_fold = FoldArrays(shared={}, fold=arrays, constant=constant)
    stack = partial(jax.tree.map, lambda x: np.stack([x] * folds))
    before = executor.put(stack(one), by_fold=True)
    index, active = np.zeros((folds, 2, 8), np.int32), np.ones((folds, 2), bool)
    after, _ = programs.train(before, executor.put_rows(stack(by_fold)), index, active)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))
    programs.train(after, executor.put_rows(stack(by_fold)), index, active)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(after))
