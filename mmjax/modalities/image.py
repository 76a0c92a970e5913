"""A photo: found by a column or a pattern, decoded once into a store, read by a DenseNet, reconstructed pixel by pixel."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt64
from numpy.typing import NDArray

from mmjax.config_rules import choice, movable_path, positive
from mmjax.data.arrays import Allocate, in_memory
from mmjax.data.data_report import DataReport
from mmjax.data.image_files import find_photos
from mmjax.data.image_store import ImageStore, open_image_store
from mmjax.errors import DataError
from mmjax.modalities.base import Columns, Encoder, Modality, PathOption, Reader, Sizes, TableContext, Target, Tower
from mmjax.models.densenet import DenseNet, pixels
from mmjax.ops import on_cpu
from mmjax.registry import register_modality
from mmjax.schema import SchemaKey, columns_of


@register_modality("image")
class Image(Modality):
    """One photo a row, from a column of paths or a pattern such as "{PetID}-1.jpg"."""

    in_paper = True
    schema_keys = (
        SchemaKey("image"),
        SchemaKey("image_pattern", holds="pattern", instead_of="image"),
        SchemaKey("image_dir", holds="value"),  # relative to the root; {table} is the table's name without its ending
    )
    path_options = (PathOption("images", "images", "folder of photos"),)
    learns_sizes = False
    shared_parts = ("pixel",)
    pictures = ("pixel",)
    convolves = True
    scans = False

    @dataclass(frozen=True)
    class DataSettings:
        """Joins `config.data`."""

        images: str = movable_path()  # folder of photos, overrides the schema's image_dir
        image_size: int = positive(512)  # paper: 512 x 512

    @dataclass(frozen=True)
    class ModelSettings:
        """`config.model.image`: DenseNet-BC (Huang et al. 2017)."""

        growth: int = positive(32)  # our reading
        layers: tuple[int, ...] = (6, 6)  # paper: two blocks with the same settings; our reading: 6 layers each
        compression: float = 0.5  # our reading
        stem: int = positive(64)  # our reading: 2 x growth
        momentum: float = 0.99  # our reading: Keras' BatchNorm; 0.9 follows fast-moving weights better in short trainings
        fast: str = choice("auto", "on", "off")  # the CPU formulation of the same layers

    @property
    def reads(self) -> tuple[str, ...]:
        """Its column, or those of its pattern."""
        return columns_of(self.column) or (self.column,)

    def folder(self, source: TableContext) -> Path:
        """Where photos lie."""
        if self.data.images:
            return Path(self.data.images) if Path(self.data.images).is_dir() else source.root / self.data.images
        folder = next(iter(self.schema["image_dir"]), "").replace("{table}", Path(source.path).stem)
        return source.root / folder

    def lacking(self, header: Sequence[str], source: TableContext) -> str:
        """Its columns and its folder may be absent."""
        folder = self.folder(source)
        missing = "" if folder.is_dir() else f"there is no folder {folder} of photos (name one with --images)"
        return super().lacking(header, source) or missing

    def photo(self, cells: Mapping[str, str], source: TableContext) -> Path | None:
        """Its file, found as training finds it."""
        (name,) = _names(self.column, {column: [cell] for column, cell in cells.items()})
        found = find_photos([name], self.folder(source), 1, DataReport())[0]
        return found.path if found.digest else None

    def reader(self, source: TableContext) -> "ImageReader":
        """Collects paths and opens the photos at the end."""
        folder = self.folder(source)
        if not folder.is_dir():
            raise DataError(
                f"{folder}: there is no such folder of photos; set config.data.images, use ready-made vectors (the schema's "
                f"key vectors, :petfinder_features), or drop {self.name!r} from config.model.modalities."
            )
        if source.log:
            source.log(f"photos: {folder} at {self.data.image_size} x {self.data.image_size}")
        return ImageReader(self.column, folder, self.data.image_size, source)

    def fit(self, columns: "ImageColumns", rows: NDArray[np.integer]) -> "ImageEncoder":
        """Nothing is learnt but the size."""
        del rows
        return ImageEncoder(columns.store.size)

    @classmethod
    def load_encoder(cls, values: dict[str, Any]) -> "ImageEncoder":
        """Inverse of `ImageEncoder.to_dict`."""
        return ImageEncoder(int(values["side"]))

    @staticmethod
    def arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
        """`pixel`: RGB."""
        return {"pixel": ((sizes["side"], sizes["side"], 3), np.uint8)}

    @staticmethod
    def tower(sizes: Sizes, model: Any, *, dtype: Any, axis_name: str | None) -> Tower:
        """DenseNet (paper, section 4.1, #3)."""
        del sizes
        image = model.image
        module = DenseNet(
            growth=image.growth,
            layers=image.layers,
            compression=image.compression,
            stem=image.stem,
            width=model.width,
            fast={"on": True, "off": False, "auto": on_cpu()}[image.fast],
            dtype=dtype,
            axis_name=axis_name,
            momentum=image.momentum,
            parent=None,
        )
        return Tower(module, lambda inputs, _: (inputs["pixel"], {}))

    @staticmethod
    def target(sizes: Sizes, model: Any) -> Target:
        """Pixels in [0, 1]."""
        del model

        def flatten(inputs: Mapping[str, Any], _: Any, dtype: Any) -> Any:
            x = pixels(inputs["pixel"], dtype)
            return x.reshape(len(x), -1)

        return Target(sizes["side"] ** 2 * 3, flatten)

    @classmethod
    def assumed_sizes(cls, data: Any) -> dict[str, int]:
        """As the config says."""
        return {"side": data.image_size}

    @classmethod
    def cheaper(cls, data: Any) -> dict[str, Any]:
        """Smaller photos: time goes with their area."""
        return {"data.image_size": 64 if data.image_size > 64 else 32} if data.image_size > 32 else {}

    @staticmethod
    def scratch_bytes(data: Any, model: Any, batch_size: int) -> int:
        """Of each map at each place the normalised value, and of a dense layer's bottleneck and new maps (9 growth in all).

        Eight bytes a value, since its normalisation and ReLU keep something, too.
        """
        image, places = model.image, (data.image_size // 4) ** 2
        maps = image.stem
        values = 8 * places * maps  # the stem's output, before it is pooled, has four times the places; twice
        for layers in image.layers:
            values += places * sum(maps + (layer + 9) * image.growth for layer in range(layers))
            maps, places = int((maps + layers * image.growth) * image.compression), places // 4
        return 8 * batch_size * values


@dataclass(frozen=True)
class ImageColumns(Columns):
    """All rows' photos, and the column or pattern they are from."""

    tells_absent = True

    column: str
    store: ImageStore

    @property
    def present(self) -> Bool[np.ndarray, " N"]:
        """Rows whose photo can be read."""
        return self.store.present

    def part(self, rows: slice) -> "ImageColumns":
        """Consecutive rows."""
        store = self.store
        return replace(self, store=replace(store, pixels=store.pixels[rows], present=store.present[rows]))

    def fingerprints(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """Of the files' content."""
        if self.store.digest_N is not None:
            yield f"photos ({self.column})", self.store.digest_N

    def copies(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """Photos of the same bytes."""
        if self.store.digest_N is not None:
            yield "photo", self.store.digest_N


class ImageReader(Reader):
    """Paths as the table has them, or made from the pattern; checked where photos are opened."""

    def __init__(self, column: str, folder: Path, size: int, source: TableContext):
        self._column, self._folder, self._size, self._source = column, folder, size, source
        self._names: list[str] = []

    def take(self, columns: Mapping[str, Sequence[str]], first: int) -> None:
        """Adds a chunk."""
        del first
        self._names += _names(self._column, columns)

    def finish(self, ids: Sequence[str]) -> ImageColumns:
        """Decodes what no run before has decoded."""
        del ids
        source = self._source
        for row in (i for i, name in enumerate(self._names) if not name):
            place = {"file": source.path, "row": row, "column": self._column}
            source.report.add("image_absent", **place, action="kept; it names no photo", refuse=False)
        store = open_image_store(
            self._names,
            self._folder,
            self._size,
            source.cache,
            source.report,
            column=self._column,
            required=not source.predicting,  # rows to predict may all lack a photo
            progress=source.progress,
        )
        return ImageColumns(self._column, store)


def _names(column: str, columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Paths of a column, or made from a pattern."""
    parts = columns_of(column)
    if not parts:
        return [v.strip() for v in columns[column]]
    pieces = re.split(r"\{[^{}]*\}", column)
    rows = zip(*(columns[name] for name in parts), strict=True)
    return ["".join(p + v.strip() for p, v in zip(pieces, (*row, ""), strict=True)) for row in rows]


@dataclass(frozen=True)
class ImageEncoder(Encoder):
    """Pixels as they are; `side` is their height and width."""

    side: int

    @property
    def sizes(self) -> dict[str, int]:
        """side: S in pixels."""
        return {"side": self.side}

    def transform(
        self, columns: ImageColumns | None, rows: int, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """`pixel`: the store's memory map itself.

        Raises:
          DataError: the store has photos of another size than in training.
        """
        del allocate
        if columns is None:  # a view of one zero: no memory, however many rows
            return {"pixel": np.broadcast_to(np.zeros((), np.uint8), (rows, self.side, self.side, 3))}, np.zeros(rows, bool)
        if columns.store.size != self.side:
            found = columns.store.size
            raise DataError(f"photos are stored at {found} px, training had {self.side}; set data.image_size={self.side}.")
        return {"pixel": columns.store.pixels}, columns.present
