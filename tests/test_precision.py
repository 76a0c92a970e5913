"""config.train.dtype=bfloat16: what is multiplied is small, what is kept is float32."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import ours, sizes
from mmjax.modalities.shapes import blank_batch, blank_constants
from mmjax.ops import prng
from mmjax.tasks.base import make_task
from mmjax.train import state
from mmjax.train.optim import make_optimizer
from mmjax.train.step import FoldArrays, train_chunk

TINY = sizes.SIZES["tiny"]
STEPS = 60


@pytest.mark.parametrize("name", ["row8", "mmae"])
def test_bfloat16_trains_with_float32_parameters(name: str):
    """Fails when a layer ignores the dtype, when parameters or RMSprop's averages are rounded, or when it does not learn."""
    case = sizes.CASES[name]
    settings, spec = sizes.make_settings(case.row, TINY, train={"dtype": "bfloat16"}), sizes.make_spec(case.row, TINY)
    task, optimizer = make_task(case.task, settings, spec), make_optimizer(settings.optim)
    width = len(spec.modalities) * TINY.code if case.codes else 0
    params, batch_stats = ours.random_parameters(jax.eval_shape(task.init, prng.KEY, blank_batch(spec, TINY.batch, width)))
    rows = FoldArrays(
        shared=sizes.random_rows(spec, TINY.batch, code_width=width),
        fold={},
        constant={k: np.ones(v.shape, v.dtype) for k, v in blank_constants(spec).items()},
    )
    first = state.create(params, batch_stats, optimizer, np.zeros(2, np.uint32), steps_per_epoch=STEPS, max_epochs=1)
    index = np.arange(TINY.batch, dtype=np.int32)[None]
    active = np.ones(1, bool)
    chunk = jax.jit(partial(train_chunk, task, optimizer, None))

    jaxpr = str(jax.make_jaxpr(chunk)(first, rows, index, active))
    products = re.findall(r":(\w+)\[[\d,]*\] = (?:dot_general|conv_general_dilated)", jaxpr)
    assert products.count("bf16") >= len(products) - 3 > 0, "only the attention's scores and gradients are float32"

    now, losses = first, []
    for _ in range(STEPS):
        now, sums = chunk(now, rows, index, active)
        losses.append(sum(float(sums[k] / sums[f"{k}_count"]) for k in sums if f"{k}_count" in sums and k != "accuracy"))
    kept = (now.params, now.opt_state, now.batch_stats)
    assert {x.dtype for x in jax.tree.leaves(kept) if jnp.issubdtype(x.dtype, jnp.inexact)} == {jnp.dtype("float32")}
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5]), "the loss on one batch does not fall"
