"""DenseNet's layers as CPUs compute them fastest; each equals Flax's own layer to 1e-5 on the same parameters.

XLA's CPU convolutions and max-pool's backward pass are slow; matrix products and elementwise loops are not.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


def plain_convolve(x: Float[Array, "B H W C"], kernel: Float[Array, "h w C F"], stride: int = 1) -> Float[Array, "B H2 W2 F"]:
    """'SAME' convolution by XLA."""
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def convolve(x: Float[Array, "B H W C"], kernel: Float[Array, "h w C F"], stride: int = 1) -> Float[Array, "B H2 W2 F"]:
    """'SAME' convolution as a matrix product: 1x1 directly, larger kernels over patches."""
    height, width, channels, features = kernel.shape
    if (height, width, stride) == (1, 1, 1):
        return (x.reshape(-1, channels) @ kernel.reshape(channels, features)).reshape(*x.shape[:3], features)
    if stride == 1 and features < channels:
        return _sum_of_taps(x, kernel)
    patches = _patches(x, height, width, stride)
    out = patches.reshape(-1, height * width * channels) @ kernel.reshape(-1, features)
    return out.reshape(*patches.shape[:3], features)


def _sum_of_taps(x: Array, kernel: Array) -> Array:
    """One product with every tap of the kernel, then the sum of shifted slices: cheaper than patches where F < C."""
    height, width, channels, features = kernel.shape
    tap = (x.reshape(-1, channels) @ kernel.transpose(2, 0, 1, 3).reshape(channels, -1)).reshape(*x.shape[:3], -1)
    rows, columns = x.shape[1:3]
    tap = jnp.pad(tap, ((0, 0), (height // 2, height // 2), (width // 2, width // 2), (0, 0)))
    parts = [
        tap[:, i : i + rows, j : j + columns, (i * width + j) * features : (i * width + j + 1) * features]
        for i in range(height)
        for j in range(width)
    ]
    return sum(parts[1:], parts[0])


def _patches(x: Array, height: int, width: int, stride: int) -> Array:
    """Every kernel window flattened in (row, column, channel) order, by strided slices: their backward pass is pad and add."""
    rows, columns = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    pads = [_same(x.shape[1], rows, height, stride), _same(x.shape[2], columns, width, stride)]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    windows = [
        x[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
        for i in range(height)
        for j in range(width)
    ]
    return jnp.concatenate(windows, axis=-1)


def _same(size: int, out: int, window: int, stride: int) -> tuple[int, int]:
    total = max((out - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def max_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 C"]:
    """3x3/2 'SAME' maximum of nine strided slices: its backward pass is selects instead of a scatter."""
    rows, columns = -(-x.shape[1] // 2), -(-x.shape[2] // 2)
    pads = [_same(x.shape[1], rows, 3, 2), _same(x.shape[2], columns, 3, 2)]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    out = None
    for i in range(3):
        for j in range(3):
            window = x[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]
            # where, not maximum: maximum splits the gradient of a tie, max_pool gives it to the first.
            out = window if out is None else jnp.where(window > out, window, out)
    assert out is not None
    return out


class FastNorm(nn.Module):
    """BatchNorm and ReLU over a list of feature maps, with `nn.BatchNorm`'s parameters and statistics."""

    channels: int
    momentum: float
    epsilon: float
    dtype: jnp.dtype
    axis_name: str | None

    @nn.compact
    def __call__(self, maps: list[Array], *, train: bool) -> Float[Array, "B H W C"]:
        """Normalises the concatenation of `maps`."""
        scale_C = self.param("scale", nn.initializers.ones, (self.channels,))
        bias_C = self.param("bias", nn.initializers.zeros, (self.channels,))
        running_mean = self.variable("batch_stats", "mean", lambda: jnp.zeros(self.channels, jnp.float32))
        running_var = self.variable("batch_stats", "var", lambda: jnp.ones(self.channels, jnp.float32))
        if train:
            moments = [self._moments(m) for m in maps]
            mean_C, var_C = (jnp.concatenate(parts) for parts in zip(*moments, strict=True))
            if not self.is_initializing():
                running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean_C
                running_var.value = self.momentum * running_var.value + (1 - self.momentum) * var_C
        else:
            mean_C, var_C = running_mean.value, running_var.value
        factor_C = scale_C * jax.lax.rsqrt(var_C + self.epsilon)
        offset_C = bias_C - mean_C * factor_C
        x = jnp.concatenate(maps, axis=-1) if len(maps) > 1 else maps[0]
        return nn.relu(x * factor_C.astype(self.dtype)[None, None, None] + offset_C.astype(self.dtype)[None, None, None])

    def _moments(self, x: Array) -> tuple[Array, Array]:
        x = x.astype(jnp.float32)
        mean, square = x.mean(axis=(0, 1, 2)), (x * x).mean(axis=(0, 1, 2))
        if self.axis_name:
            mean, square = jax.lax.pmean((mean, square), self.axis_name)
        return mean, jnp.maximum(square - mean * mean, 0.0)
