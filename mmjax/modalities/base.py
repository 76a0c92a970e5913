"""What a modality is: how its columns are read, encoded, laid out in a batch, and what the models do with it.

A batch is a dict of arrays. B rows, M modalities, K classes:

| key             | dtype   | shape | meaning                                                                       |
|-----------------|---------|-------|-------------------------------------------------------------------------------|
| `<name>/<part>` | any     | B ... | a part of a modality, see `arrays` of its class; `tabular/id`, `image/pixel`   |
| `<name>/<part>` | any     | ...   | a constant of a modality, see `constants` of its class                         |
| `present`       | bool    | B x M | which of `InputSpec.modalities` this row has, in that order                   |
| `label`         | int32   | B     | class index                                                                   |
| `weight`        | float32 | B     | 1 counts, 0 is padding of the last batch                                      |
| `codes`         | float32 | B x Mk | h_mm of a frozen autoencoder, where one was trained first                     |

Its way: `Reader.take` chunk by chunk -> `Columns` of all rows -> `Modality.fit` on a fold's training rows ->
`Encoder.transform` -> arrays of all rows -> a batch cut from them -> `Modality.tower` and `Modality.target`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmjax import registry
from mmjax.data.data_report import DataReport
from mmjax.encoding.base import Columns, Encoder, PathOption, Reader, TableContext, TrainingLabels, id_dtype
from mmjax.errors import ConfigError, DataError, SchemaError
from mmjax.models.autoencoder import Target
from mmjax.models.classifier import Tower
from mmjax.schema import Schema, SchemaKey

__all__ = [
    "Batch",
    "Columns",
    "Encoder",
    "InputSpec",
    "Modality",
    "PathOption",
    "Reader",
    "Sizes",
    "TableContext",
    "Target",
    "Tower",
    "TrainingLabels",
    "id_dtype",
]

Batch = dict[str, Any]
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class InputSpec:
    """Sizes a model is built from. Folds differ in the sizes that their encoders learn (categories, vocabulary) alone.

    Attributes:
      modalities: names, in canonical order: the order of `present` and of attention weights.
      classes: label names in the order of the class index; () for a task without classes.
      kinds: kind of each modality.
      sizes: of each modality, see `nominal_sizes` of its class.
      ordered: whether the classes have an order.
    """

    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    kinds: dict[str, str]
    sizes: dict[str, dict[str, int]]
    ordered: bool = True

    def each(self) -> Iterator[tuple[str, Any, Sizes]]:
        """Name, class and sizes of every modality.

        Raises:
          ConfigError: a modality is of a kind that nobody registered.
        """
        for name in self.modalities:
            yield name, modality_class(self.kinds[name]), self.sizes[name]

    def padded(self, others: Sequence["InputSpec"]) -> "InputSpec":
        """The sizes that hold every fold."""
        sizes = {n: {k: max(o.sizes[n][k] for o in others) for k in self.sizes[n]} for n in self.modalities}
        return InputSpec(self.modalities, self.classes, self.kinds, sizes)


def modality_class(kind: str) -> type["Modality"]:
    """The class registered for a kind.

    Raises:
      ConfigError: there is none.
    """
    known = registry.modalities()
    if kind not in known:
        raise ConfigError(f"{kind!r} is not a modality; import the module that registers it, or use one of {', '.join(known)}.")
    return known[kind]


class Modality(ABC):
    """A modality of a table: one column, or the columns that belong together.

    A class registers itself (`@register_modality("audio")`); it holds what needs sizes and settings alone, and an object of it
    also knows which columns of which schema it reads.

    Attributes:
      name: the kind; or the column, where the schema names several of the kind.
      column: what the schema's first key names, one of several; '' where the kind reads all of them.
      schema: which column is what.
      data: `config.data`.
    """

    kind: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    in_paper: ClassVar[bool] = False  # one of the default config's modalities
    on_request: ClassVar[bool] = False  # reads what others read too: only where a config names it
    schema_keys: ClassVar[tuple[SchemaKey, ...]] = ()
    path_options: ClassVar[tuple[PathOption, ...]] = ()
    nominal_sizes: ClassVar[dict[str, int]] = {}  # assumed where a data set is not at hand
    shared_parts: ClassVar[tuple[str, ...]] = ()  # arrays that no encoder touches: the same in every fold
    learns_sizes: ClassVar[bool] = True  # False: `assumed_sizes` are what any encoder has
    convolves: ClassVar[bool] = False  # its tower's activations outgrow the caches in large batches
    sees_other_rows: ClassVar[bool] = False  # its arrays of a row depend on the other rows of the file, too
    pictures: ClassVar[tuple[str, ...]] = ()  # arrays that are pictures, uint8 S x S x 3 a row
    scans: ClassVar[bool] = True  # False: XLA's CPU backend computes its tower several times slower in a loop's body

    @dataclass(frozen=True)
    class DataSettings:
        """Joins `config.data`."""

    @dataclass(frozen=True)
    class ModelSettings:
        """`config.model.<kind>`."""

    def __init__(self, name: str, column: str, schema: Schema, data: Any):
        self.name, self.column, self.schema, self.data = name, column, schema, data

    @classmethod
    def all_of(cls, schema: Schema, data: Any) -> list["Modality"]:
        """The modalities of this kind that a schema names: one a value of the first key that has any."""
        found = next((schema[key.name] for key in cls.schema_keys if key.holds != "value" and schema[key.name]), ())
        found = found or next((schema[key.name] for key in cls.schema_keys[:1]), ())
        return [cls(cls.kind if len(found) == 1 else column, column, schema, data) for column in found]

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the table that it reads."""
        return (self.column,)

    @property
    def texts(self) -> tuple[str, ...]:
        """Those of them that are texts, in which each word can speak for a prediction."""
        return ()

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Columns that a table to predict may lack one by one: they are empty then."""
        return ()

    def lacking(self, header: Sequence[str], source: TableContext) -> str:
        """Why every row of a table to predict lacks it, or ''."""
        del source
        gone = [c for c in self.reads if c not in header]
        return f"there is no column {gone[0]!r}" if gone else ""

    def without(self, schema: Schema) -> Schema:
        """The schema without this modality's own columns, for a table that lacks them."""
        inputs = {n: tuple(v for v in found if v != self.column) for n, found in schema.inputs.items()}
        return replace(schema, inputs={n: v for n, v in inputs.items() if v})

    def photo(self, cells: Mapping[str, str], source: TableContext) -> Path | None:
        """File of the photo that a row of these cells names, to show it to people; None where there is none."""
        del cells, source
        return None

    @abstractmethod
    def reader(self, source: TableContext) -> Reader:
        """Collects its columns.

        Raises:
          DataError: a file or folder it needs is not there.
        """

    @abstractmethod
    def fit(self, columns: Any, rows: NDArray[np.integer]) -> Encoder:
        """Learns from `rows`, the training rows of a fold, alone.

        Raises:
          DataError: there is nothing to learn from.
        """

    def fit_labels(self, columns: Any, labels: TrainingLabels) -> Encoder:
        """As `fit`, for a modality whose encoder learns from labels too."""
        return self.fit(columns, labels.every_row)

    @classmethod
    @abstractmethod
    def load_encoder(cls, values: dict[str, Any]) -> Encoder:
        """Inverse of `Encoder.to_dict`."""

    @staticmethod
    @abstractmethod
    def arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape of a row and dtype, by part."""

    @staticmethod
    def constants(sizes: Sizes, encoder: Any) -> dict[str, np.ndarray]:
        """Arrays without a row axis, by part, from the padded sizes and a fold's encoder; None: only their shapes are asked."""
        del sizes, encoder
        return {}

    @staticmethod
    @abstractmethod
    def tower(sizes: Sizes, model: Any, *, dtype: Any, axis_name: str | None) -> Tower:
        """Its tower.

        Args:
          sizes: padded to the largest fold.
          model: `config.model`.
          dtype: compute dtype.
          axis_name: device axis that a batch is sharded over, or None.
        """

    @staticmethod
    @abstractmethod
    def target(sizes: Sizes, model: Any) -> Target:
        """What the autoencoder reconstructs of it."""

    @staticmethod
    def boosting_features(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What boosted trees read of it, by name, each N x D: by default the parts that are rows of floating-point numbers.

        Nothing that is a sum over an entity's rows less the row's own label: trees would read the label from the difference.

        Args:
          arrays: of all rows, by part.
        """
        return {part: value for part, value in arrays.items() if value.ndim == 2 and np.issubdtype(value.dtype, np.floating)}

    @classmethod
    def initial_values(cls, encoder: Any, settings: Any, report: DataReport | None = None) -> dict[str, np.ndarray]:
        """Start values that are not drawn: "tower/<parameter>" or "target/<parameter>" -> its first rows."""
        del encoder, settings, report
        return {}

    def report_unseen(self, fitted: Sequence[Any], columns: Any, report: DataReport) -> None:
        """Tells of values in a table to predict that none of the folds' encoders was fitted on."""
        del fitted, columns, report

    @staticmethod
    def check_settings(settings: Any) -> None:
        """Refuses what can be refused before rows are encoded.

        Raises:
          MmjaxError: a file that settings name cannot be used.
        """
        del settings

    @staticmethod
    def scratch_bytes(data: Any, model: Any, batch_size: int) -> int:
        """About what the tower keeps of a batch for its way back, before there is anything to trace; 0: little."""
        del data, model, batch_size
        return 0

    @classmethod
    def assumed_sizes(cls, data: Any) -> dict[str, int]:
        """Sizes where the data are not at hand, or not looked at."""
        del data
        return dict(cls.nominal_sizes)

    @classmethod
    def cheaper(cls, data: Any) -> dict[str, Any]:
        """Settings with which it takes less time, where it may take long: dotted name -> value."""
        del data
        return {}

    @classmethod
    def describe(cls, sizes: Sizes) -> str:
        """Its sizes, for people."""
        return f"{cls.kind}: {', '.join(f'{size} {name}' for name, size in sizes.items())}"


def all_modalities(schema: Schema, data: Any) -> list[Modality]:
    """Every modality that a schema has columns for, in canonical order."""
    return [m for cls in registry.modalities().values() for m in cls.all_of(schema, data)]


def modalities_of(schema: Schema, data: Any, wanted: Sequence[str] = ()) -> list[Modality]:
    """The modalities of a schema in canonical order.

    Args:
      schema: which column is what.
      data: `config.data`.
      wanted: kinds or names; (): all but those on request.

    Raises:
      ConfigError: a name is neither a kind nor one of the schema's modalities.
      DataError: the schema names none of a wanted kind.
      SchemaError: two modalities have one name.
    """
    found = all_modalities(schema, data)
    names = [m.name for m in found]
    if twice := [n for n in names if names.count(n) > 1 or (n in registry.modalities() and n != _kind(found, n))]:
        raise SchemaError(f"the schema makes two modalities named {twice[0]!r}; rename that column.")
    for name in wanted:
        if name in names or name in [m.kind for m in found]:
            continue
        if name not in registry.modalities():
            known = dict.fromkeys([*registry.modalities(), *names])
            raise ConfigError(f"config.model.modalities names {name!r}; use each of {', '.join(known)} at most once.")
        known_keys = registry.modalities()[name].schema_keys
        keys = " or ".join(key.name for i, key in enumerate(known_keys) if i == 0 or key.holds != "value")
        raise DataError(
            f"the model reads {name!r} but the schema names no {keys}; name one, or drop {name!r} from model.modalities."
        )
    return [m for m in found if (m.name in wanted or m.kind in wanted if wanted else not m.on_request)]


def _kind(found: Sequence[Modality], name: str) -> str:
    return next((m.kind for m in found if m.name == name), "")
