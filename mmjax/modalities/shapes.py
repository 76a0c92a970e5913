"""A batch without its numbers: all that `jax.eval_shape` needs to build a module."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mmjax.modalities.base import Encoder, InputSpec

Shapes = dict[str, jax.ShapeDtypeStruct]


def blank_batch(spec: InputSpec, rows: int, code_width: int = 0) -> Shapes:
    """Shapes of a batch of the sizes in `spec` (mmjax/modalities/base.py), constants included.

    Args:
      spec: sizes.
      rows: B.
      code_width: length of h_mm where a frozen autoencoder gives it, else 0.
    """
    weight = {"weight": jax.ShapeDtypeStruct((rows,), np.float32)}
    return blank_rows(spec, rows, code_width) | weight | blank_constants(spec)


def blank_rows(spec: InputSpec, rows: int, code_width: int = 0) -> Shapes:
    """The part of a batch that encoders and a frozen autoencoder make: what is kept of every row of the table."""
    batch = {
        f"{name}/{part}": jax.ShapeDtypeStruct((rows, *shape), np.dtype(dtype))
        for name, modality, sizes in spec.each()
        for part, (shape, dtype) in modality.arrays(sizes).items()
    }
    batch |= {
        "present": jax.ShapeDtypeStruct((rows, len(spec.modalities)), bool),
        "label": jax.ShapeDtypeStruct((rows,), np.int32),
    }
    return batch | ({"codes": jax.ShapeDtypeStruct((rows, code_width), np.float32)} if code_width else {})


def blank_constants(spec: InputSpec) -> Shapes:
    """The part of a batch that has no row axis: class weights and the modalities' constants."""
    constants = modality_constants(spec, {}) | {"class_weight": np.ones(len(spec.classes), np.float32)}
    return {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in constants.items()}


def modality_constants(spec: InputSpec, encoders: Mapping[str, Encoder]) -> dict[str, np.ndarray]:
    """Arrays without a row axis, by `<name>/<part>`, from the padded sizes and a fold's encoders; none: for their shapes."""
    return {
        f"{name}/{part}": value
        for name, modality, sizes in spec.each()
        for part, value in modality.constants(sizes, encoders.get(name)).items()
    }


def shared_arrays(spec: InputSpec) -> tuple[str, ...]:
    """Arrays of a batch that no encoder touches: the same in every fold."""
    parts = [f"{name}/{part}" for name, modality, _ in spec.each() for part in modality.shared_parts]
    return (*parts, "present", "label")


def placed(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes of a tree's arrays, or of other shapes, that say where the arrays lie."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def tree_bytes(tree: Any) -> int:
    """Bytes of a tree's arrays, or of the arrays its shapes stand for."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
