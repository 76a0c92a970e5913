"""A file read by a schema, for the tests of what is read: the columns of all modalities side by side."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.config import data_settings
from mmjax.data.data_report import DataReport
from mmjax.data.sources import Source, measure
from mmjax.datasets.table import read_table
from mmjax.modalities.base import TableContext, modalities_of
from mmjax.schema import Schema
from mmjax.tasks.classification import Classification


@dataclass
class Read:
    """What a table holds; see the columns' classes in mmjax/modalities/."""

    ids: np.ndarray
    label: np.ndarray | None
    classes: tuple[str, ...]
    group: np.ndarray | None
    categorical: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    categories: tuple[tuple[str, ...], ...] = ()
    continuous: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    words: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    word_list: list[str] = field(default_factory=list)
    image: np.ndarray = field(default_factory=lambda: np.zeros(0, object))

    def __len__(self) -> int:
        return len(self.ids)


def schema_of(**values: Any) -> Schema:
    """A schema from its keys."""
    return Schema.from_dict(values)


def read_file(
    path: Source,
    schema: Schema,
    *,
    report: DataReport,
    text_length: int = 4,
    classes: tuple[str, ...] = (),
    require_label: bool = True,
    cache_dir: Path | None = None,
    **options: Any,
) -> Read:
    """As `open_dataset`, without opening photos; columns go to files in `cache_dir` if it is given."""
    name = measure(path)[0]
    folder = Path(name).parent
    source = TableContext(name, folder, report, folder, cache_dir, predicting=bool(classes))
    modalities = modalities_of(schema, data_settings(text_length=text_length))
    readers = {m.kind: m.reader(source) for m in modalities}
    table = read_table(path, schema, list(readers.values()), report=report, require_label=require_label, **options)
    read = Read(table.ids, None, classes, table.group_N)
    if table.labels is not None:
        known: dict[str, Any] = {"classes": classes} if classes else {"required": require_label}
        read.label, read.classes = Classification.read_labels(table.labels, schema, name, report, **known)
    if "tabular" in readers:
        columns = readers["tabular"].finish(table.ids.tolist())
        read.categorical, read.categories, read.continuous = columns.code_NxC, columns.categories, columns.number_NxS
    if "text" in readers:
        columns = readers["text"].finish(table.ids.tolist())
        read.words, read.word_list = columns.word_NxT, list(columns.words)
    if "image" in readers:
        read.image = np.array(readers["image"]._names, object)
    return read
