"""Image tower: DenseNet-BC (Huang et al. 2017, "Densely Connected Convolutional Networks").

Two formulations of one network on one parameter tree. `fast=False` is Flax's own layers. `fast=True` is for CPUs, where XLA's
convolutions are slow: see ops/cpu/convolution.py; both agree to 1e-5.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, UInt8

from mmjax.models.mlp import dense_init
from mmjax.ops.cpu import convolution
from mmjax.ops.cpu.convolution import Maps

EPSILON = 1.001e-5
"""Our reading: BatchNorm as in Keras' DenseNet; Flax's own default is 1e-5."""

conv_init = nn.initializers.he_normal()
"""Huang et al. 2017, section 4.2: the weights of He et al. 2015."""


class DenseNet(nn.Module):
    """Stem, dense blocks with a compressing transition between, global average pooling, one dense layer.

    Attributes:
      growth: feature maps each layer adds.
      layers: layers of each dense block (paper: two blocks with the same settings).
      compression: share of the feature maps a transition keeps.
      stem: feature maps of the first convolution.
      width: m, size of the representation.
      fast: the CPU formulation.
      dtype: compute dtype; parameters and BatchNorm's statistics stay float32.
      axis_name: device axis BatchNorm averages over, or None.
      momentum: of BatchNorm's running statistics.
    """

    growth: int
    layers: tuple[int, ...]
    compression: float
    stem: int
    width: int
    fast: bool
    dtype: jnp.dtype
    axis_name: str | None = None
    momentum: float = 0.99

    @nn.compact
    def __call__(self, image_BxHxWxC: UInt8[Array, "B H W 3"], *, train: bool) -> Float[Array, "B m"]:
        """Returns v_visual."""
        norm = partial(NormReLU, dtype=self.dtype, axis_name=self.axis_name, fast=self.fast, momentum=self.momentum)
        conv = partial(Conv, dtype=self.dtype, fast=self.fast)
        pool = convolution.max_pool if self.fast else partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2), padding="SAME")
        x = conv(self.stem, 7, stride=2, name="stem_conv")(pixels(image_BxHxWxC, self.dtype))
        x = pool(norm(name="stem_norm")(Maps(x), train=train))
        for block, layers in enumerate(self.layers):
            maps = dense_block(x, layers, self.growth, conv, norm, f"block_{block}", train=train)
            x = norm(name=f"block_{block}_norm")(maps, train=train)
            if block + 1 < len(self.layers):
                # Huang et al. 2017 pool last; a mean and a 1x1 convolution may change places, and the smaller map costs less.
                if min(x.shape[1:3]) > 1:
                    x = nn.avg_pool(x, (2, 2), (2, 2))
                x = conv(int(maps.channels * self.compression), 1, name=f"transition_{block}_conv")(x)
        v = nn.Dense(self.width, dtype=self.dtype, kernel_init=dense_init, name="dense")(x.mean(axis=(1, 2)))
        return nn.relu(v)


def pixels(image_BxHxWxC: UInt8[Array, "B H W C"], dtype: jnp.dtype) -> Float[Array, "B H W C"]:
    """x_visual = image / 255 (paper, section 3.1)."""
    return image_BxHxWxC.astype(dtype) / jnp.asarray(255.0, dtype)


def dense_block(x: Array, layers: int, growth: int, conv: Callable, norm: Callable, name: str, *, train: bool) -> Maps:
    """Every layer reads all maps before it: BN-ReLU-1x1 (4 growth), BN-ReLU-3x3 (growth); returns all maps."""
    maps = Maps(x)
    for layer in range(layers):
        y = conv(4 * growth, 1, name=f"{name}_layer_{layer}_conv_1")(
            norm(name=f"{name}_layer_{layer}_norm_1")(maps, train=train)
        )
        y = norm(name=f"{name}_layer_{layer}_norm_2")(Maps(y), train=train)
        maps.append(conv(growth, 3, name=f"{name}_layer_{layer}_conv_3")(y))
    return maps


class Conv(nn.Module):
    """A 'SAME' convolution without a bias (BatchNorm has one)."""

    features: int
    size: int
    stride: int = 1
    fast: bool = False
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 F"]:
        """Convolves."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", conv_init, shape).astype(self.dtype)
        run = convolution.convolve if self.fast else convolution.plain_convolve
        return run(x, kernel, self.stride)


class NormReLU(nn.Module):
    """BatchNorm and ReLU over feature maps side by side.

    The statistics of a channel are the same for every later layer of a dense block, so the maps keep them; scale, bias and the
    running statistics are each layer's own.
    """

    dtype: jnp.dtype
    axis_name: str | None
    fast: bool
    momentum: float

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> Float[Array, "B H W C"]:
        """Normalises them as one."""
        if not self.fast:
            norm = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.momentum,
                epsilon=EPSILON,
                dtype=self.dtype,
                axis_name=self.axis_name if train else None,
                name="norm",
            )
            return nn.relu(norm(maps.concatenated()))
        return convolution.FastNorm(self.momentum, EPSILON, self.dtype, self.axis_name, name="norm")(maps, train=train)
