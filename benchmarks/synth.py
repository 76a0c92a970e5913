"""A table shaped like PetFinder's (15 categorical and 4 continuous columns, a text, a photo) of any length, from a seed.

Labels are drawn from the first columns, so that training has something to find; nothing else of it is meant.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from mmjax.schema import Schema

LEVELS = (2, 160, 100, 3, 7, 7, 6, 4, 3, 3, 3, 3, 3, 14, 9)
"""Values of each categorical column: about as many one-hot columns as the real table has."""
NUMBERS = 4
TABLE, PHOTOS = "rows.csv", "photos"
_CHUNK = 50_000


def schema(*, text: bool = True, photos: bool = True) -> Schema:
    """Roles of the columns."""
    return Schema.from_dict(
        {
            "id": "id",
            "label": "label",
            "categorical": [f"c{i}" for i in range(len(LEVELS))],
            "continuous": [f"n{i}" for i in range(NUMBERS)],
            **({"text": "text"} if text else {}),
            **({"image": "photo", "image_dir": PHOTOS} if photos else {}),
            "classes": list("01234"),
        }
    )


def write_data(
    folder: Path, rows: int, *, tokens: int, vocabulary: int = 10_000, photo: tuple[int, int] | None = None, seed: int = 0
) -> Path:
    """Writes rows.csv, schema.toml and, where `photo` gives width and height, one JPEG a row; does nothing where they are.

    Args:
      folder: made if absent.
      rows: of the table.
      tokens: longest text; a fifth of it is the shortest, 0 writes none.
      vocabulary: words of the texts, drawn by Zipf's law.
      photo: pixels of a photo.
      seed: of everything.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "schema.toml").exists():
        return folder
    words = np.array([f"w{i}" for i in range(vocabulary)], dtype=object)
    odds = 1.0 / np.arange(1, vocabulary + 1)
    cumulative = np.cumsum(odds / odds.sum())
    with (folder / TABLE).open("w", encoding="utf-8") as out:
        names = ["id", *(f"c{i}" for i in range(len(LEVELS))), *(f"n{i}" for i in range(NUMBERS)), "text", "photo", "label"]
        out.write(",".join(names) + "\n")
        for first in range(0, rows, _CHUNK):
            rng = np.random.default_rng([seed, first])
            out.writelines(_lines(rng, first, min(_CHUNK, rows - first), tokens, words, cumulative, photos=photo is not None))
    if photo is not None:
        write_photos(folder / PHOTOS, rows, *photo, seed=seed)
    (folder / "schema.toml").write_text(schema(text=tokens > 0, photos=photo is not None).dumps(), encoding="utf-8")
    return folder


def _lines(
    rng: np.random.Generator, first: int, count: int, tokens: int, words: np.ndarray, cumulative: np.ndarray, *, photos: bool
) -> list[str]:
    columns = [np.minimum(rng.geometric(min(0.5, 4 / n), count) - 1, n - 1) for n in LEVELS]
    numbers = rng.gamma(2.0, 10.0, (count, NUMBERS)).round(1)
    label = (columns[0] + columns[3] + (numbers[:, 0] > 17) + rng.integers(0, 3, count)) % 5
    length = rng.integers(max(1, tokens // 5), tokens + 1, count) if tokens else np.zeros(count, int)
    drawn = words[np.minimum(np.searchsorted(cumulative, rng.random(int(length.sum()))), len(words) - 1)]
    ends = np.cumsum(length)
    table = np.stack(columns, axis=1).tolist()
    lines = []
    for i, row in enumerate(table):
        text = " ".join(drawn[ends[i] - length[i] : ends[i]])
        name = f"{first + i}.jpg" if photos else ""
        cells = [str(first + i), *map(str, row), *map(str, numbers[i].tolist()), text, name, str(label[i])]
        lines.append(",".join(cells) + "\n")
    return lines


def write_photos(folder: Path, count: int, width: int, height: int, *, seed: int = 0) -> None:
    """JPEGs of soft shapes with grain, about as costly to decode as a photo of that size."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        rng = np.random.default_rng([seed, i, 7])
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        grain = rng.integers(-12, 13, (height, width, 1), dtype=np.int16)
        pixels = np.clip(np.asarray(coarse, np.int16) + grain, 0, 255).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=88)
        (folder / f"{i}.jpg").write_bytes(out.getvalue())
