"""What is measured: the paper's eight rows and its autoencoders, at sizes from a test's to the paper's own."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjax.config import Settings
from mmjax.modalities.base import InputSpec
from mmjax.modalities.shapes import blank_batch

STEPS_PER_EPOCH = 337
"""Of PetFinder: 14,993 rows, four of five folds, a tenth of them for validation, batches of 32."""


@dataclass(frozen=True)
class Size:
    """Sizes of inputs and towers; the defaults are those of the real PetFinder table and of the paper, photos at 64 x 64.

    Attributes:
      rows: rows that lie on the device while steps are timed.
      rest: as in `InputSpec` and `ModelSettings`.
    """

    image: int = 64
    tokens: int = 100
    embed: int = 300
    vocabulary: int = 9531
    onehot: int = 366
    groups: int = 15
    numbers: int = 4
    maps: int = 100
    layers: tuple[int, ...] = (6, 6)
    growth: int = 32
    stem: int = 64
    tabular_hidden: int = 256
    width: int = 128
    hidden: int = 512
    code: int = 64
    batch: int = 32
    rows: int = 1024
    classes: int = 5


SIZES = {
    "tiny": Size(16, 12, 8, 50, 11, 3, 2, 4, (2, 2), 4, 8, 16, 8, 16, 4, 8, 64),
    "small": Size(),
    "paper": Size(image=512, rows=256),
}

_ALL = ("tabular", "text", "image")
ROWS: dict[int, dict[str, Any]] = {
    1: {"modalities": ("tabular",), "fusion": "none"},
    2: {"modalities": ("text",), "fusion": "none"},
    3: {"modalities": ("image",), "fusion": "none"},
    4: {"modalities": _ALL, "fusion": "concatenate"},
    5: {"modalities": _ALL, "fusion": "concatenate"},
    6: {"modalities": _ALL, "fusion": "attention"},
    7: {"modalities": _ALL, "fusion": "attention", "autoencoder": {"kind": "independent"}},
    8: {"modalities": _ALL, "fusion": "attention", "autoencoder": {"kind": "mmae"}},
}
"""`config.model` of the rows of Table 1, as in configs/, but without ml_collections: a bare GPU machine may lack it."""


@dataclass(frozen=True)
class Case:
    """One thing whose training step is timed.

    Attributes:
      name: in the results.
      row: of Table 1.
      task: classifier | autoencoder.
    """

    name: str
    row: int
    task: str = "classifier"

    @property
    def codes(self) -> bool:
        """Whether the classifier reads the codes of a frozen autoencoder."""
        return self.task == "classifier" and self.row in (7, 8)


_IN_ORDER = (
    Case("mmae", 8, "autoencoder"),
    *(Case(f"row{r}", r) for r in (1, 2, 3, 8, 6, 4, 5, 7)),
    Case("ae", 7, "autoencoder"),
)
CASES = {case.name: case for case in _IN_ORDER}
"""The most asked for first: a run that is short of time leaves out the last."""


def make_settings(row: int, size: Size, *, train: dict[str, Any] | None = None, data: dict[str, Any] | None = None) -> Settings:
    """A row's settings at a size; `train` and `data` change their groups."""
    model = ROWS[row] | {
        "width": size.width,
        "tabular": {"hidden": (size.tabular_hidden,)},
        "text": {"embed_dim": size.embed, "maps": size.maps},
        "image": {"layers": size.layers, "growth": size.growth, "stem": size.stem},
        "autoencoder": {"hidden": size.hidden, "code": size.code} | ROWS[row].get("autoencoder", {}),
    }
    sizes = {"image_size": size.image, "text_length": size.tokens, "discretize": row == 5}
    return Settings.from_dict(
        {"model": model, "train": {"batch_size": size.batch} | (train or {}), "data": sizes | (data or {})}
    )


def make_spec(row: int, size: Size) -> InputSpec:
    """Sizes of a row's inputs; row 5 cuts every number into ten one-hot bins."""
    bins = 10 if row == 5 else 0
    names = ROWS[row]["modalities"]
    sizes = {
        "tabular": {
            "onehot": size.onehot + bins * size.numbers,
            "groups": size.groups + (size.numbers if bins else 0),
            "numbers": 0 if bins else size.numbers,
        },
        "text": {"tokens": size.tokens, "vocabulary": size.vocabulary},
        "image": {"side": size.image},
    }
    return InputSpec(names, tuple(map(str, range(size.classes))), {n: n for n in names}, {n: sizes[n] for n in names})


def random_rows(spec: InputSpec, rows: int, *, code_width: int = 0, seed: int = 0) -> dict[str, np.ndarray]:
    """Encoded rows with every modality present (mmjax/modalities/base.py); texts fill 20 to 100 % of their tokens."""
    rng = np.random.default_rng(seed)
    shapes = {k: (v.shape, v.dtype) for k, v in blank_batch(spec, rows, code_width).items()}
    out: dict[str, np.ndarray] = {}
    for name, (shape, dtype) in shapes.items():
        if name == "tabular/id":  # one column of each group's own stretch
            edges = np.linspace(0, spec.sizes["tabular"]["onehot"], shape[1] + 1).astype(int)
            parts = [rng.integers(a, b, rows) for a, b in itertools.pairwise(edges)]
            out[name] = np.stack(parts, axis=1).astype(dtype)
        elif name == "text/word":
            tokens = shape[1]
            filled = rng.integers(max(1, tokens // 5), tokens + 1, (rows, 1))
            ids = rng.integers(1, spec.sizes["text"]["vocabulary"], shape)
            out[name] = np.where(np.arange(tokens) < filled, ids, 0).astype(dtype)
        elif name == "image/pixel":
            out[name] = rng.integers(0, 256, shape, dtype=np.uint8)
        elif name == "present":
            out[name] = np.ones(shape, bool)
        elif name == "label":
            out[name] = rng.integers(0, len(spec.classes), rows).astype(dtype)
        elif name in ("tabular/number", "codes"):
            out[name] = rng.random(shape, np.float32)
    return out
