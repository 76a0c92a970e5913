"""A data set by name: which files it is made of, read into one object."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from platformdirs import user_cache_dir

from mmjax.batch import IMAGE, IMAGE_FEATURES, MODALITIES, TABULAR, TEXT
from mmjax.config import DataSettings
from mmjax.data.data_report import DataReport
from mmjax.data.image_store import ImageStore, open_image_store
from mmjax.data.sources import Source
from mmjax.datasets.synthetic import SCHEMA as PLANTED_SCHEMA
from mmjax.datasets.synthetic import TABLE as PLANTED_TABLE
from mmjax.datasets.synthetic import planted_name, write_planted
from mmjax.datasets.table import Table, read_table
from mmjax.errors import ConfigError, DataError, SchemaError
from mmjax.modalities.vectors import load_image_features
from mmjax.schema import Schema

SCHEMAS = Path(__file__).resolve().parents[1] / "configs" / "schemas"
"""Schema files that ship with the package."""

Say = Callable[[str], None]


@dataclass
class Dataset:
    """A table with its photos and image vectors.

    Attributes:
      name: planted | petfinder | fashion | table.
      schema: which column is what.
      table: integer columns.
      features: N x V image vectors, or None.
      features_present: N, or None.
      image_store: photos of the wanted size, or None.
      report: what was wrong.
      usable_N: rows that may be in folds; None: all.
    """

    name: str
    schema: Schema
    table: Table
    features: Float[np.ndarray, "N V"] | None
    features_present: Bool[np.ndarray, " N"] | None
    image_store: ImageStore | None
    report: DataReport
    usable_N: Bool[np.ndarray, " N"] | None = None

    @property
    def usable(self) -> Bool[np.ndarray, " N"]:
        """`usable_N`, or all rows."""
        return np.ones(len(self.table.ids), bool) if self.usable_N is None else self.usable_N

    @property
    def label(self) -> Int[np.ndarray, " N"]:
        """Class indices; -1 where missing, everywhere without a label column."""
        return self.table.label if self.table.label is not None else np.full(len(self.table.ids), -1, np.int32)

    @property
    def group(self) -> Int[np.ndarray, " N"] | None:
        """Group numbers, where the folds are grouped."""
        return self.table.group

    def present(self, modality: str) -> Bool[np.ndarray, " N"]:
        """Which rows have a modality."""
        rows = len(self.table.ids)
        if modality == TEXT:
            return np.asarray(self.table.words[:, 0] > 0) if self.table.words.shape[1] else np.zeros(rows, bool)
        if modality == IMAGE:
            return self.image_store.present if self.image_store is not None else np.zeros(rows, bool)
        if modality == IMAGE_FEATURES:
            return self.features_present if self.features_present is not None else np.zeros(rows, bool)
        assert modality == TABULAR
        return np.ones(rows, bool)


@dataclass(frozen=True)
class Files:
    """Where a data set's parts lie."""

    table: Source
    schema: Schema
    photos: Path
    features: Path


def cache_dir(data: DataSettings) -> Path:
    """Folder of photo stores, spilled tables and planted data."""
    return Path(data.cache) if data.cache else Path(user_cache_dir("mmjax"))


def open_dataset(
    data: DataSettings,
    modalities: Sequence[str],
    *,
    group: str = "",
    require_label: bool = True,
    report: DataReport | None = None,
    table: Source | None = None,
    images: str | Path | None = None,
    classes: Sequence[str] = (),
    schema: Schema | None = None,
    progress: Callable[[int, int], None] | None = None,
    say: Say | None = None,
) -> Dataset:
    """Reads what the modalities need.

    Args:
      data: `config.data`.
      modalities: those of the model.
      group: column of groups, "schema" for the schema's own, '' for none.
      require_label: a label column must be there.
      report: told of every problem.
      table: another than the data set's (predict, evaluate): a file or a DataFrame.
      images: another folder of photos.
      classes: known classes, for another table.
      schema: a saved schema instead of the data set's.
      progress: called with (photos done, photos in all).
      say: prints a line.

    Raises:
      ConfigError, SchemaError, DataError: what is missing and what to do.
    """
    report = report if report is not None else DataReport(data.strict)
    if data.rows_with not in ("", *MODALITIES):
        raise ConfigError(
            f"config.data.rows_with is {data.rows_with!r}; use one of: {', '.join(MODALITIES)}, or leave it empty."
        )
    wanted = {*modalities, data.rows_with}
    files = find_files(data, schema, table)
    if require_label and not files.schema.label and table is None:
        raise SchemaError(f'{data.schema or "the schema"}: names no label; add label = "COLUMN", the column to predict.')
    photos = Path(images) if images else files.photos
    if group == "schema":
        group = files.schema.group
        if not group:
            raise ConfigError("config.cv.group is 'schema' but the schema names no group column; name one, or a column.")
    columns = read_table(
        files.table,
        files.schema,
        text_length=data.text_length,
        report=report,
        classes=classes,
        require_label=require_label,
        cache_dir=cache_dir(data) / "tables",
        max_rows=data.max_rows,
        group=group,
    )
    dataset = Dataset(data.name, files.schema, columns, None, None, None, report)
    if IMAGE in wanted:
        required = IMAGE in modalities and table is None  # rows to predict may all lack a photo
        dataset.image_store = _open_photos(data, files.schema, columns, photos, report, progress, say, required=required)
    if IMAGE_FEATURES in wanted:
        if not files.features.is_file():
            raise DataError(f"{files.features}: there are no image features; set config.data.image_features to the .npz file.")
        dataset.features, dataset.features_present = load_image_features(files.features, columns.ids.tolist(), report)
    if data.rows_with:
        dataset.usable_N = dataset.present(data.rows_with)
        left_out = int(np.sum(~dataset.usable_N))
        if left_out == len(columns):
            raise DataError(
                f"{columns.path}: no row has what config.data.rows_with={data.rows_with} asks for; check its files."
            )
        if say and left_out:
            say(f"{left_out} of {len(columns)} rows are left out: config.data.rows_with={data.rows_with}.")
    return dataset


def _open_photos(
    data: DataSettings,
    schema: Schema,
    table: Table,
    photos: Path,
    report: DataReport,
    progress: Callable[[int, int], None] | None,
    say: Say | None,
    *,
    required: bool,
) -> ImageStore:
    if not schema.image and not schema.image_pattern:
        raise DataError(
            "the model reads photos but the schema names neither image nor image_pattern; name one, or drop 'image'."
        )
    if not photos.is_dir():
        raise DataError(
            f"{photos}: there is no such folder of photos; set config.data.images, use image_features (:petfinder_features), "
            "or drop 'image' from config.model.modalities."
        )
    if say:
        say(f"photos: {photos} at {data.image_size} x {data.image_size}")
    column = schema.image or schema.image_pattern
    return open_image_store(
        table.image.tolist(),
        photos,
        data.image_size,
        cache_dir(data),
        report,
        column=column,
        required=required,
        progress=progress,
    )


def find_files(data: DataSettings, schema: Schema | None, table: Source | None) -> Files:
    """Where a data set's parts lie; `schema` and `table` stand in for its own.

    Raises:
      ConfigError, DataError: what is missing and what to do.
    """
    if data.name == "planted":
        return _planted(data, schema, table)
    if not data.root and not (data.name == "table" and (data.table or table is not None)):
        raise ConfigError(
            f"config.data.root is empty; set it to the folder of the {data.name} data set (--config.data.root=DIR)."
        )
    root = Path(data.root or ".")
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder (config.data.root).")
    shipped = {"petfinder": "petfinder.toml", "fashion": "fashion.toml"}
    if schema is None:
        if data.schema:
            found = Path(data.schema) if Path(data.schema).is_file() else root / data.schema
            if not found.is_file():
                raise SchemaError(
                    f"config.data.schema is {data.schema!r}: there is no such file, here or in {root}; check the path, or "
                    "write one with `mmjax schema ROWS.csv --label COLUMN --out X.toml`."
                )
        elif data.name in shipped:
            found = SCHEMAS / shipped[data.name]
        else:
            raise ConfigError(
                "config.data.schema is empty; write one with `mmjax schema ROWS.csv --label COLUMN --out X.toml`."
            )
        schema = Schema.load(found)
    own = {"petfinder": ("train.csv", "train/train.csv"), "fashion": ("products.csv",)}.get(data.name, ())
    path = _table(root, (data.table,) if data.table else own) if table is None else table
    photos = _photos(data, schema, root, path)
    features = Path(data.image_features) if data.image_features else root / schema.image_features
    if data.image_features and not features.is_file():
        features = root / data.image_features
    return Files(path, schema, photos, features)


def _photos(data: DataSettings, schema: Schema, root: Path, table: Source) -> Path:
    if data.images:
        return Path(data.images) if Path(data.images).is_dir() else root / data.images
    # Kaggle's folders are named after the table: train_images beside train.csv, test_images beside test.csv.
    named = root / f"{Path(table).stem}_images" if isinstance(table, str | Path) else root
    return named if data.name == "petfinder" and named.is_dir() else root / schema.image_dir


def _table(root: Path, names: Sequence[str]) -> Path:
    if not names:
        raise ConfigError("config.data.table is empty; set it to the CSV file.")
    for name in names:
        for path in (root / name, Path(name)):
            if path.is_file():
                return path
    raise DataError(
        f"{root}: has no {' or '.join(names)}; set config.data.root to the folder that holds it, or config.data.table."
    )


def _planted(data: DataSettings, schema: Schema | None, table: Source | None) -> Files:
    root = Path(data.root) if data.root else cache_dir(data) / planted_name(rows=data.planted_rows, seed=data.planted_seed)
    write_planted(root, rows=data.planted_rows, seed=data.planted_seed)
    schema = schema or Schema.load(root / PLANTED_SCHEMA)
    return Files(root / PLANTED_TABLE if table is None else table, schema, root / schema.image_dir, root / "none.npz")
