"""The table: categorical columns as one-hot groups; numbers min-max scaled, cut into quantile bins, or piecewise linear."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmjax.config_rules import below_one, choice, not_negative, positive
from mmjax.data.data_report import DataReport
from mmjax.encoding.tabular_columns import TabularColumns, TabularReader
from mmjax.encoding.tabular_encoder import TabularEncoder, report_drift
from mmjax.modalities.base import Modality, Sizes, TableContext, Target, Tower, id_dtype
from mmjax.models.mlp import MLP
from mmjax.ops.onehot import onehot_product, onehot_vector
from mmjax.ops.piecewise import piecewise
from mmjax.registry import register_modality
from mmjax.schema import Schema, SchemaKey


@register_modality("tabular")
class Tabular(Modality):
    """All categorical and continuous columns as one modality, which every row has."""

    in_paper = True
    schema_keys = (SchemaKey("categorical", listed=True), SchemaKey("continuous", listed=True))
    nominal_sizes: ClassVar[dict[str, int]] = {"onehot": 378, "groups": 15, "numbers": 4}  # PetFinder's whole table

    @dataclass(frozen=True)
    class DataSettings:
        """Joins `config.data`."""

        discretize: bool = False  # paper: row #5
        bins: int = positive(10)  # our reading: quantile bins
        numbers: str = choice("min_max", "piecewise", "robust")  # paper: min_max; by `bins` quantiles; by many
        exact_values: int = not_negative(0)  # rows in which a number's value must be seen to be a category too; 0: none is

    @dataclass(frozen=True)
    class ModelSettings:
        """`config.model.tabular`: dense layers with ReLU and dropout."""

        hidden: tuple[int, ...] = (256,)  # paper: 256 -> 128 (the last is `model.width`)
        dropout: float = below_one(0.2)  # paper

    @classmethod
    def all_of(cls, schema: Schema, data: Any) -> list[Modality]:
        """One, if the schema names any column."""
        return [cls(cls.kind, "", schema, data)] if schema["categorical"] + schema["continuous"] else []

    @property
    def reads(self) -> tuple[str, ...]:
        """All its columns."""
        return self.schema["categorical"] + self.schema["continuous"]

    def lacking(self, header: Sequence[str], source: TableContext) -> str:
        """Never as a whole: the schema checks that every column is there."""
        del header, source
        return ""

    def reader(self, source: TableContext) -> TabularReader:
        """Reads its columns."""
        return TabularReader(self.schema, source)

    def fit(self, columns: TabularColumns, rows: NDArray[np.integer]) -> "TabularEncoder":
        """Learns categories, medians, ranges and bin edges."""
        data = self.data
        numbers = {name: data.numbers == name and not data.discretize for name in ("piecewise", "robust")}
        return TabularEncoder.fit(columns, rows, discretize=data.discretize, bins=data.bins, exact=data.exact_values, **numbers)

    def report_unseen(self, fitted: Sequence["TabularEncoder"], columns: TabularColumns, report: DataReport) -> None:
        """Tells of every category that no fold was trained on, and of numbers beyond every fold's range, by column."""
        for c, seen in enumerate(zip(*(encoder.values for encoder in fitted), strict=True)):
            known, values = set().union(*seen), columns.categories[c]
            found = np.unique(columns.code_NxC[:, c], return_index=True, return_counts=True)
            for code, row, count in zip(*found, strict=True):
                if values[code] not in known:
                    place = {"file": columns.path, "row": row, "column": columns.names[c], "value": values[code]}
                    action = f"no category in its {count} row(s): no training row has it"
                    report.add("category_unseen", **place, action=action)
        for name, number_N, seen in zip(
            columns.number_names, columns.number_NxS.T, zip(*(e.numbers_of for e in fitted), strict=True), strict=True
        ):
            report_drift(name, np.asarray(number_N), seen, columns.path, report)

    @classmethod
    def load_encoder(cls, values: dict[str, Any]) -> "TabularEncoder":
        """Inverse of `TabularEncoder.to_dict`."""
        return TabularEncoder.from_dict(values)

    @staticmethod
    def arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
        """`id`: column of the one-hot block of each group, -1 for a value unseen in training; `number`: see the encoder."""
        return {"id": ((sizes["groups"],), np.dtype(id_dtype(sizes["onehot"]))), "number": ((sizes["numbers"],), np.float32)}

    @staticmethod
    def constants(sizes: Sizes, own: Sizes) -> dict[str, np.ndarray]:
        """`column_weight`: which of the D padded columns are the fold's own."""
        width = sizes["numbers"] * _width(sizes)
        return {"column_weight": (np.arange(width + sizes["onehot"]) < width + own["onehot"]).astype(np.float32)}

    @staticmethod
    def tower(sizes: Sizes, model: Any, *, dtype: Any, axis_name: str | None) -> Tower:
        """An MLP (paper, section 4.1, #1)."""
        units = (*model.tabular.hidden, model.width)
        options = model.activation, model.input_dropout, model.init
        module = MLP(units, model.tabular.dropout, dtype, axis_name, *options, parent=None)

        def read(inputs: Mapping[str, Any], dtype: Any) -> tuple[Any, dict[str, Any]]:
            parts = _numbers(inputs, sizes), inputs["id"], sizes["onehot"]
            return onehot_vector(*parts, dtype), {"product": onehot_product(*parts)}

        return Tower(module, read)

    @staticmethod
    def target(sizes: Sizes, model: Any) -> Target:
        """The input vector; a column that only pads does not count."""
        del model
        size = sizes["onehot"]
        return Target(
            size=sizes["numbers"] * _width(sizes) + size,
            flatten=lambda inputs, _, dtype: onehot_vector(_numbers(inputs, sizes), inputs["id"], size, dtype),
            weight=lambda inputs, present_Bx1: present_Bx1 * inputs["column_weight"][None],
        )


def _bins(sizes: Sizes) -> int:
    return sizes.get("bins", 0)  # absent: numbers are min-max scaled


def _width(sizes: Sizes) -> int:
    """Inputs a number becomes."""
    return _bins(sizes) + 1


def _numbers(inputs: Mapping[str, Any], sizes: Sizes) -> Any:
    return piecewise(inputs["number"], _bins(sizes)) if _bins(sizes) else inputs["number"]
