"""The one thing `data` and `models` share: what a batch holds and how large each part is.

A batch is a dict of arrays. B rows, C one-hot groups, S numbers, T tokens, H x W pixels, V features, M modalities, K classes:

| key              | dtype   | shape       | meaning                                                            |
|------------------|---------|-------------|--------------------------------------------------------------------|
| `tabular_id`     | int16, int32 | B x C  | column of the one-hot block, -1 for a value unseen in training      |
| `tabular_number` | float32 | B x S       | min-max scaled to [0, 1]                                           |
| `text`           | int16, int32 | B x T  | 0 padding, 1 unknown word, 2... words                              |
| `image`          | uint8   | B x H x W x 3 | RGB                                                              |
| `image_features` | float32 | B x V       | standardised vector made by another model                          |
| `present`        | bool    | B x M       | which of `InputSpec.modalities` this row has, in that order        |
| `label`          | int32   | B           | class index                                                        |
| `weight`         | float32 | B           | 1 counts, 0 is padding of the last batch                           |
| `codes`          | float32 | B x M'k     | h_mm of a frozen autoencoder, where one was trained first          |
"""

from dataclasses import dataclass
from typing import Any

TABULAR, TEXT, IMAGE, IMAGE_FEATURES = "tabular", "text", "image", "image_features"
MODALITIES = (TABULAR, TEXT, IMAGE, IMAGE_FEATURES)
"""Canonical order: tabular, text, then the visual modality (pixels or ready-made features)."""

PADDING, UNKNOWN = 0, 1
"""Text ids with a meaning of their own."""

Batch = dict[str, Any]


def id_dtype(count: int) -> str:
    """Of ids below `count`, and -1: half the memory where they fit, so that a million rows of text stay small."""
    return "int16" if count <= 1 << 15 else "int32"


@dataclass(frozen=True)
class InputSpec:
    """Sizes a model is built from. Two folds differ only in `onehot` and `vocabulary`.

    Attributes:
      modalities: the model's modalities in canonical order; the order of `present` and of attention weights.
      classes: label names in the order of the class index.
      onehot: D_c, number of one-hot columns of the tabular block (0 without tabular).
      groups: C, number of one-hot groups (columns of `tabular_id`).
      numbers: S, number of continuous columns; the tabular input has D = onehot + numbers columns.
      tokens: T, text length.
      vocabulary: number of text ids, padding and unknown included.
      image_size: H = W in pixels.
      features: V, length of the ready-made image vector.
    """

    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    onehot: int = 0
    groups: int = 0
    numbers: int = 0
    tokens: int = 0
    vocabulary: int = 0
    image_size: int = 0
    features: int = 0

    @property
    def tabular(self) -> int:
        """D, the width of the tabular input vector."""
        return self.onehot + self.numbers
