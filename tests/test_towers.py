"""Towers against PyTorch with copied weights, and the fast formulations against Flax's own layers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmjax.models.densenet import DenseNet
from mmjax.models.mlp import MLP
from mmjax.models.textcnn import TextCNN
from mmjax.ops.cpu import convolution as fast_conv
from mmjax.ops.cpu.text_gradients import picked_gradients
from mmjax.ops.onehot import onehot_product, onehot_vector
from mmjax.ops.text_convolution import dense_gradients

F32 = jnp.dtype("float32")
RNG = np.random.default_rng(0)


def torch_module():
    return pytest.importorskip("torch", reason="PyTorch is the other side of the comparison; it comes with the bench extra")


def textcnn(**changes) -> TextCNN:
    sizes = {"vocabulary": 30, "embed_dim": 6, "widths": (3, 4, 5), "maps": 7, "dropout": 0.5, "width": 8, "embed_scale": 0.25}
    return TextCNN(**{**sizes, "train_embedding": True, "dtype": F32, **changes})


def densenet(fast: bool) -> DenseNet:
    return DenseNet(growth=4, layers=(2, 2), compression=0.5, stem=8, width=5, fast=fast, dtype=F32)


def test_textcnn_equals_pytorch():
    """Output and every gradient. Breaks if a filter is flipped, a width is cut short or the maximum takes another place."""
    torch = torch_module()
    tower, ids = textcnn(), RNG.integers(1, 30, (5, 12))
    params = tower.init(jax.random.key(0), jnp.asarray(ids), train=False)["params"]

    def loss(p):
        v = tower.apply({"params": p}, jnp.asarray(ids), train=False)
        return (v * jnp.arange(8.0)[None]).sum(), v

    (_, ours), grads = jax.value_and_grad(loss, has_aux=True)(params)
    theirs = {n: torch.tensor(np.asarray(p), requires_grad=True) for n, p in params.items() if n != "dense"}
    x = theirs["embedding"][torch.tensor(ids)].transpose(1, 2)
    pooled = []
    for w in (3, 4, 5):
        kernel = theirs[f"conv_{w}_kernel"].permute(2, 1, 0)
        pooled.append(torch.relu(torch.nn.functional.conv1d(x, kernel, theirs[f"conv_{w}_bias"])).amax(2))
    dense = {n: torch.tensor(np.asarray(p)) for n, p in params["dense"].items()}
    v = torch.relu(torch.cat(pooled, 1) @ dense["kernel"] + dense["bias"])
    (v * torch.arange(8.0)).sum().backward()
    np.testing.assert_allclose(np.asarray(ours), v.detach().numpy(), atol=1e-5)
    for name, leaf in theirs.items():
        np.testing.assert_allclose(np.asarray(grads[name]), leaf.grad.numpy(), atol=1e-4, err_msg=name)


def torch_densenet(torch, params: dict, x):
    """The same network from Flax's parameters, in training mode (batch statistics)."""

    def tensor(leaf):
        return torch.tensor(np.asarray(leaf))

    def conv(name, x, stride=1):
        kernel = tensor(params[name]["kernel"]).permute(3, 2, 0, 1)
        size = kernel.shape[-1]
        total = max((-(-x.shape[2] // stride) - 1) * stride + size - x.shape[2], 0)
        x = torch.nn.functional.pad(x, (total // 2, total - total // 2) * 2)
        return torch.nn.functional.conv2d(x, kernel, stride=stride)

    def norm(name, x):
        scale, bias = tensor(params[name]["norm"]["scale"]), tensor(params[name]["norm"]["bias"])
        return torch.relu(torch.nn.functional.batch_norm(x, None, None, scale, bias, training=True, eps=1.001e-5))

    x = norm("stem_norm", conv("stem_conv", x, 2))
    x = torch.nn.functional.max_pool2d(torch.nn.functional.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)
    for block in (0, 1):
        for layer in (0, 1):
            name = f"block_{block}_layer_{layer}"
            y = conv(f"{name}_conv_1", norm(f"{name}_norm_1", x))
            x = torch.cat([x, conv(f"{name}_conv_3", norm(f"{name}_norm_2", y))], 1)
        x = norm(f"block_{block}_norm", x)
        if block == 0:
            x = torch.nn.functional.avg_pool2d(conv("transition_0_conv", x), 2)
    return torch.relu(x.mean((2, 3)) @ tensor(params["dense"]["kernel"]) + tensor(params["dense"]["bias"]))


@pytest.mark.parametrize("fast", [False, True])
def test_densenet_equals_pytorch(fast: bool):
    torch = torch_module()
    tower, images = densenet(fast), RNG.integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    variables = tower.init(jax.random.key(1), jnp.asarray(images), train=False)
    ours, _ = tower.apply(variables, jnp.asarray(images), train=True, mutable=["batch_stats"])
    x = torch.tensor(images.astype(np.float32) / 255).permute(0, 3, 1, 2)
    np.testing.assert_allclose(np.asarray(ours), torch_densenet(torch, variables["params"], x).numpy(), atol=1e-4)


def test_fast_densenet_equals_plain_flax():
    """Outputs, gradients and running statistics on one parameter tree, to 1e-5 of each leaf's scale."""
    images = jnp.asarray(RNG.integers(0, 256, (4, 20, 20, 3)).astype(np.uint8))
    variables = jax.jit(partial(densenet(False).init, train=False))(jax.random.key(2), images)
    results = []
    for fast in (False, True):

        def loss(p, fast=fast):
            both = {"params": p, "batch_stats": variables["batch_stats"]}
            v, updated = densenet(fast).apply(both, images, train=True, mutable=["batch_stats"])
            return (v * jnp.arange(5.0)[None]).sum(), (v, updated)

        grads, (v, updated) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
        evaluated = jax.jit(partial(densenet(fast).apply, train=False))(variables, images)
        results.append((v, evaluated, updated, grads))
    plain, fast = (jax.tree_util.tree_leaves_with_path(r) for r in results)
    for (path, a), (other, b) in zip(plain, fast, strict=True):
        assert path == other
        scale = max(float(jnp.abs(a).max()), 1.0)
        np.testing.assert_allclose(np.asarray(b) / scale, np.asarray(a) / scale, atol=1e-5, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("numbers", [0, 3])
def test_looked_up_rows_equal_the_product_with_zeros(numbers: int):
    """One group of a row is unseen (-1); forward, and the kernel's gradient."""
    onehot, groups, rows = 48, 3, 5
    ids = RNG.integers(0, onehot // groups, (rows, groups)) + np.arange(groups) * (onehot // groups)
    ids[1, 2] = -1
    batch = jnp.asarray(RNG.random((rows, numbers), np.float32)), jnp.asarray(ids.astype(np.int16))
    product = onehot_product(*batch, onehot)
    assert (product is not jax.lax.dot_general) == (jax.default_backend() == "cpu")
    assert onehot_product(*batch, onehot - 1) is jax.lax.dot_general, "too few columns a group to win"
    x = onehot_vector(*batch, onehot, F32)
    kernel = jnp.asarray(RNG.normal(size=(numbers + onehot, 7)).astype(np.float32))
    results = []
    for used in (None, product):
        tower = nn.Dense(7, dot_general=used)
        variables = {"params": {"kernel": kernel, "bias": jnp.arange(7.0)}}
        results.append(jax.value_and_grad(lambda v, t=tower: jnp.sum(jnp.sin(t.apply(v, x))))(variables))
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(np.asarray(other), np.asarray(one), atol=1e-5)


@pytest.mark.parametrize(("size", "stride", "channels", "features"), [(1, 1, 5, 3), (3, 1, 5, 3), (3, 1, 3, 5), (7, 2, 3, 4)])
def test_fast_convolutions(size: int, stride: int, channels: int, features: int):
    x = jnp.asarray(RNG.normal(size=(2, 9, 10, channels)).astype(np.float32))
    kernel = jnp.asarray(RNG.normal(size=(size, size, channels, features)).astype(np.float32))
    plain, fast = fast_conv.plain_convolve(x, kernel, stride), fast_conv.convolve(x, kernel, stride)
    np.testing.assert_allclose(np.asarray(fast), np.asarray(plain), atol=1e-4)
    g = jnp.asarray(RNG.normal(size=plain.shape).astype(np.float32))
    gradients = [
        jax.vjp(lambda x, k, f=f: f(x, k, stride), x, kernel)[1](g) for f in (fast_conv.plain_convolve, fast_conv.convolve)
    ]
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(np.asarray(other), np.asarray(one), atol=1e-4)


@pytest.mark.parametrize("sides", [(7, 8), (8, 5), (1, 2)])
def test_fast_max_pool_and_its_gradient(sides: tuple[int, int]):
    """With ties: the gradient of a tie goes to the first place, as XLA's does; odd sides have another border than even ones."""
    x = jnp.asarray(RNG.integers(0, 3, (2, *sides, 3)).astype(np.float32))
    cotangent = jnp.asarray(RNG.normal(size=(2, *(-(-side // 2) for side in sides), 3)).astype(np.float32))
    plain, back = jax.vjp(lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME"), x)
    fast, fast_back = jax.vjp(fast_conv.max_pool, x)
    np.testing.assert_array_equal(np.asarray(fast), np.asarray(plain))
    np.testing.assert_allclose(np.asarray(fast_back(cotangent)[0]), np.asarray(back(cotangent)[0]), atol=1e-6)


def test_padding_embeds_to_zero_and_short_texts_have_room():
    """A text of two words, shorter than every filter; the table's padding row is never read."""
    tower = textcnn()
    ids = jnp.asarray([[3, 4], [5, 0]])
    variables = tower.init(jax.random.key(0), ids, train=False)
    before = tower.apply(variables, ids, train=False)
    table = variables["params"]["embedding"].at[0].set(99.0)
    after = tower.apply({"params": variables["params"] | {"embedding": table}}, ids, train=False)
    assert before.shape == (2, 8)
    np.testing.assert_array_equal(np.asarray(before), np.asarray(after))


def test_a_fixed_embedding_has_no_gradient():
    tower, ids = textcnn(train_embedding=False), jnp.asarray([[3, 4, 5, 6, 7]])
    params = tower.init(jax.random.key(0), ids, train=False)["params"]
    grads = jax.grad(lambda p: tower.apply({"params": p}, ids, train=False).sum())(params)
    assert not grads["embedding"].any()
    assert grads["dense"]["kernel"].any()


def test_dropout_is_the_same_on_eight_devices_and_on_one():
    tower = MLP((8, 4), 0.5, F32)
    sharded = MLP((8, 4), 0.5, F32, "device")
    x = jnp.asarray(RNG.normal(size=(16, 3)).astype(np.float32))
    variables, key = tower.init(jax.random.key(0), x, train=False), jax.random.key(5)
    one = tower.apply(variables, x, train=True, rngs={"dropout": key})
    run = jax.pmap(lambda v, x: sharded.apply(v, x, train=True, rngs={"dropout": key}), "device", in_axes=(None, 0))
    np.testing.assert_allclose(np.asarray(run(variables, x.reshape(8, 2, 3))).reshape(16, 4), np.asarray(one), atol=1e-6)
    assert (np.asarray(one) == 0).mean() > 0.3


def test_bfloat16_keeps_parameters_and_statistics_in_float32():
    tower = DenseNet(growth=4, layers=(1, 1), compression=0.5, stem=8, width=5, fast=True, dtype=jnp.dtype("bfloat16"))
    images = jnp.zeros((2, 16, 16, 3), jnp.uint8)
    variables = jax.eval_shape(partial(tower.init, train=False), jax.random.key(0), images)
    v, updated = jax.eval_shape(partial(tower.apply, train=True, mutable=["batch_stats"]), variables, images)
    assert v.dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves((variables, updated))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("rows", [1, 7, 16])
def test_gradients_of_the_winning_places_alone_equal_the_matrix_products(rows: int):
    """The CPU's way back through the maximum over time against the GPU's; several filters may win at one place."""
    rng = np.random.default_rng(0)
    x, taps = rng.standard_normal((rows, 9, 6), np.float32), rng.standard_normal((6, 20), np.float32)
    at, grad = rng.integers(0, 9, (rows, 20)).astype(np.int32), rng.standard_normal((rows, 20), np.float32)
    picked, dense = (jax.jit(f)(x, taps, at, grad) for f in (picked_gradients, dense_gradients))
    for one, other in zip(picked, dense, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=0)
