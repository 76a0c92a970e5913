"""What in a photo speaks for a class: integrated gradients (Sundararajan et al. 2017), and occlusion by a grey square."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image

from mmjax.explain.answers import FoldAnswers

_STEPS, _GREY = 32, 128
"""Pictures between grey and the photo, and the grey."""
_SQUARE, _STRIDE = 4, 8
"""The grey square is a quarter of the side, and moves by an eighth."""
_SHOWN = 256
"""Side of an overlay in pixels."""


@dataclass(frozen=True)
class Picture:
    """A photo explained.

    Attributes:
      modality: whose photo it is.
      pixels: uint8 S x S x 3, as the model reads it.
      gradients: S x S, integrated gradients summed over colours: they add up to the probability minus that of a grey picture.
      occlusion: S x S, by how much the probability falls where a grey square covers a place.
    """

    modality: str
    pixels: np.ndarray
    gradients: Float[np.ndarray, "S S"]
    occlusion: Float[np.ndarray, "S S"]

    def overlay(self, values: Float[np.ndarray, "S S"]) -> bytes:
        """A PNG: the photo in grey, green where `values` speak for the class, red where they speak against it."""
        strength = np.clip(values / max(float(np.quantile(np.abs(values), 0.99)), 1e-12), -1, 1)
        grey = self.pixels.mean(axis=2, keepdims=True) * 0.6 + 90
        colour = np.where(strength[..., None] > 0, np.array([20, 160, 60]), np.array([210, 40, 40]))
        alpha = 0.75 * np.abs(strength)[..., None]
        shown = np.clip((1 - alpha) * grey + alpha * colour, 0, 255).astype(np.uint8)
        return png(shown)


def png(pixels: np.ndarray) -> bytes:
    """A picture as a file, enlarged to be looked at."""
    out = io.BytesIO()
    Image.fromarray(pixels).resize((_SHOWN, _SHOWN), Image.Resampling.NEAREST).save(out, "PNG", optimize=True)
    return out.getvalue()


def data_uri(content: bytes) -> str:
    """A PNG as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def explain_picture(answers: Sequence[FoldAnswers], modality: str, name: str, class_index: int) -> Picture:
    """Explains the photo of the first row, the mean over folds.

    Args:
      answers: of each fold, whose first row it is.
      modality: whose photo.
      name: of its array, such as `image/pixel`.
      class_index: k.
    """
    pixels = np.asarray(answers[0].arrays[name][0])
    gradients = np.mean([_integrated_gradients(fold, name, class_index) for fold in answers], axis=0)
    occlusion = np.mean([_occlusion(fold, name, class_index) for fold in answers], axis=0)
    return Picture(modality, pixels, gradients, occlusion)


def _integrated_gradients(answers: FoldAnswers, name: str, class_index: int) -> Float[np.ndarray, "S S"]:
    photo = np.asarray(answers.arrays[name][0], np.float32)
    others = {k: np.repeat(v[:1], _STEPS, axis=0) for k, v in answers.arrays.items() if k != name}
    share = ((np.arange(_STEPS) + 0.5) / _STEPS).astype(np.float32)[:, None, None, None]  # the middle of each step
    between = _GREY + share * (photo - _GREY)
    gradient = answers.gradient(name, between, others, class_index)
    return ((photo - _GREY) * gradient.mean(axis=0)).sum(axis=2)


def _occlusion(answers: FoldAnswers, name: str, class_index: int) -> Float[np.ndarray, "S S"]:
    photo = np.asarray(answers.arrays[name][0])
    side = photo.shape[0]
    square, stride = max(1, side // _SQUARE), max(1, side // _STRIDE)
    places = [(y, x) for y in range(0, side - square + 1, stride) for x in range(0, side - square + 1, stride)]
    covered = np.repeat(photo[None], len(places) + 1, axis=0)
    for picture, (y, x) in zip(covered[1:], places, strict=True):
        picture[y : y + square, x : x + square] = _GREY
    others = {k: np.repeat(v[:1], len(covered), axis=0) for k, v in answers.arrays.items() if k != name}
    p_n = answers.probabilities(others | {name: covered})[:, class_index]
    total, count = np.zeros((side, side)), np.zeros((side, side))
    for p, (y, x) in zip(p_n[1:], places, strict=True):
        total[y : y + square, x : x + square] += p_n[0] - p
        count[y : y + square, x : x + square] += 1
    return total / np.maximum(count, 1)
