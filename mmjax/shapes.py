"""A batch without its numbers: all that `jax.eval_shape` needs to build a module."""

from typing import Any

import jax
import numpy as np

from mmjax.batch import InputSpec


def blank_batch(spec: InputSpec, rows: int, code_width: int = 0) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch of the sizes in `spec` (mmjax/batch.py), constants included: enough to build a module by `eval_shape`.

    Args:
      spec: sizes.
      rows: B.
      code_width: length of h_mm where a frozen autoencoder gives it, else 0.
    """
    sizes: dict[str, tuple[tuple[int, ...], Any]] = {
        "tabular_id": ((spec.groups,), np.int32),
        "tabular_number": ((spec.numbers,), np.float32),
        "text": ((spec.tokens,), np.int32),
        "image": ((spec.image_size, spec.image_size, 3), np.uint8),
        "image_features": ((spec.features,), np.float32),
        "codes": ((code_width,), np.float32),
    }
    owner = {"tabular_id": "tabular", "tabular_number": "tabular", "codes": "codes" if code_width else ""}
    held = (*spec.modalities, "codes")
    batch = {k: jax.ShapeDtypeStruct((rows, *s), d) for k, (s, d) in sizes.items() if owner.get(k, k) in held}
    batch |= {
        "present": jax.ShapeDtypeStruct((rows, len(spec.modalities)), bool),
        "label": jax.ShapeDtypeStruct((rows,), np.int32),
        "weight": jax.ShapeDtypeStruct((rows,), np.float32),
        "class_weight": jax.ShapeDtypeStruct((len(spec.classes),), np.float32),
    }
    if spec.tabular:
        batch["tabular_column_weight"] = jax.ShapeDtypeStruct((spec.tabular,), np.float32)
    return batch
