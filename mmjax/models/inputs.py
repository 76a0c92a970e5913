"""Input layer (paper, section 3.1): from a batch's compact columns to the vectors the networks read."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from mmjax.batch import PADDING, Batch


def tabular_vector(batch: Batch, onehot: int, dtype: jnp.dtype) -> Float[Array, "B D"]:
    """Numbers, then one-hot columns: D = S + onehot.

    Numbers come first so that folds with different category lists are padded at the end. A value not seen in training (-1) is
    all zeros.
    """
    id_BxC: Int[Array, "B C"] = batch["tabular_id"].astype(jnp.int32)
    # Groups have columns of their own, so writing each group's one leaves the concatenation of their one-hot vectors. A scatter
    # of C ones a row: summing C one-hot vectors would write B x C x O numbers first, a fifth of a tabular step.
    column_BxC = jnp.where(id_BxC < 0, onehot, id_BxC)  # past the end: dropped
    row_Bx1 = jnp.arange(id_BxC.shape[0])[:, None]
    onehot_BxO = jnp.zeros((id_BxC.shape[0], onehot), dtype).at[row_Bx1, column_BxC].set(1, mode="drop")
    return jnp.concatenate([batch["tabular_number"].astype(dtype), onehot_BxO], axis=-1)


def pixels(image_BxHxWxC: UInt8[Array, "B H W C"], dtype: jnp.dtype) -> Float[Array, "B H W C"]:
    """x_visual = image / 255 (paper, section 3.1)."""
    return image_BxHxWxC.astype(dtype) / jnp.asarray(255.0, dtype)


def embed(table_VxE: Float[Array, "V E"], text_BxT: Int[Array, "B T"], dtype: jnp.dtype) -> Float[Array, "B T E"]:
    """Word vectors; padding is exactly zero whatever the table's first row holds."""
    vector_BxTxE = jnp.take(table_VxE, text_BxT.astype(jnp.int32), axis=0).astype(dtype)
    return vector_BxTxE * (text_BxT != PADDING)[..., None].astype(dtype)


def presence(batch: Batch, modalities: tuple[str, ...], name: str) -> Float[Array, "B 1"]:
    """1 where the row has the modality, 0 where it is absent."""
    return batch["present"][:, modalities.index(name), None].astype(jnp.float32)
