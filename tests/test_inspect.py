"""What a config costs, from shapes alone: equal to what training allocates, and nothing is allocated to find out."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from benchmarks.sizes import SIZES, make_settings, make_spec
from mmjax.cli.inspect_command import _measured as measured
from mmjax.cli.main import main
from mmjax.configs import get_config
from mmjax.inference import Ensemble
from mmjax.modalities.base import InputSpec
from mmjax.modalities.shapes import blank_batch
from mmjax.tasks.base import make_task
from mmjax.train.execution.cost import flops, step_cost
from mmjax.train.execution.footprint import Footprint, footprints
from tests.shrunken import shrunken

pytest_plugins = ("tests.fixtures_trained",)


def inspected(capsys: pytest.CaptureFixture[str], config: str, *options: str) -> dict:
    assert main(["inspect", f"--config=configs/{config}", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_papers_autoencoder_at_512_pixels(capsys: pytest.CaptureFixture[str]):
    """f_i: x -> 512 -> 64 and g_i: 3 x 64 -> 64 -> 512 -> x, counted by hand: 0.84 G; no array of that size is made."""
    before = len(jax.live_arrays())
    found = inspected(capsys, "mmae.py:image+tabular+text,petfinder", "--spec=vocabulary=20002")
    (phase,) = found["phases"]
    x, hidden, k = 512 * 512 * 3, 512, 64
    encoder = x * hidden + hidden + hidden * k + k
    decoder = 3 * k * k + k + k * hidden + hidden + hidden * x + x
    assert phase["parameters"]["encode_image"] == encoder
    assert phase["parameters"]["decode_image"] == decoder
    assert 0.8e9 < phase["total_parameters"] < 0.9e9
    assert phase["step_bytes"]["RMSprop"] >= 4 * phase["total_parameters"]
    # A dense layer costs 2 B x y forward, and that again for each of the two gradients; nobody asks for the photo's.
    assert phase["step_flops"] == pytest.approx(2 * 32 * (3 * phase["total_parameters"] - x * hidden), rel=0.05)
    assert max((a.nbytes for a in jax.live_arrays()[before:]), default=0) < 1 << 20


@pytest.mark.parametrize("row", [2, 3, 8])
def test_operations_are_those_xla_counts(row: int):
    """XLA's CPU client can count, a GPU's plugin cannot."""
    settings, spec = make_settings(row, SIZES["small"]), make_spec(row, SIZES["small"])
    task = make_task("classifier", settings, spec)
    batch = blank_batch(spec, 32, task.code_width)

    def forward(params: Any, batch_stats: Any, batch: Any) -> Any:
        return task.losses(params, batch_stats, batch, None)[1]

    shapes = (*task.variables, batch)
    xla = jax.jit(forward).lower(*shapes).cost_analysis()["flops"]
    assert flops(jax.make_jaxpr(forward)(*shapes).jaxpr) == pytest.approx(xla, rel=0.02)
    assert 0.99 <= step_cost(task, 32).flops / xla <= 3.0  # text: the winning places alone have a gradient


def test_a_loops_body_counts_as_often_as_it_runs_and_the_dearer_branch_once():
    def looped(x: jax.Array) -> jax.Array:
        x = jax.lax.scan(lambda x, _: (x @ x, None), x, length=3)[0]
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, jnp.sin, x)

    assert flops(jax.make_jaxpr(looped)(jnp.ones((4, 4))).jaxpr) == (3 + 2) * 2 * 4**3


def test_parameters_are_those_of_a_trained_fold(trained_autoencoder: Path):
    ensemble = Ensemble.load(trained_autoencoder)
    phases = footprints(ensemble.settings, ensemble.spec, 240)
    for phase in phases:
        params = ensemble.members[0].parameters[phase.phase].params
        assert phase.total_parameters == sum(x.size for x in jax.tree.leaves(params))
        assert phase.step_bytes["parameters"] == sum(x.nbytes for x in jax.tree.leaves(params))


def test_activations_grow_with_the_batch_and_rows_with_the_table(tmp_path: Path):
    spec = InputSpec(
        ("tabular",), ("a", "b", "c"), {"tabular": "tabular"}, {"tabular": {"onehot": 30, "groups": 4, "numbers": 2}}
    )

    def cost(batch: int, rows: int) -> Footprint:
        return footprints(shrunken("tabular", tmp_path, train__batch_size=batch, train__fold_parallel="vmap"), spec, rows)[0]

    small, large = cost(8, 1000), cost(64, 2000)
    assert large.step_bytes["activations"] == pytest.approx(8 * small.step_bytes["activations"], rel=0.05)
    assert large.step_bytes["activations"] < 64 * 4 * 40 * 32  # no more than every value of every layer, several times over
    assert large.rows_bytes == 2 * small.rows_bytes
    # 4 ids of 2 bytes and 2 numbers of 4, a label of 4, one flag of presence.
    assert small.rows_bytes == 1000 * (4 * 2 + 2 * 4 + 4 + 1)
    assert small.plan.placement == "vmap"
    assert small.total_bytes == 2 * (sum(small.step_bytes.values()) + small.rows_bytes)
    assert small.scratch_bytes == {}


def test_sizes_are_the_tables_own_where_it_is_at_hand(synthetic_cache: Path, capsys: pytest.CaptureFixture[str]):
    """The synthetic table: nine materials, four kinds of packing and the missing one, mass and age; photos are not opened."""
    options = [f"--config.data.cache={synthetic_cache}", "--config.data.synthetic_rows=240"]
    found = inspected(capsys, "mmae_attention.py", *options)
    sizes = found["spec"]["sizes"]
    assert found["spec"]["classes"] == ["north", "east", "south", "west"]
    assert (sizes["tabular"]["groups"], sizes["tabular"]["numbers"]) == (2, 2)
    assert (sizes["text"]["tokens"], sizes["image"]) == (16, {"side": 32})
    assert found["rows"] == 240
    assert found["spec"]["sizes"]["tabular"]["onehot"] >= 9 + 4 + 1
    assert found["spec"]["sizes"]["text"]["vocabulary"] > 50


def test_a_data_set_that_is_named_must_be_there(capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", "--config=text:petfinder", "--config.data.root=/no/such/root"]) == 2
    assert "/no/such/root" in capsys.readouterr().err
    assert "assumed" in inspected(capsys, "text.py:petfinder")["sizes"]


@pytest.mark.slow
def test_xla_is_asked_for_scratch_memory(tmp_path: Path):
    """Of every program on one device; then it counts instead of gradients and activations, once for each fold at work."""
    spec = InputSpec(
        ("tabular",), ("a", "b", "c"), {"tabular": "tabular"}, {"tabular": {"onehot": 30, "groups": 4, "numbers": 2}}
    )
    settings = shrunken("tabular", tmp_path, train__batch_size=64, train__fold_parallel="sequential")
    (counted,), (asked,) = (footprints(settings, spec, 1000, compiled=compiled) for compiled in (False, True))
    assert counted.scratch_bytes == {}
    assert list(asked.scratch_bytes) == ["training step", "validation", "prediction"]
    assert all(0 < size < 1 << 20 for size in asked.scratch_bytes.values())
    scratch = counted.step_bytes["gradients"] + counted.step_bytes["activations"]
    assert asked.total_bytes - counted.total_bytes == max(asked.scratch_bytes.values()) - scratch
    for placement in ("batch", "folds"):
        several = shrunken("tabular", tmp_path, train__batch_size=64, train__devices=2, train__placement=placement)
        (phase,) = footprints(several, spec, 1000, compiled=True)
        assert phase.plan.placement == placement
        assert 0 < phase.scratch_bytes["training step"] < 1 << 20


def test_people_get_tables(capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", "--config=ae_attention:petfinder_features"]) == 0
    shown = capsys.readouterr().out
    for word in ("tower_vectors", "encode_text", "RMSprop", "FLOP", "Plan on this machine", "255 features"):
        assert word in shown


def test_what_the_table_lacks_is_left_out_as_in_training(tmp_path: Path):
    """Broken if `inspect` refuses a config that `train` takes: `recommended` reads what there is, of synthetic data too."""
    rows = "\n".join(f"{i % 7},{'ab'[i % 2]},{i % 2}" for i in range(40))
    (tmp_path / "rows.csv").write_text(f"size,kind,y\n{rows}\n")
    (tmp_path / "s.toml").write_text('label = "y"\ncontinuous = ["size"]\ncategorical = ["kind"]\n')
    own = {"data.root": str(tmp_path), "data.table": "rows.csv", "data.schema": str(tmp_path / "s.toml")}
    spec, rows = measured(get_config("recommended:table", own))
    assert (set(spec.modalities), rows) == ({"tabular", "linear", "forest"}, 40)
    assert "vectors" not in measured(get_config("recommended:synthetic", {"data.synthetic_rows": 60}))[0].modalities
