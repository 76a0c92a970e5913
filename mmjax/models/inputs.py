"""A modality's part of a batch."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Float


def inputs_of(batch: Mapping[str, Any], name: str) -> dict[str, Array]:
    """Arrays of a modality by part: `<name>/<part>` of the batch (mmjax/modalities/base.py)."""
    prefix = f"{name}/"
    return {key.removeprefix(prefix): value for key, value in batch.items() if key.startswith(prefix)}


def presence(batch: dict[str, Any], modalities: tuple[str, ...], name: str) -> Float[Array, "B 1"]:
    """1 where the row has the modality, 0 where it is absent."""
    return batch["present"][:, modalities.index(name), None].astype("float32")
