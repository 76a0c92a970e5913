"""A table the folds have not seen, read for a trained ensemble: no row is left out, whatever it lacks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmjax.batch import IMAGE, IMAGE_FEATURES, TEXT
from mmjax.config import DataSettings
from mmjax.data.data_report import DataReport
from mmjax.data.sources import Source, open_source
from mmjax.datasets import dataset as data_sets
from mmjax.datasets.dataset import Dataset, open_dataset
from mmjax.errors import ConfigError, DataError
from mmjax.inference import Ensemble
from mmjax.schema import Schema


def open_unseen(
    ensemble: Ensemble,
    table: Source,
    report: DataReport,
    *,
    images: str = "",
    features: str = "",
    labelled: bool = False,
    say: Callable[[str], None] | None = None,
) -> Dataset:
    """Reads `table` with the ensemble's schema and classes.

    A text or photo column, a photo folder or an image vector file that is not there makes its modality absent in every row, and
    is reported; the tabular columns and the id must be there.

    Args:
      ensemble: whose schema, classes and modalities count.
      table: a CSV or Parquet file, or a DataFrame.
      report: told of every problem.
      images: folder of photos; '' for the one training would look in.
      features: .npz of image vectors; '' for the one training used.
      labelled: the label column must be there; else it is not looked at.
      say: prints a line.

    Raises:
      ConfigError: `images` or `features` is not there.
      SchemaError: a column that must be there is not.
      DataError: the file cannot be read, or no modality of the model is in it.
    """
    if images and not Path(images).is_dir():
        raise ConfigError(f"{images}: there is no such folder of photos; check --images.")
    if features and not Path(features).is_file():
        raise ConfigError(f"{features}: there is no such file of image vectors; check --features.")
    data = _settings(ensemble.settings.data, features)
    name, header, *_ = open_source(table, DataReport())
    schema = replace(ensemble.schema, group="", label=ensemble.schema.label if labelled else "")
    schema, lacking = _without_absent(schema, header)
    schema = replace(schema, ignore=_known(ensemble, schema))
    files = data_sets.find_files(data, schema, table)
    photos = Path(images) if images else files.photos
    if IMAGE not in lacking and not photos.is_dir():
        lacking[IMAGE] = f"there is no folder {photos} of photos (name one with --images)"
    if not files.features.is_file():
        lacking[IMAGE_FEATURES] = f"there is no file {files.features} of image vectors (name one with --features)"
    wanted = ensemble.spec.modalities
    if all(m in lacking for m in wanted):
        raise DataError(
            f"{name}: the model reads {', '.join(wanted)}, but {lacking[wanted[0]]}: there is nothing to predict from."
        )
    for modality in (m for m in wanted if m in lacking):
        report.add("modality_absent", file=name, value=modality, action=f"absent in every row: {lacking[modality]}")
    dataset = open_dataset(
        data,
        [m for m in wanted if m not in lacking],
        require_label=labelled,
        report=report,
        table=table,
        images=photos,
        classes=ensemble.spec.classes,
        schema=schema,
        say=say,
    )
    _report_categories(ensemble, dataset, report)
    if TEXT in lacking:
        words = np.broadcast_to(np.zeros((), np.int32), (len(dataset.table), ensemble.spec.tokens))
        dataset.table = replace(dataset.table, words=words)
    return dataset


def _settings(data: DataSettings, features: str) -> DataSettings:
    """Of the run, but for all rows, and without the training data's folder where that has gone."""
    data = replace(data, max_rows=0, rows_with="", image_features=features or data.image_features)
    if data.name != "planted" and not Path(data.root or ".").is_dir():
        data = replace(data, root="")
    return replace(data, name="table") if data.name != "planted" and not data.root else data


def _known(ensemble: Ensemble, schema: Schema) -> tuple[str, ...]:
    """Columns not to be told of: those training ignored, and those it used and `schema` does not, such as the label."""
    trained = ensemble.schema
    known = dict.fromkeys([*trained.ignore, *trained.roles(), *trained.pattern_columns, ensemble.settings.cv.group])
    return tuple(c for c in known if c and c not in schema.roles())


def _report_categories(ensemble: Ensemble, dataset: Dataset, report: DataReport) -> None:
    """Tells of every category that none of the folds was trained on; a row of it has none of its column's."""
    table = dataset.table
    fitted = [m.encoders.tabular.values for m in ensemble.members if m.encoders.tabular is not None]
    for c, seen in enumerate(zip(*fitted, strict=True)):
        known, values = set().union(*seen), table.categories[c]
        found = np.unique(table.categorical[:, c], return_index=True, return_counts=True)
        for code, row, count in zip(*found, strict=True):
            if values[code] not in known:
                place = {"file": table.path, "row": row, "column": dataset.schema.categorical[c], "value": values[code]}
                action = f"no category in its {count} row(s): no training row has it"
                report.add("category_unseen", **place, action=action)


def _without_absent(schema: Schema, header: list[str]) -> tuple[Schema, dict[str, str]]:
    """The schema without the text and photo columns that `header` lacks, and why each modality is lacking."""
    lacking = {}
    if schema.text and schema.text not in header:
        lacking[TEXT] = f"there is no column {schema.text!r}"
        schema = replace(schema, text="")
    needed = (schema.image,) if schema.image else schema.pattern_columns
    if gone := [c for c in needed if c not in header]:
        lacking[IMAGE] = f"there is no column {gone[0]!r}"
        schema = replace(schema, image="", image_pattern="")
    return schema, lacking
