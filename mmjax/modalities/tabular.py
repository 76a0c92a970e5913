"""The table: categorical columns as one-hot groups; numbers min-max scaled, cut into quantile bins, or piecewise linear."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from mmjax.config_rules import below_one, choice, not_negative, positive
from mmjax.data.data_report import DataReport
from mmjax.encoding.tabular_columns import TabularColumns, TabularReader
from mmjax.encoding.tabular_encoder import TabularEncoder, report_drift
from mmjax.modalities.base import Modality, Sizes, TableContext, Target, Tower, id_dtype
from mmjax.models.mlp import MLP
from mmjax.ops.onehot import group_log_sum, onehot_product, onehot_vector
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
    def constants(sizes: Sizes, encoder: Any) -> dict[str, np.ndarray]:
        """`column_weight`: which of the D padded columns are the fold's own; `group`: number of each one-hot column's group.

        A column that only pads is of group C.
        """
        width, widths = sizes["numbers"] * _width(sizes), encoder.group_widths if encoder else (sizes["onehot"],)
        group_O = np.full(sizes["onehot"], sizes["groups"], np.int32)
        group_O[: sum(widths)] = np.repeat(np.arange(len(widths)), widths)
        own_D = np.arange(width + sizes["onehot"]) < width + sum(widths)
        return {"column_weight": own_D.astype(np.float32), "group": group_O}

    @staticmethod
    def boosting_features(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Categories as their codes, and numbers: trees need no one-hot columns."""
        return {part: arrays[part] for part in ("id", "number")}

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
            column_error=partial(_column_error, sizes),
        )


def _column_error(sizes: Sizes, prediction_BxD: Array, target_BxD: Array, inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Squared error of each number, cross-entropy of each category; one that training did not know does not count."""
    values, numbers, groups = sizes["numbers"] * _width(sizes), sizes["numbers"], sizes["groups"]
    error_B = jnp.sum((prediction_BxD - target_BxD)[:, :values] ** 2, axis=1) / _width(sizes)
    if not groups:
        return error_B, jnp.full(len(error_B), float(numbers))
    logit_BxO, id_BxC = prediction_BxD[:, values:], inputs["id"].astype(jnp.int32)
    entropy_BxC = group_log_sum(logit_BxO, inputs["group"], groups) - jnp.take_along_axis(logit_BxO, jnp.maximum(id_BxC, 0), 1)
    known_BxC = id_BxC >= 0
    error_B += jnp.sum(jnp.where(known_BxC, entropy_BxC, 0.0), axis=1)
    return error_B, numbers + jnp.sum(known_BxC.astype(jnp.float32), axis=1)


def _bins(sizes: Sizes) -> int:
    return sizes.get("bins", 0)  # absent: numbers are min-max scaled


def _width(sizes: Sizes) -> int:
    """Inputs a number becomes."""
    return _bins(sizes) + 1


def _numbers(inputs: Mapping[str, Any], sizes: Sizes) -> Any:
    return piecewise(inputs["number"], _bins(sizes)) if _bins(sizes) else inputs["number"]
