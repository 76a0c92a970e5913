"""A table with its modalities and its target, read into one object."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from mmjax import registry
from mmjax.config import Settings
from mmjax.data.cells import READING
from mmjax.data.data_report import DataReport
from mmjax.data.sources import Source, measure
from mmjax.datasets.duplicates import TOGETHER, find_copies, united
from mmjax.datasets.locations import cache_dir, find_files, further_file
from mmjax.datasets.table import LARGE, Table, read_table
from mmjax.errors import ConfigError, DataError, SchemaError
from mmjax.modalities.base import Columns, Modality, TableContext, all_modalities, modalities_of
from mmjax.schema import Schema


@dataclass
class Dataset:
    """What a run reads.

    Attributes:
      name: synthetic | petfinder | fashion | table.
      schema: which column is what.
      table: ids, labels and groups.
      modalities: those that are read, in canonical order.
      columns: of each modality, by name; a table to predict may lack some.
      report: what was wrong.
      label: class index of each row, -1 where missing, everywhere without a label column.
      classes: class names.
      usable_N: rows that may be in folds; None: all.
      reading: how cells were read, see `data/cells.py`.
    """

    name: str
    schema: Schema
    table: Table
    modalities: list[Modality]
    columns: dict[str, Columns]
    report: DataReport
    label: Int[np.ndarray, " N"]
    classes: tuple[str, ...] = ()
    usable_N: Bool[np.ndarray, " N"] | None = None
    reading: int = READING

    def __len__(self) -> int:
        return len(self.table)

    @property
    def usable(self) -> Bool[np.ndarray, " N"]:
        """`usable_N`, or all rows."""
        return np.ones(len(self), bool) if self.usable_N is None else self.usable_N

    @property
    def in_folds(self) -> Bool[np.ndarray, " N"]:
        """Rows that may be held out: the usable ones of the table itself, not those of `config.data.unlabelled`."""
        return self.usable & (np.arange(len(self)) < len(self) - self.table.further)

    def present(self, name: str) -> Bool[np.ndarray, " N"]:
        """Which rows have a modality, given by name or kind; of several of a kind, any."""
        found = [self.columns[m.name].present for m in self.modalities if name in (m.name, m.kind) and m.name in self.columns]
        return np.any(found, axis=0) if found else np.zeros(len(self), bool)

    def part(self, rows: slice) -> "Dataset":
        """Consecutive rows, as views."""
        table = self.table
        group_N = None if table.group_N is None else table.group_N[rows]
        part = Table(table.path, table.ids[rows], None if table.labels is None else table.labels[rows], group_N)
        columns = {name: c.part(rows) for name, c in self.columns.items()}
        usable_N = None if self.usable_N is None else self.usable_N[rows]
        return replace(self, table=part, columns=columns, label=self.label[rows], usable_N=usable_N)


@dataclass(frozen=True)
class NewTable:
    """A table that the model was not trained on.

    Attributes:
      source: a file or a DataFrame.
      schema: the training schema, without what the table lacks.
      classes: those the model knows: another label is missing.
      modalities: those of the model that the table has, as the training schema names them.
    """

    source: Source
    schema: Schema
    classes: tuple[str, ...]
    modalities: tuple[Modality, ...]


def open_dataset(
    data: Any,
    modalities: Sequence[str],
    *,
    task: str = "classifier",
    group: str = "",
    require_label: bool | None = None,
    report: DataReport | None = None,
    schema: Schema | None = None,
    new: NewTable | None = None,
    reading: int = READING,
    progress: Callable[[int, int], None] | None = None,
    log: Callable[[str], None] | None = None,
) -> Dataset:
    """Reads what the modalities need.

    Args:
      data: `config.data`.
      modalities: those of the model, by kind or name.
      task: which task reads the label.
      group: column of groups, "schema" for the schema's own, "duplicates" for copies of a row, '' for none.
      require_label: a label column must be there; None: if the task needs one.
      report: told of every problem.
      schema: a saved schema instead of the data set's.
      new: a table to predict or score instead of the data set's.
      reading: how cells are read: as a trained fold's encoders say.
      progress: called with (photos done, photos in all).
      log: prints a line.

    Raises:
      ConfigError, SchemaError, DataError: what is missing and what to do.
    """
    report = report if report is not None else DataReport(data.strict)
    files = find_files(data, new.schema if new else schema, new.source if new else None)
    reads_label = registry.tasks()[task]
    needed = reads_label.needs_label if require_label is None else require_label
    if needed and not files.schema.label and new is None:
        raise SchemaError(f'{data.schema or "the schema"}: names no label; add label = "COLUMN", the column to predict.')
    path, size = measure(files.table)
    cache = cache_dir(data)
    spill = cache / "tables" if size > LARGE else None
    source = TableContext(path, files.root, report, cache, spill, new is not None, log, progress, reading)
    chosen = list(new.modalities) if new else modalities_of(files.schema, data, modalities)
    _tell_unread(chosen, files.schema, source)
    extra = _rows_with(data, chosen, files.schema)
    readers = {m.name: m.reader(source) for m in chosen}
    readers |= {m.name: m.reader(replace(source, predicting=True, log=None)) for m in extra}
    table = read_table(
        files.table,
        files.schema,
        list(readers.values()),
        report=report,
        require_label=needed,
        max_rows=data.max_rows,
        group=group_column(group, files.schema),
        reading=reading,
        further=further_file(data) if new is None else None,
        **({"unused": "the model was trained without it"} if new else {}),
    )
    label_N, classes = np.full(len(table), -1, np.int32), new.classes if new else ()
    if table.labels is not None:
        known = {"classes": classes} if new else {"required": needed}
        own = table.labels[: len(table) - table.further]
        label_N, classes = reads_label.read_labels(own, files.schema, path, report, **known)
        label_N = np.concatenate([label_N, np.full(table.further, -1, label_N.dtype)])
    columns = {name: reader.finish(table.ids.tolist()) for name, reader in readers.items()}
    if group == TOGETHER:
        table.group_N = united(find_copies(columns), len(table))
    for modality in chosen:
        _tell_absent(modality, columns[modality.name], source)
    dataset = Dataset(data.name, files.schema, table, [*chosen, *extra], columns, report, label_N, classes, reading=reading)
    if data.rows_with:
        _leave_out(dataset, data.rows_with, log)
    dataset.modalities = chosen
    return dataset


def group_column(group: str, schema: Schema) -> str:
    """The column that `config.cv.group` means: its own value, or the schema's group; '' for none, or for copies.

    Raises:
      ConfigError: the schema names none.
    """
    if group != "schema":
        return "" if group == TOGETHER else group
    if not schema.group:
        raise ConfigError("config.cv.group is 'schema' but the schema names no group column; name one, or a column.")
    return schema.group


def _tell_unread(chosen: Sequence[Modality], schema: Schema, source: TableContext) -> None:
    """Names the inputs of the schema that no modality of the config reads."""
    read = {column for m in chosen for column in m.reads}
    unread = [f"{c!r} ({role})" for c, role in schema.inputs_by_column().items() if c not in read]
    if source.log and unread and not source.predicting:
        source.log(f"no modality of the config reads {', '.join(unread)}.")


def _tell_absent(modality: Modality, columns: Columns, source: TableContext) -> None:
    """Counts the rows that lack a modality.

    Raises:
      DataError: all rows that are trained on do, so a model could only learn to ignore it.
    """
    report, kind, place = source.report, modality.kind, {"file": source.path, "column": ", ".join(modality.reads) or None}
    present_N = columns.present
    if not present_N.any() and not source.predicting:
        entries = (entry for k in report.counts() if k.startswith(f"{kind}_") for entry in report.entries(k))
        # Not of another of its kind; what reads no column is told of by its file.
        told = (e for e in entries if not modality.reads or e.get("column") in (None, place["column"], *modality.reads))
        first = next(told, {"action": "its cells are empty, or hold nothing that it reads"})
        raise DataError(
            f"{source.path}: no row has {modality.name!r}; of the first, {str(first.get('value', ''))!r}: {first['action']}; "
            f"mend that, or leave {modality.name!r} out of config.model.modalities."
        )
    for row in () if columns.tells_absent else np.flatnonzero(~present_N):
        report.add(f"{kind}_absent", **place, row=int(row), action=f"kept; the row has no {modality.name}", refuse=False)


def _rows_with(data: Any, chosen: Sequence[Modality], schema: Schema) -> list[Modality]:
    """Modalities that rows must have and the model does not read."""
    name = registry.kind_of(data.rows_with) or data.rows_with
    if not name or any(name in (m.name, m.kind) for m in chosen):
        return []
    known = {m.name: m for m in modalities_of(schema, data)}
    if name not in (*registry.modalities(), *known):
        words = ", ".join(dict.fromkeys([*registry.modalities(), *known]))
        raise ConfigError(f"config.data.rows_with is {name!r}; use one of: {words}, or leave it empty.")
    return modalities_of(schema, data, (name,))


def _leave_out(dataset: Dataset, rows_with: str, log: Callable[[str], None] | None) -> None:
    dataset.usable_N = dataset.present(registry.kind_of(rows_with) or rows_with)
    left_out = int(np.sum(~dataset.usable_N))
    if left_out == len(dataset):
        raise DataError(f"{dataset.table.path}: no row has what config.data.rows_with={rows_with} asks for; check its files.")
    if log and left_out:
        log(f"{left_out} of {len(dataset)} rows are left out: config.data.rows_with={rows_with}.")


def leave_out_lacking(settings: Settings, schema: Schema, log: Callable[[str], None]) -> Settings:
    """The settings without the modalities that the schema names no column for; says which.

    Raises:
      ConfigError: none is left.
    """
    there = {name for m in all_modalities(schema, settings.data) for name in (m.kind, m.name)}
    wanted = settings.model.modalities
    kept = tuple(m for m in wanted if m in there)
    if not kept:
        raise ConfigError(f"the model reads {', '.join(wanted)}, and the schema names no column for it; check the schema.")
    if kept != wanted:
        log(f"The table has no {' and no '.join(m for m in wanted if m not in kept)}: the model reads {', '.join(kept)}.")
    return replace(settings, model=replace(settings.model, modalities=kept))
