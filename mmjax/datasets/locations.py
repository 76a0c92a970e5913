"""Data sets by name: where their tables, schemas and other files lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from mmjax.data.sources import Source
from mmjax.datasets import synthetic
from mmjax.errors import ConfigError, DataError, SchemaError
from mmjax.schema import Schema

SCHEMAS = Path(__file__).resolve().parents[1] / "configs" / "schemas"
"""Schema files that ship with the package."""
_SHIPPED = {"petfinder": "petfinder.toml", "fashion": "fashion.toml"}
_TABLES = {"petfinder": ("train.csv", "train/train.csv"), "fashion": ("products.csv",)}


@dataclass(frozen=True)
class Files:
    """A table's path, its schema, and the folder that other paths are relative to."""

    table: Source
    schema: Schema
    root: Path


def cache_dir(data: Any) -> Path:
    """Folder of photo stores, spilled tables and synthetic data."""
    return Path(data.cache) if data.cache else Path(user_cache_dir("mmjax"))


def find_files(data: Any, schema: Schema | None = None, table: Source | None = None) -> Files:
    """Where a data set's parts lie; `schema` and `table` stand in for its own.

    Raises:
      ConfigError, SchemaError, DataError: what is missing and what to do.
    """
    if data.name == synthetic.NAME:
        return _synthetic(data, schema, table)
    if not data.root and not (data.name == "table" and (data.table or table is not None)):
        raise ConfigError(
            f"config.data.root is empty; set it to the folder of the {data.name} data set (--config.data.root=DIR)."
        )
    root = Path(data.root or ".")
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder (config.data.root).")
    if schema is None:
        schema = Schema.load(_schema_file(data, root))
    path = table if table is not None else _table(root, (data.table,) if data.table else _TABLES.get(data.name, ()))
    return Files(path, schema, root)


def further_file(data: Any) -> Path | None:
    """Where the rows of `config.data.unlabelled` lie; None: there are none.

    Raises:
      DataError: there is no such file.
    """
    if not data.unlabelled:
        return None
    if path := _file(Path(data.root or "."), (data.unlabelled,)):
        return path
    raise DataError(f"config.data.unlabelled is {data.unlabelled!r}: there is no such file, here or in {data.root or '.'}.")


def _schema_file(data: Any, root: Path) -> Path:
    if data.schema:
        found = Path(data.schema) if Path(data.schema).is_file() else root / data.schema
        if not found.is_file():
            raise SchemaError(
                f"config.data.schema is {data.schema!r}: there is no such file, here or in {root}; check the path, or write "
                "one with `mmjax schema ROWS.csv --label COLUMN --out X.toml`."
            )
        return found
    if data.name in _SHIPPED:
        return SCHEMAS / _SHIPPED[data.name]
    raise ConfigError("config.data.schema is empty; write one with `mmjax schema ROWS.csv --label COLUMN --out X.toml`.")


def _table(root: Path, names: Sequence[str]) -> Path:
    if not names:
        raise ConfigError("config.data.table is empty; set it to the table's file.")
    if path := _file(root, names):
        return path
    raise DataError(
        f"{root}: has no {' or '.join(names)}; set config.data.root to the folder that holds it, or config.data.table."
    )


def _file(root: Path, names: Sequence[str]) -> Path | None:
    """The first that is there: a name's file in the folder, or the name as a path."""
    return next((path for name in names for path in (root / name, Path(name)) if path.is_file()), None)


def _synthetic(data: Any, schema: Schema | None, table: Source | None) -> Files:
    given = next((n for n in ("table", "schema") if getattr(data, n)), "") if table is None else ""
    if given:
        value = getattr(data, given)
        raise ConfigError(
            f"config.data.{given} is {value!r}, but the config is of the synthetic data set; add ':table' to its name, as in "
            "--config=recommended:table."
        )
    recipe = {"rows": data.synthetic_rows, "seed": data.synthetic_seed}
    root = Path(data.root) if data.root else cache_dir(data) / synthetic.folder_name(**recipe)
    synthetic.write_synthetic(root, **recipe)
    return Files(root / synthetic.TABLE if table is None else table, schema or Schema.load(root / synthetic.SCHEMA), root)
