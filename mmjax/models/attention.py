"""Attention layer (paper, section 3.2, equations 8 and 9)."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float


class SoftAttention(nn.Module):
    r"""One learned vector scores each modality of each row; absent modalities get no weight.

    .. math:: e_i = \tanh(v_i \cdot \mu), \quad a = \mathrm{softmax}(e), \quad \hat v_i = a_i v_i

    The sum sign printed over equation 9 is a slip: equation 10 uses three separate v̂.
    """

    @nn.compact
    def __call__(
        self, v_BxMxm: Float[Array, "B M m"], present_BxM: Bool[Array, "B M"]
    ) -> tuple[Float[Array, "B M m"], Float[Array, "B M"]]:
        """Returns v̂ and the weights a, which sum to 1 over the present modalities (0 where a row has none)."""
        size = v_BxMxm.shape[-1]
        # paper: "randomly initialized"; our reading: normal with variance 1/m, so that v·mu starts in tanh's linear range.
        mu_m = self.param("mu", nn.initializers.normal(size**-0.5), (size,))
        e_BxM = jnp.tanh(jnp.einsum("bmd,d->bm", v_BxMxm.astype(jnp.float32), mu_m))
        weight_BxM = masked_softmax(e_BxM, present_BxM)
        return v_BxMxm * weight_BxM[..., None].astype(v_BxMxm.dtype), weight_BxM


def masked_softmax(e_BxM: Float[Array, "B M"], present_BxM: Bool[Array, "B M"]) -> Float[Array, "B M"]:
    """Softmax over the present entries; zeros elsewhere, and everywhere for a row with none."""
    # tanh bounds e by 1: no maximum needs subtracting.
    exp_BxM = jnp.where(present_BxM, jnp.exp(e_BxM), 0.0)
    return exp_BxM / jnp.maximum(exp_BxM.sum(axis=-1, keepdims=True), 1e-12)
