"""Attention layer (paper, section 3.2, equations 8 and 9)."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from mmjax.models.mlp import dense_init


class SoftAttention(nn.Module):
    r"""One learned vector scores each modality of each row; absent modalities get no weight.

    .. math:: e_i = \tanh(v_i \cdot \mu), \quad a = \mathrm{softmax}(e), \quad \hat v_i = a_i v_i

    The sum sign printed over equation 9 is a slip: equation 10 uses three separate v̂.

    Attributes:
      scores: tanh (paper), which keeps any two weights within a factor e² of each other; or scaled,
        :math:`e_i = v_i \cdot \mu / \sqrt m` (Vaswani et al. 2017), without a bound.
    """

    scores: str = "tanh"

    @nn.compact
    def __call__(
        self, v_BxMxm: Float[Array, "B M m"], present_BxM: Bool[Array, "B M"]
    ) -> tuple[Float[Array, "B M m"], Float[Array, "B M"]]:
        """Returns v̂ and the weights a, which sum to 1 over the present modalities (0 where a row has none)."""
        size = v_BxMxm.shape[-1]
        # paper: "randomly initialized"; our reading: normal with variance 1/m, so that v·mu starts in tanh's linear range.
        mu_m = self.param("mu", nn.initializers.normal(size**-0.5), (size,))
        dot_BxM = jnp.einsum("bmd,d->bm", v_BxMxm.astype(jnp.float32), mu_m)
        if self.scores == "tanh":
            e_BxM = jnp.tanh(dot_BxM)
        else:
            largest_Bx1 = jnp.max(dot_BxM, axis=-1, keepdims=True, where=present_BxM, initial=0.0)
            e_BxM = (dot_BxM - largest_Bx1) * size**-0.5
        weight_BxM = masked_softmax(e_BxM, present_BxM)
        return v_BxMxm * weight_BxM[..., None].astype(v_BxMxm.dtype), weight_BxM


class GatedFusion(nn.Module):
    r"""A gate for every number of every modality, which sees all of them (Arevalo et al. 2017, without their tanh).

    .. math:: z_i = \sigma(W_i [v_1 ; v_2 ; \dots] + b_i), \quad \hat v_i = z_i \odot v_i
    """

    @nn.compact
    def __call__(
        self, v_BxMxm: Float[Array, "B M m"], present_BxM: Bool[Array, "B M"]
    ) -> tuple[Float[Array, "B M m"], Float[Array, "B M"]]:
        """Returns v̂ and each modality's share of the gates' sum (0 where it is absent)."""
        all_BxD = v_BxMxm.reshape(len(v_BxMxm), -1)
        gate = nn.Dense(all_BxD.shape[-1], dtype=v_BxMxm.dtype, kernel_init=dense_init, name="gate")
        z_BxMxm = nn.sigmoid(gate(all_BxD)).reshape(v_BxMxm.shape)
        open_BxM = jnp.where(present_BxM, z_BxMxm.astype(jnp.float32).mean(axis=-1), 0.0)
        return v_BxMxm * z_BxMxm, open_BxM / jnp.maximum(open_BxM.sum(axis=-1, keepdims=True), 1e-12)


def masked_softmax(e_BxM: Float[Array, "B M"], present_BxM: Bool[Array, "B M"]) -> Float[Array, "B M"]:
    """Softmax over the present entries; zeros elsewhere, and everywhere for a row with none."""
    # tanh bounds e by 1: no maximum needs subtracting.
    exp_BxM = jnp.where(present_BxM, jnp.exp(e_BxM), 0.0)
    return exp_BxM / jnp.maximum(exp_BxM.sum(axis=-1, keepdims=True), 1e-12)
