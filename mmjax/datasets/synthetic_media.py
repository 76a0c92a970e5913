"""Draws the synthetic data's notes and photos: the latent is plain to see, all else is noise."""

import io

import numpy as np
from jaxtyping import Float
from PIL import Image

_TOPICS = (
    "rose tulip seed spade hedge lawn compost greenhouse",
    "kettle oven spoon recipe flour butter saucepan apron",
    "violin drum melody chorus trumpet rhythm piano concert",
    "harbour sail anchor tide lighthouse herring rope captain",
    "hammer chisel lathe bolt wrench solder drill workbench",
    "school chalk lesson pupil pencil exam library teacher",
)
_FILLER = (
    "the a of with and for this that was is very quite please handle keep dry old new some from my our to be sent by "
    "before after monday week thanks returned small large fragile careful unknown second first found near door"
)
TOPICS = tuple(tuple(words.split()) for words in _TOPICS)
FILLER = tuple(_FILLER.split())

_COLOURS = ((215, 45, 40), (45, 180, 60), (50, 80, 220), (230, 205, 40), (200, 60, 200), (50, 200, 210))
"""One colour and one figure a latent."""


def draw_note(z: int, rng: np.random.Generator) -> str:
    """5 to 14 words, two to four of them from the latent's topic, as a sentence."""
    length = int(rng.integers(5, 15))
    words = [FILLER[i] for i in rng.integers(len(FILLER), size=length)]
    for place in rng.choice(length, size=int(rng.integers(2, 5)), replace=False):
        words[place] = TOPICS[z][rng.integers(len(TOPICS[z]))]
    comma = int(rng.integers(length))
    words[comma] += "," if comma < length - 1 else "."
    return " ".join(words).capitalize()


def draw_photo(z: int, rng: np.random.Generator, size: int) -> bytes:
    """JPEG, size x size: the latent's figure in its colour, of random place and extent, on a grey noisy background."""
    y_HxW, x_HxW = np.mgrid[0:size, 0:size] / size
    radius = rng.uniform(0.2, 0.32)
    cy, cx = rng.uniform(radius, 1 - radius, size=2)
    inside_HxW = _figure(z, (y_HxW - cy) / radius, (x_HxW - cx) / radius)
    grey = rng.uniform(60, 200)
    slope_y, slope_x = rng.uniform(-40, 40, size=2)
    ground_HxW = grey + slope_y * (y_HxW - 0.5) + slope_x * (x_HxW - 0.5)
    colour_3 = np.asarray(_COLOURS[z]) + rng.normal(0, 12, size=3)
    pixels_HxWx3 = np.where(inside_HxW[..., None], colour_3, ground_HxW[..., None]) + rng.normal(0, 8, size=(size, size, 3))
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels_HxWx3, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def _figure(z: int, v_HxW: Float[np.ndarray, "H W"], u_HxW: Float[np.ndarray, "H W"]) -> np.ndarray:
    """Which pixels the figure covers; v and u are 0 at its centre and 1 at its edge."""
    square_HxW = np.maximum(abs(u_HxW), abs(v_HxW)) <= 1
    circle_HxW = u_HxW**2 + v_HxW**2 <= 1
    figures = (
        circle_HxW,
        square_HxW,
        square_HxW & (2 * abs(u_HxW) <= 1 + v_HxW),  # triangle
        square_HxW & (np.minimum(abs(u_HxW), abs(v_HxW)) <= 0.35),  # cross
        circle_HxW & (u_HxW**2 + v_HxW**2 >= 0.2),  # ring
        square_HxW & (abs(v_HxW) <= 0.5),  # bar
    )
    return figures[z]
