"""Attention, autoencoder and classifier: against plain NumPy, and what must not matter."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmjax.config import Settings
from mmjax.modalities.base import InputSpec
from mmjax.models.attention import SoftAttention
from mmjax.models.mlp import MLP
from mmjax.tasks.classification import Classification
from mmjax.tasks.reconstruction import Reconstruction, reconstruction_errors

RNG = np.random.default_rng(0)
SIZES = {
    "width": 8,
    "tabular": {"hidden": (8,)},
    "vectors": {"hidden": (8,)},
    "text": {"embed_dim": 4, "maps": 3, "widths": (3,)},
    "image": {"growth": 4, "layers": (1,), "stem": 4},
}
SPEC = {
    "tabular": {"onehot": 6, "groups": 2, "numbers": 2},
    "text": {"tokens": 7, "vocabulary": 11},
    "image": {"side": 8},
    "vectors": {"features": 5},
}
ALL = ("tabular", "text", "image", "vectors")


def setup(modalities: tuple[str, ...] = ALL, fusion: str = "attention", **auto):
    auto = {"hidden": 8, "code": 3} | auto
    settings = Settings.from_dict({"model": SIZES | {"modalities": modalities, "fusion": fusion, "autoencoder": auto}})
    sizes = {n: SPEC[n] for n in modalities}
    return settings, InputSpec(modalities, ("a", "b", "c"), {n: n for n in modalities}, sizes)


def build_classifier(settings: Settings, spec: InputSpec) -> nn.Module:
    return Classification.build(settings, spec, None)


def build_autoencoder(settings: Settings, spec: InputSpec) -> nn.Module:
    return Reconstruction.build(settings, spec, None)


def make_batch(rows: int, modalities: tuple[str, ...] = ALL) -> dict:
    text = RNG.integers(1, 11, (rows, 7))
    text[:, 5:] = 0
    return {
        "tabular/id": jnp.asarray(np.stack([RNG.integers(-1, 3, rows), RNG.integers(3, 6, rows)], 1), jnp.int32),
        "tabular/number": jnp.asarray(RNG.random((rows, 2)), jnp.float32),
        "text/word": jnp.asarray(text, jnp.int32),
        "image/pixel": jnp.asarray(RNG.integers(0, 256, (rows, 8, 8, 3)), jnp.uint8),
        "tabular/column_weight": jnp.ones(8),
        "vectors/vector": jnp.asarray(RNG.normal(size=(rows, 5)), jnp.float32),
        "present": jnp.asarray(RNG.random((rows, len(modalities))) < 0.7).at[:, 0].set(True),
        "label": jnp.asarray(RNG.integers(0, 3, rows), jnp.int32),
        "weight": jnp.ones(rows, jnp.float32),
    }


def take(batch: dict, order: np.ndarray) -> dict:
    return {k: v if k == "tabular/column_weight" else v[order] for k, v in batch.items()}


def test_attention_against_numpy():
    """Equations 8 and 9, with absent modalities left out of the softmax."""
    v, present = (
        RNG.normal(size=(5, 3, 8)).astype(np.float32),
        np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0]], bool),
    )
    layer = SoftAttention()
    variables = layer.init(jax.random.key(0), jnp.asarray(v), jnp.asarray(present))
    v_hat, weight = layer.apply(variables, jnp.asarray(v), jnp.asarray(present))
    e = np.tanh(v @ np.asarray(variables["params"]["mu"]))
    expected = np.exp(e) * present
    expected = expected / np.maximum(expected.sum(1, keepdims=True), 1e-12)
    np.testing.assert_allclose(np.asarray(weight), expected, atol=1e-6)
    np.testing.assert_allclose(np.asarray(v_hat), expected[..., None] * v, atol=1e-6)
    np.testing.assert_allclose(np.asarray(weight).sum(1), present.any(1), atol=1e-6)


@pytest.mark.parametrize("fusion", ["attention", "concatenate", "gated"])
@pytest.mark.parametrize("auto", [{}, {"kind": "mmae", "mode": "finetune"}, {"kind": "independent", "mode": "joint"}])
def test_absent_modalities_change_nothing_and_rows_are_independent(fusion: str, auto: dict):
    """Garbage in an absent modality leaves the logits alone; a permutation of rows permutes them."""
    model, spec = setup(fusion=fusion, **auto)
    module, batch = build_classifier(model, spec), make_batch(6)
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), batch)
    apply = jax.jit(partial(module.apply, train=False))
    logits, out = apply(variables, batch)
    garbage = dict(batch)
    for i, name in enumerate(ALL[1:], 1):
        absent = ~np.asarray(batch["present"][:, i])
        for key in (k for k in batch if k.startswith(f"{name}/")):
            other = make_batch(6)[key]
            garbage[key] = jnp.where(absent.reshape(-1, *[1] * (other.ndim - 1)), other, batch[key])
    again, _ = apply(variables, garbage)
    np.testing.assert_allclose(np.asarray(again), np.asarray(logits), atol=1e-6)
    np.testing.assert_allclose(np.asarray(out["attention"]).sum(1), 1.0, atol=1e-6)
    assert not np.asarray(out["attention"])[~np.asarray(batch["present"])].any()
    order = np.array([3, 1, 5, 0, 2, 4])
    permuted, _ = apply(variables, take(batch, order))
    np.testing.assert_allclose(np.asarray(permuted), np.asarray(logits)[order], atol=1e-5)


def test_unbounded_attention_can_leave_a_modality_out():
    """Scores over sqrt(m), without tanh: weights further apart than e²; an absent modality's huge score counts nowhere."""
    v = np.zeros((2, 3, 4), np.float32)
    v[:, 0], v[1, 2] = 20.0, 1e4
    present = np.array([[True, True, True], [True, True, False]])
    mu = {"params": {"mu": jnp.ones(4)}}
    _, weight = SoftAttention("scaled").apply(mu, jnp.asarray(v), jnp.asarray(present))
    np.testing.assert_allclose(np.asarray(weight), [[1, 0, 0], [1, 0, 0]], atol=1e-6)
    _, bounded = SoftAttention().apply(mu, jnp.asarray(v), jnp.asarray(present))
    assert np.asarray(bounded)[0, 1] > 0.1


def test_towers_of_other_widths_are_widened_for_attention():
    """The recommended model's towers differ in width; breaks where they are stacked as they are."""
    settings, spec = setup(("tabular", "vectors"))
    towers = {n: m.tower(s, settings.model, dtype=jnp.float32, axis_name=None) for n, m, s in spec.each()}
    narrow = towers["vectors"]._replace(module=MLP((3,), 0.0, jnp.dtype("float32"), parent=None))
    module = build_classifier(settings, spec).clone(towers=towers | {"vectors": narrow})
    batch = make_batch(4, ("tabular", "vectors"))
    (logits, out), variables = module.init_with_output(jax.random.key(0), batch, train=False)
    assert logits.shape == (4, 3)
    assert variables["params"]["widen_vectors"]["kernel"].shape == (3, out["v"]["tabular"].shape[1])


@pytest.mark.parametrize(
    "modalities", [("tabular",), ("text",), ("image",), ("vectors",), ("tabular", "text"), ("text", "image")]
)
def test_any_subset_of_modalities(modalities: tuple[str, ...]):
    model, spec = setup(modalities, "none" if len(modalities) == 1 else "attention", kind="mmae", mode="joint")
    module, batch = build_classifier(model, spec), make_batch(3, modalities)
    logits, out = jax.jit(lambda: module.init_with_output(jax.random.key(0), batch, train=False)[0])()
    assert logits.shape == (3, 3)
    assert out["attention"].shape == (3, len(modalities))
    assert out["h_mm"].shape == (3, 3 * len(modalities))


def test_a_linear_code_has_no_dead_units():
    """A ReLU's code is never negative, and units that are 0 for every row are counted; a linear code has none."""
    found = {}
    for activation in ("relu", "linear"):
        settings, spec = setup(("tabular",), "none", kind="mmae", code_activation=activation, bottleneck_activation="elu")
        module, batch = build_autoencoder(settings, spec), make_batch(6, ("tabular",))
        variables = module.init(jax.random.key(0), batch)
        kernel = variables["params"]["encode_tabular_1"]
        kernel["bias"] = kernel["bias"].at[0].set(-100.0)
        task = Reconstruction(replace(settings, task="autoencoder"), spec, module)
        out = {k: np.asarray(v) for k, v in task.outputs(variables["params"], {}, batch).items()}
        found[activation] = out["h_mm"].min(), task.metrics(np.zeros(6), out)["dead_units"]
    assert found["relu"][0] == 0
    assert found["relu"][1] >= 1 / 3
    assert found["linear"][0] < -50
    assert found["linear"][1] == 0


@pytest.mark.parametrize("kind", ["mmae", "independent"])
def test_which_code_a_decoder_reads(kind: str):
    """MMAE: the photo's reconstruction depends on the text; independent: it does not (rows #7 and #8 differ in just this)."""
    model, spec = setup(kind=kind)
    module, batch = build_autoencoder(model, spec), make_batch(4)
    batch["present"] = jnp.ones((4, 4), bool)
    variables = module.init(jax.random.key(0), batch)
    other = batch | {"text/word": jnp.flip(batch["text/word"][:, :5], 1)}
    before, after = (
        module.apply(variables, b)["prediction"]["image"]
        for b in (batch, other | {"text/word": jnp.pad(other["text/word"], ((0, 0), (0, 2)))})
    )
    assert np.allclose(np.asarray(before), np.asarray(after)) == (kind == "independent")


def test_reconstruction_loss_against_numpy():
    """Absent modalities, padding tokens and padded columns count nowhere."""
    model, spec = setup(kind="mmae")
    module, batch = build_autoencoder(model, spec), make_batch(5)
    batch["tabular/column_weight"] = jnp.asarray([1, 1, 1, 1, 1, 1, 1, 0], jnp.float32)
    out = module.apply(module.init(jax.random.key(0), batch), batch)
    terms = reconstruction_errors(out, batch["weight"])
    present = np.asarray(batch["present"])
    weights = {
        "tabular": np.ones((5, 1)) * np.asarray(batch["tabular/column_weight"])[None],
        "text": np.repeat(np.asarray(batch["text/word"]) != 0, 4, axis=1) * present[:, 1:2],
        "image": np.ones((5, 192)) * present[:, 2:3],
        "vectors": np.ones((5, 5)) * present[:, 3:4],
    }
    for name, weight in weights.items():
        error = (np.asarray(out["prediction"][name]) - np.asarray(out["target"][name])) ** 2
        np.testing.assert_allclose(float(terms[name][0]), (error * weight).sum(), rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(float(terms[name][1]), weight.sum(), err_msg=name)


def test_absent_codes_are_zero():
    model, spec = setup(kind="mmae")
    module, batch = build_autoencoder(model, spec), make_batch(6)
    h_mm = np.asarray(module.apply(module.init(jax.random.key(0), batch), batch, method="encode")).reshape(6, 4, 3)
    assert not h_mm[~np.asarray(batch["present"])].any()
    assert h_mm.any()


@pytest.mark.parametrize("train_table", [False, True])
def test_the_text_target_cannot_collapse(train_table: bool):
    """The loss has no gradient through its target: a table trained by its own reconstruction would shrink to zero."""
    model, spec = setup(("text",), "none", kind="mmae", train_table=train_table)
    module, batch = build_autoencoder(model, spec), make_batch(8, ("text",))
    params = module.init(jax.random.key(0), batch)["params"]

    def loss(params, scale):
        out = module.apply({"params": params}, batch)
        out["target"] = {"text": out["target"]["text"] * scale}
        total, count = reconstruction_errors(out, batch["weight"])["text"]
        return total / count

    gradient = jax.jit(jax.grad(loss))
    grads = gradient(params, 1.0)
    assert bool(grads["text_table"].any()) == train_table
    # A constant predictor of zero has the target's variance as its loss; training must not lower that by moving the target.
    spread = float(jnp.var(params["text_table"][1:]))
    for _ in range(150):
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient(params, 1.0))
    assert float(jnp.var(params["text_table"][1:])) > 0.5 * spread


def test_pretrained_autoencoder_fits_into_the_classifier():
    """Mode finetune copies parameters by name: both trees must agree."""
    model, spec = setup(kind="mmae", mode="finetune")
    batch = make_batch(2)
    alone = jax.eval_shape(build_autoencoder(model, spec).init, jax.random.key(0), batch)["params"]
    init = partial(build_classifier(model, spec).init, train=False)
    inside = jax.eval_shape(init, jax.random.key(0), batch)["params"]["autoencoder"]
    assert jax.tree.map(jnp.shape, alone) == jax.tree.map(jnp.shape, inside)
