"""A table the folds have not seen, read for a trained ensemble: no row is left out, whatever it lacks."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmjax import registry
from mmjax.data.data_report import DataReport
from mmjax.data.sources import Source, open_source
from mmjax.datasets import synthetic
from mmjax.datasets.dataset import Dataset, NewTable, open_dataset
from mmjax.datasets.locations import cache_dir, find_files
from mmjax.errors import ConfigError, DataError
from mmjax.inference import Ensemble
from mmjax.modalities.base import TableContext, modalities_of
from mmjax.schema import Schema


def open_new_table(
    ensemble: Ensemble,
    table: Source,
    report: DataReport,
    *,
    paths: Mapping[str, str] | None = None,
    labelled: bool = False,
    only: Collection[str] | None = None,
    log: Callable[[str], None] | None = None,
) -> Dataset:
    """Reads `table` with the ensemble's schema and classes.

    A modality whose column, folder or file is not there is absent in every row, and reported; the tabular columns and the id
    must be there.

    Args:
      ensemble: whose schema, classes and modalities count.
      table: a CSV or Parquet file, or a DataFrame.
      report: told of every problem.
      paths: by `PathOption.flag`, such as images; where its photos lie. As in training where left out.
      labelled: the label column must be there; else it is not looked at.
      only: modalities that are read, by name; None: all that the table has.
      log: prints a line.

    Raises:
      ConfigError: a path is not there.
      SchemaError: a column that must be there is not.
      DataError: the file cannot be read, or no modality of the model is in it.
    """
    data = _settings(ensemble.settings.data, {flag: path for flag, path in (paths or {}).items() if path})
    name, header, _, _ = open_source(table, DataReport())
    trained = ensemble.schema
    group = trained.group if trained.group in header else ""
    schema = replace(trained, group=group, label=trained.label if labelled else "")
    files = find_files(data, schema, table)
    source = TableContext(name, files.root, report, cache_dir(data), predicting=True)
    modalities = modalities_of(trained, data, ensemble.spec.modalities)
    lacking = {m.name: why for m in modalities if (why := m.lacking(header, source))}
    if len(lacking) == len(modalities):
        wanted, first = ", ".join(m.name for m in modalities), next(iter(lacking.values()))
        raise DataError(f"{name}: the model reads {wanted}, but {first}: there is nothing to predict from.")
    for m in modalities:
        if m.name in lacking:
            report.add("modality_absent", file=name, value=m.name, action=f"absent in every row: {lacking[m.name]}")
            schema = m.without(schema)
    for column in dict.fromkeys(c for m in modalities for c in m.may_lack if c not in header):
        report.add("column_absent", file=name, column=column, action="empty in every row")
        schema = replace(schema, inputs={n: tuple(v for v in found if v != column) for n, found in schema.inputs.items()})
    schema = replace(schema, ignore=_known(trained, schema, ensemble.settings.cv.group))
    read = tuple(m for m in modalities if m.name not in lacking and (only is None or m.name in only))
    new = NewTable(table, schema, ensemble.spec.classes, read)
    dataset = open_dataset(data, (), require_label=labelled, report=report, new=new, reading=ensemble.reading, log=log)
    for m in dataset.modalities:
        fitted = [member.encoders.encoders[m.name] for member in ensemble.members]
        m.report_unseen(fitted, dataset.columns[m.name], report)
    return dataset


def open_training_table(ensemble: Ensemble, log: Callable[[str], None] | None = None) -> Dataset:
    """The table that the ensemble was trained on, read as training read it.

    Raises:
      ConfigError: it is not where it was.
      MmjaxError: as `open_dataset`.
    """
    settings = ensemble.settings
    if settings.data.name != synthetic.NAME and not Path(settings.data.root or ".").is_dir():
        raise ConfigError(f"{settings.data.root}: the data set is not there any more; say where it is with --root=DIR.")
    return open_dataset(
        settings.data,
        settings.model.modalities,
        task=settings.task,
        report=DataReport(),
        schema=ensemble.schema,
        reading=ensemble.reading,
        log=log,
    )


def _settings(data: Any, paths: Mapping[str, str]) -> Any:
    """Of the run, but for all rows, and without the training data's folder where that has gone."""
    changes: dict[str, Any] = {"max_rows": 0, "rows_with": ""}
    options = [option for cls in registry.modalities().values() for option in cls.path_options]
    if unknown := sorted(set(paths) - {option.flag for option in options}):
        raise ConfigError(f"{unknown[0]!r} is no path of a table; there are {', '.join(o.flag for o in options)}.")
    for option in options:
        path = paths.get(option.flag, "")
        if path and not Path(path).exists():
            raise ConfigError(f"{path}: there is no such {option.what}; check --{option.flag}.")
        changes |= {option.setting: path} if path else {}
    data = replace(data, **changes)
    if data.name == synthetic.NAME:
        return data
    root = data.root if Path(data.root or ".").is_dir() else ""
    return replace(data, root=root, **({} if root else {"name": "table"}))


def _known(trained: Schema, schema: Schema, group: str) -> tuple[str, ...]:
    """Columns not to be told of: those training ignored, and those it used and `schema` does not, such as the label."""
    known = dict.fromkeys([*trained.ignore, *trained.roles(), *trained.pattern_columns, group])
    return tuple(c for c in known if c and c not in schema.roles())
