"""The head of the recommended model: k networks that share their weights but for scales (TabM, Gorishniy et al. 2024)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.models.dropout import GlobalDropout
from mmjax.models.mlp import INITS


class Members(nn.Module):
    """One dense layer that every member sees through input scales of its own, then a linear layer each.

    A member differs from the others in the signs its inputs start with, in the scale of every unit and in its last layer: k of
    them cost little more than one, and their mean is an ensemble's.

    Attributes:
      outputs: K.
      members: k.
      width: w, units of the shared layer.
      dropout: rate before and after it.
      dtype: compute dtype; parameters stay float32.
      axis_name: device axis the batch is sharded over, or None.
    """

    outputs: int
    members: int
    width: int
    dropout: float
    dtype: jnp.dtype
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x_BxD: Float[Array, "B D"], *, train: bool) -> Float[Array, "B k K"]:
        """Each member's scores, float32; they start at zero, so that what is added to them decides at first."""
        k, w = self.members, self.width
        x_BxD = GlobalDropout(self.dropout, self.axis_name, name="dropout_in")(x_BxD, train=train)
        sign_kxD = self.param("sign", _signs, (k, x_BxD.shape[-1]))
        x_BxkxD = x_BxD[:, None] * sign_kxD.astype(self.dtype)[None]
        h_Bxkxw = nn.Dense(w, use_bias=False, dtype=self.dtype, kernel_init=INITS["lecun"], name="shared")(x_BxkxD)
        scale_kxw = self.param("scale", nn.initializers.ones, (k, w))
        bias_kxw = self.param("bias", nn.initializers.zeros, (k, w))
        h_Bxkxw = nn.silu(h_Bxkxw * scale_kxw.astype(self.dtype)[None] + bias_kxw.astype(self.dtype)[None])
        h_Bxkxw = GlobalDropout(self.dropout, self.axis_name, name="dropout_out")(h_Bxkxw, train=train)
        kernel_kxwxK = self.param("kernel", nn.initializers.zeros, (k, w, self.outputs))
        offset_kxK = self.param("offset", nn.initializers.zeros, (k, self.outputs))
        return jnp.einsum("bkw,kwc->bkc", h_Bxkxw.astype(jnp.float32), kernel_kxwxK) + offset_kxK[None]


def log_mean_probability(logits_BxkxK: Float[Array, "B k K"]) -> Float[Array, "B K"]:
    """Logarithm of the mean of the members' probabilities."""
    return jax.nn.logsumexp(jax.nn.log_softmax(logits_BxkxK), axis=1) - jnp.log(logits_BxkxK.shape[1])


def _signs(key: Array, shape: tuple[int, int], dtype: jnp.dtype = jnp.float32) -> Float[Array, "k D"]:
    return jax.random.rademacher(key, shape, jnp.int32).astype(dtype)
