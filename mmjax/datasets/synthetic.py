"""The embedded data set: parcels whose route hides in a table, a note and a photo, with every best accuracy known.

Each part m (table, note, photo) carries a latent z_m in {0..5} that names one of the six pairs of the four classes. The class y
is uniform, and given y the latents are independent, z_m naming a pair that holds y with odds exp(kappa_m):

  p(z_m | y) = exp(kappa_m s[z_m, y]) / sum_z exp(kappa_m s[z, y]),   s[z, y] = 1 if y is in pair z, else 0.

Every class lies in three of the six pairs, so the denominator is the same for all y and Bayes' rule gives an additive law,

  p(y | z_S) = softmax_y( sum over the present m in S of kappa_m s[z_m, y] ),

for every subset S of the parts: one part leaves two classes, two whose pairs cross decide between them. The note and
the photo are absent with a known probability, independently of all else. `ceiling` is the exact best accuracy for a subset.
"""

import csv
import io
import itertools
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from mmjax.datasets.synthetic_media import draw_note, draw_photo
from mmjax.errors import DataError
from mmjax.io.atomic import folder_lock, sync_folder, write_error

CLASSES = ("north", "east", "south", "west")
NAME = "synthetic"
PARTS = ("table", "note", "photo")
PAIRS = tuple(itertools.combinations(range(len(CLASSES)), 2))
STRENGTH = {"table": 3.2, "note": 2.6, "photo": 2.2}
"""kappa: log-odds that a latent's pair holds the class."""
ABSENT = {"table": 0.0, "note": 0.05, "photo": 0.05}
"""Probability that a row lacks the part."""

TABLE, PHOTOS, SCHEMA, MARKER = "parcels.csv", "photos", "schema.toml", "synthetic.json"
_COLUMNS = ("parcel", "sender", "material", "packing", "mass", "age", "note", "photo", "route")
_FAMILIES = (("oak", "pine", "cork"), ("iron", "brass", "tin"), ("wool", "linen", "silk"))
_PACKING = ("box", "tube", "bag", "crate")
_VERSION = 1

_SCHEMA = """\
id = "parcel"
label = "route"
group = "sender"
categorical = ["material", "packing"]
continuous = ["mass", "age"]
text = "note"
image = "photo"
image_dir = "photos"
classes = ["north", "east", "south", "west"]
"""


@dataclass(frozen=True)
class Latents:
    """What the files hide.

    Attributes:
      label: N, class index of each row.
      latent: N x M, pair named by each part, in the order of `PARTS`; -1 where the part is absent.
    """

    label: NDArray[np.int64]
    latent: NDArray[np.int64]


def _member() -> Float[np.ndarray, "Z K"]:
    return np.array([[float(c in pair) for c in range(len(CLASSES))] for pair in PAIRS])


def likelihood(part: str) -> Float[np.ndarray, "K Z1"]:
    """p(z_m | y), one row a class; the last column is 'absent'."""
    odds_KxZ = np.exp(STRENGTH[part] * _member().T)
    seen_KxZ = (1 - ABSENT[part]) * odds_KxZ / odds_KxZ.sum(axis=1, keepdims=True)
    return np.concatenate([seen_KxZ, np.full((len(CLASSES), 1), ABSENT[part])], axis=1)


def ceiling(parts: Collection[str]) -> float:
    """Best possible accuracy of a model that sees these parts: sum over z_S of max_y p(y, z_S), by enumeration.

    Raises:
      DataError: a part the synthetic data do not have.
    """
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise DataError(f"synthetic data have no part {unknown[0]!r}; they have {', '.join(PARTS)}.")
    joint_KxZ = np.full((len(CLASSES), 1), 1 / len(CLASSES))
    for part in PARTS:
        if part in parts:
            joint_KxZ = (joint_KxZ[:, :, None] * likelihood(part)[:, None, :]).reshape(len(CLASSES), -1)
    return float(joint_KxZ.max(axis=0).sum())


def ceiling_of(columns: Collection[str]) -> float:
    """`ceiling` of a model that reads these columns."""
    part_of = {"material": "table", "mass": "table", "note": "note", "photo": "photo"}
    return ceiling({part_of[c] for c in columns if c in part_of})


def ceilings() -> dict[str, float]:
    """`ceiling` of every subset that is not empty, by its parts joined with '+', such as 'table+note'."""
    subsets = (s for size in (1, 2, 3) for s in itertools.combinations(PARTS, size))
    return {"+".join(subset): ceiling(subset) for subset in subsets}


def posterior(latent_NxM: Int[np.ndarray, "N M"]) -> Float[np.ndarray, "N K"]:
    """p(y | z) of each row; -1 marks an absent part, and adds nothing."""
    logits_NxK = np.zeros((len(latent_NxM), len(CLASSES)))
    for m, part in enumerate(PARTS):
        z_N = latent_NxM[:, m]
        logits_NxK += STRENGTH[part] * np.where(z_N[:, None] >= 0, _member()[z_N], 0)
    odds_NxK = np.exp(logits_NxK)
    return odds_NxK / odds_NxK.sum(axis=1, keepdims=True)


def draw_latents(rows: int, seed: int) -> Latents:
    """Classes and latents of the data set `write_synthetic` writes with the same arguments."""
    rng = np.random.default_rng([seed, 0])
    label_N = rng.integers(len(CLASSES), size=rows)
    columns = []
    for part in PARTS:
        cumulative_NxZ = np.cumsum(likelihood(part), axis=1)[label_N]
        z_N = (rng.random(rows)[:, None] >= cumulative_NxZ[:, :-1]).sum(axis=1)
        columns.append(np.where(z_N == len(PAIRS), -1, z_N))
    return Latents(label_N, np.stack(columns, axis=1))


def folder_name(*, rows: int, seed: int, image_size: int = 32) -> str:
    """Folder name that tells two synthetic sets apart."""
    return f"synthetic-v{_VERSION}-{rows}-{seed}-{image_size}"


def write_synthetic(folder: Path, *, rows: int, seed: int, image_size: int = 32) -> None:
    """Writes table, photos and schema into `folder`, whole or not at all; a folder that has them already is left alone.

    The same arguments give the same bytes. The files are drawn beside `folder`, then renamed: a kill leaves no half set.

    Args:
      folder: absent, empty, or holding the same synthetic set.
      rows: N, at least 1.
      seed: not negative.
      image_size: side of the photos in pixels, at least 8.

    Raises:
      DataError: an argument is out of range, or `folder` holds something else.
      WorkdirError: the folder cannot be written.
    """
    if rows < 1 or seed < 0 or image_size < 8:
        raise DataError(f"synthetic data need rows >= 1, seed >= 0, image size >= 8; got {rows}, {seed}, {image_size}.")
    recipe = {"version": _VERSION, "rows": rows, "seed": seed, "image_size": image_size}
    folder = folder.absolute()
    if _holds(folder, recipe):
        return
    with folder_lock(folder.with_name(f".{folder.name}.lock")):
        if _holds(folder, recipe):  # another process wrote it while this one waited
            return
        partial = folder.with_name(f".{folder.name}.partial")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            (partial / PHOTOS).mkdir(parents=True)
            _write_files(partial, rows, seed, image_size)
            (partial / MARKER).write_text(json.dumps(recipe), encoding="utf-8")
            sync_folder(partial)
            partial.replace(folder)
            sync_folder(folder.parent)
        except OSError as error:
            raise write_error(folder, error) from error


def _holds(folder: Path, recipe: dict[str, int]) -> bool:
    marker = folder / MARKER
    if not marker.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} is not empty and holds no synthetic data; name another folder for it.")
        return False
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if found != recipe:
        raise DataError(f"{folder} holds synthetic data made with {found}, not {recipe}; name another folder or delete it.")
    return True


def _write_files(folder: Path, rows: int, seed: int, image_size: int) -> None:
    latents = draw_latents(rows, seed)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row, (label, (z_tabular, z_text, z_image)) in enumerate(zip(latents.label, latents.latent, strict=True)):
        # One stream a row and part: a change to one part leaves the others as they were.
        name = f"P{row:06d}"
        note = draw_note(int(z_text), np.random.default_rng([seed, 2, row])) if z_text >= 0 else ""
        photo = f"{name}.jpg" if z_image >= 0 else ""
        if photo:
            jpeg = draw_photo(int(z_image), np.random.default_rng([seed, 3, row]), image_size)
            (folder / PHOTOS / photo).write_bytes(jpeg)
        cells = _cells(int(z_tabular), np.random.default_rng([seed, 1, row]), senders=max(rows // 5, 1))
        writer.writerow((name, *cells, note, photo, CLASSES[label]))
    (folder / TABLE).write_text(table.getvalue(), encoding="utf-8")
    (folder / SCHEMA).write_text(_SCHEMA, encoding="utf-8")


def _cells(z: int, rng: np.random.Generator, senders: int) -> tuple[str, str, str, str, str]:
    """Sender, material, packing, mass, age: the pair is 2 x (family of the material) + (heavy), the rest is without meaning."""
    material = _FAMILIES[z // 2][rng.integers(3)]
    mass = rng.uniform(6, 10) if z % 2 else rng.uniform(0.5, 4.5)
    packing = _PACKING[rng.integers(4)] if rng.random() < 0.998 else f"custom {rng.integers(100)}"
    if rng.random() < 0.04:
        packing = ""
    age = "" if rng.random() < 0.06 else f"{rng.exponential(12):.1f}"
    return f"S{rng.integers(senders):05d}", material, packing, f"{mass:.2f}", age
