"""A batch without its numbers: all that `jax.eval_shape` needs to build a module."""

from typing import Any

import jax
import numpy as np

from mmjax.batch import InputSpec, id_dtype

Shapes = dict[str, jax.ShapeDtypeStruct]


def blank_batch(spec: InputSpec, rows: int, code_width: int = 0) -> Shapes:
    """Shapes of a batch of the sizes in `spec` (mmjax/batch.py), constants included: enough to build a module by `eval_shape`.

    Args:
      spec: sizes.
      rows: B.
      code_width: length of h_mm where a frozen autoencoder gives it, else 0.
    """
    weight = {"weight": jax.ShapeDtypeStruct((rows,), np.float32)}
    return blank_rows(spec, rows, code_width) | weight | blank_constants(spec)


def blank_rows(spec: InputSpec, rows: int, code_width: int = 0) -> Shapes:
    """The part of a batch that encoders and a frozen autoencoder make: what is kept of every row of the table."""
    sizes: dict[str, tuple[tuple[int, ...], Any]] = {
        "tabular_id": ((spec.groups,), np.dtype(id_dtype(spec.onehot))),
        "tabular_number": ((spec.numbers,), np.float32),
        "text": ((spec.tokens,), np.dtype(id_dtype(spec.vocabulary))),
        "image": ((spec.image_size, spec.image_size, 3), np.uint8),
        "image_features": ((spec.features,), np.float32),
        "codes": ((code_width,), np.float32),
    }
    owner = {"tabular_id": "tabular", "tabular_number": "tabular", "codes": "codes" if code_width else ""}
    held = (*spec.modalities, "codes")
    batch = {k: jax.ShapeDtypeStruct((rows, *s), d) for k, (s, d) in sizes.items() if owner.get(k, k) in held}
    return batch | {
        "present": jax.ShapeDtypeStruct((rows, len(spec.modalities)), bool),
        "label": jax.ShapeDtypeStruct((rows,), np.int32),
    }


def blank_constants(spec: InputSpec) -> Shapes:
    """The part of a batch that has no row axis: class weights, and where there is a table which of its columns are real."""
    constants = {"class_weight": jax.ShapeDtypeStruct((len(spec.classes),), np.float32)}
    if spec.tabular:
        constants["tabular_column_weight"] = jax.ShapeDtypeStruct((spec.tabular,), np.float32)
    return constants


def placed(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes of a tree's arrays, or of other shapes, that say where the arrays lie."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def tree_bytes(tree: Any) -> int:
    """Bytes of a tree's arrays, or of the arrays its shapes stand for."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
