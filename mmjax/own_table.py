"""A table of one's own, in memory or in a file, as settings of a run; and the run."""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import indent
from typing import Any

import pandas as pd

from mmjax import configs
from mmjax.config import Settings
from mmjax.data.data_report import DataReport
from mmjax.data.sources import Source, open_source
from mmjax.datasets import infer_schema
from mmjax.datasets.dataset import leave_out_lacking
from mmjax.errors import SchemaError, WorkdirError
from mmjax.io.atomic import write_bytes, write_text
from mmjax.io.workdir import CONFIG, DATA, SCHEMA, TABLE, Workdir
from mmjax.notebook import make_log
from mmjax.schema import Schema

AnySchema = Schema | Mapping[str, Any] | str | Path | None
_ready: list[bool] = []


def propose_schema(table: Source, *, label: str = "") -> Schema:
    """What each column of a table seems to be; `mmjax schema` says why.

    Args:
      table: a DataFrame, or a CSV or Parquet file.
      label: column to predict.

    Raises:
      DataError: the table cannot be read.
      SchemaError: there is no column `label`.
    """
    return infer_schema.propose_schema(table, label=label)[0]


def cross_validate(
    config: str | Settings,
    table: Source | None = None,
    *,
    workdir: str | Path,
    label: str = "",
    schema: AnySchema = None,
    images: str | Path = "",
    overrides: Mapping[str, Any] | None = None,
    verbose: bool | int = True,
    report: bool = False,
    time_limit: str | float | None = None,
) -> dict[str, Any]:
    """Trains and scores a config fold by fold; the same call goes on with an existing workdir.

    Args:
      config: name, file or settings, see `get_config`; with a table a name without a variant is its variant `table`.
      table: a DataFrame, or a CSV or Parquet file; None: the config's own data set, such as `attention:fashion`'s.
      workdir: folder of the run; a DataFrame is written there, as `data/table.csv`.
      label: column to predict.
      schema: of the table: a Schema, its dict or TOML file; None: as `propose_schema` says.
      images: folder of the table's photos; '': the table's own folder, a DataFrame's: the current folder.
      overrides: changed settings, see `get_config`.
      verbose: prints what `mmjax train` prints; 2: plans and epochs too.
      time_limit: seconds, or "10m": folds, epochs and sizes are cut, by timed steps, so that the run ends in time.
      report: writes report.html at the end, as `mmjax report` does; simple models are trained for it.

    Returns:
      summary.json: `mean`, `std` and `by_fold` of each metric on the held-out rows, and more.

    Raises:
      MmjaxError: bad data, config, schema or workdir.
    """
    from mmjax.io import processes  # noqa: PLC0415 - imports jax
    from mmjax.report import known_baselines, try_report  # noqa: PLC0415
    from mmjax.train import cross_validation, run_tables  # noqa: PLC0415
    from mmjax.train.budget.limit import plan_time  # noqa: PLC0415

    log = make_log(verbose)
    if table is None:
        settings = configs.get_config(config, overrides)
    else:
        settings = settings_on(config, table, workdir, label=label, schema=schema, images=images, overrides=overrides, log=log)
    set_up(settings)
    settings = plan_time(settings, time_limit, Path(workdir), log)
    summary = cross_validation.cross_validate(settings, workdir, log)
    log(run_tables.summary_table(summary))
    if report and processes.is_primary():
        said = try_report(workdir, log, baselines=processes.alone())  # others would not wait for the simple models for ever
        simple = {baseline.name: list(baseline.by_fold.values()) for baseline in known_baselines(Path(workdir))}
        if simple:
            log(run_tables.leaderboard(summary, simple))
        log(said)
    return summary


def settings_on(
    config: str | Settings,
    table: Source,
    workdir: str | Path,
    *,
    label: str = "",
    schema: AnySchema = None,
    images: str | Path = "",
    overrides: Mapping[str, Any] | None = None,
    log: Callable[[str], None] = print,
) -> Settings:
    """Settings of a config on a table of one's own, whose schema is written into the workdir; arguments as `cross_validate`'s.

    Raises:
      MmjaxError: bad data, config, schema or workdir.
    """
    if isinstance(config, str):
        file, variant = configs.find(config)
        config = config if variant or file.resolve().parent != configs.FOLDER else f"{file.stem}:table"
    roles = read_schema(schema, table, label, log)
    settings = _on_table(configs.get_config(config, overrides), table, Path(workdir), roles, str(images))
    return settings if "model.modalities" in (overrides or {}) else leave_out_lacking(settings, roles, log)


def set_up(settings: Settings) -> None:
    """Settings of the whole process, made once."""
    from mmjax.train.execution import runtime  # noqa: PLC0415 - imports jax

    if not _ready:
        runtime.set_up(settings)
        _ready.append(True)


def read_schema(given: AnySchema, table: Source, label: str, log: Callable[[str], None] = print) -> Schema:
    """A schema in any form; None: as `propose_schema` says, and `log` prints what to look at.

    Raises:
      SchemaError: it is none, or names another label.
    """
    if given is None:
        proposed, found = infer_schema.propose_schema(table, label=label)
        for name, role, why in found:  # nobody has looked the proposal over
            if not role or "suspected leak" in why:
                log(f"schema: column {name!r} is {f'proposed as {role}' if role else 'left out'}: {why}.")
        log(f"Proposed schema (another one is given as schema=, or --schema=FILE):\n{indent(proposed.dumps().rstrip(), '  ')}")
        return proposed
    if isinstance(given, str | Path):
        given = Schema.load(given)
    if not isinstance(given, Schema | Mapping):
        raise SchemaError(f"schema must be a Schema, its dict or the path of its TOML file, got {type(given).__name__}.")
    schema = given if isinstance(given, Schema) else Schema.from_dict(given)
    if label and schema.label not in ("", label):
        raise SchemaError(f"the schema's label is {schema.label!r} and label={label!r} is asked for; give one.")
    return replace(schema, label=label or schema.label)


def _on_table(settings: Settings, table: Source, workdir: Path, schema: Schema, images: str) -> Settings:
    """Writes a DataFrame and the schema into the workdir, so that any later session finds what was trained on.

    CSV: no optional package reads it, any tool opens it, and its cells are the very texts that training reads.
    """
    folder = workdir / DATA
    with Workdir(workdir).lock():  # refuses a folder of other things before anything is written there
        if isinstance(table, pd.DataFrame):
            _write_table(table, folder / TABLE)
            images, file = images or str(Path.cwd()), folder / TABLE
        else:
            file = Path(table).absolute()
        write_text(folder / SCHEMA, schema.dumps())
    places = {"name": "table", "root": str(file.parent.absolute()), "table": file.name, "max_rows": settings.data.max_rows}
    photos = {"images": str(Path(images).absolute())} if images else {}
    return replace(settings, data=replace(settings.data, **places, **photos, schema=str((folder / SCHEMA).absolute())))


def _write_table(table: pd.DataFrame, file: Path) -> None:
    out, opened = io.StringIO(newline=""), open_source(table, DataReport())
    csv.writer(out, lineterminator="\n").writerows([opened.header, *opened.rows])
    content = out.getvalue().encode("utf-8", "surrogatepass")
    if file.is_file() and file.read_bytes() == content:
        return
    if (file.parents[1] / CONFIG).exists():
        raise WorkdirError(f"{file.parents[1]} holds a run on another table; fit in another workdir, or delete this one.")
    write_bytes(file, content)
