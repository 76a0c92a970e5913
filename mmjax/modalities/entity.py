"""A column of many values, such as a seller or a brand: how often a value occurs, and what labels its training rows have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from mmjax.config_rules import choice, positive
from mmjax.data.arrays import Allocate, in_memory
from mmjax.data.data_report import DataReport
from mmjax.encoding.base import TrainingLabels
from mmjax.encoding.entity_columns import EntityColumns, EntityReader
from mmjax.encoding.quantiles import place_among, quantile_edges
from mmjax.modalities.base import Encoder, Modality, Sizes, TableContext, Target, Tower
from mmjax.models.blocks import Blocks
from mmjax.ops.piecewise import piecewise
from mmjax.registry import register_modality
from mmjax.schema import Schema, SchemaKey

_BINS, _LEAST = 24, 1e-6


@register_modality("entity")
class Entity(Modality):
    """One column: each that the schema names, and its group, whose rows share more than their other columns say."""

    on_request = True
    sees_other_rows = True  # of the file that is scored
    schema_keys = (SchemaKey("entity", listed=True),)
    nominal_sizes: ClassVar[dict[str, int]] = {"bins": _BINS, "classes": 5}

    @dataclass(frozen=True)
    class DataSettings:
        """Joins `config.data`."""

        entity_smoothing: float = positive(5.0)  # rows of the overall label frequencies that every value's are mixed with
        entity_counts: str = choice("table", "training")  # rows that counts and profiles are of: all known, or those trained on

    @dataclass(frozen=True)
    class ModelSettings:
        """`config.model.entity`: two dense layers, side by side."""

        width: int = positive(16)  # of the count, and of the label frequencies

    @classmethod
    def all_of(cls, schema: Schema, data: Any) -> list[Modality]:
        """One a column."""
        columns = dict.fromkeys((*([schema.group] if schema.group else ()), *schema["entity"]))
        return [cls(cls.kind if len(columns) == 1 else f"{cls.kind}_{c}", c, schema, data) for c in columns]

    def reader(self, source: TableContext) -> "EntityReader":
        """Numbers its values."""
        return EntityReader(self.column, source)

    def fit(self, columns: "EntityColumns", rows: NDArray[np.integer]) -> "EntityEncoder":
        """Without labels: counts alone."""
        return self._fitted(columns, TrainingLabels.none(rows, len(columns.code_N)))

    def fit_labels(self, columns: "EntityColumns", labels: TrainingLabels) -> "EntityEncoder":
        """Counts, and label frequencies of each value unless folds keep its rows together: then no row can know them."""
        return self._fitted(columns, replace(labels, classes=0) if labels.group_column == self.column else labels)

    def _fitted(self, columns: "EntityColumns", labels: TrainingLabels) -> "EntityEncoder":
        return EntityEncoder.fit(columns, labels, self.data.entity_smoothing, self.data.entity_counts == "table")

    def report_unseen(self, fitted: Sequence["EntityEncoder"], columns: "EntityColumns", report: DataReport) -> None:
        """Tells how many rows have a value that no fold was trained on."""
        known = {value for encoder in fitted for value in encoder.values}
        new = [i for i, value in enumerate(columns.values) if value and value not in known]
        rows = np.flatnonzero(np.isin(columns.code_N, new))
        if len(rows):
            place = {
                "file": "table to predict",
                "row": int(rows[0]),
                "column": self.column,
                "value": columns.values[columns.code_N[rows[0]]],
            }
            action = f"{len(new)} values in {len(rows)} of {len(columns.code_N)} rows are in no training row"
            report.add("entity_unseen", **place, action=action)

    @classmethod
    def load_encoder(cls, values: dict[str, Any]) -> "EntityEncoder":
        """Inverse of `EntityEncoder.to_dict`."""
        return EntityEncoder.from_dict(values)

    @staticmethod
    def arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
        """`place`: of the count among its quantiles, -1 without a value; `label` and `score`: see the encoder."""
        label, score = ((_width(sizes),), np.float32), ((sizes["classes"],), np.float32)
        return {"place": ((1,), np.float32), "label": label, "score": score}

    @staticmethod
    def boosting_features(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The count alone.

        A training row's label frequencies are its value's less its own label. Trees can tell values apart, so they would read
        the label from that difference, which no held-out row has.
        """
        return {"place": arrays["place"]}

    @staticmethod
    def tower(sizes: Sizes, model: Any, *, dtype: Any, axis_name: str | None) -> Tower:
        """A dense layer over each; what the value says of the classes goes straight to their scores, too."""
        module = Blocks((model.entity.width,) * 2, dtype, model.input_dropout, axis_name, parent=None)

        def read(inputs: Mapping[str, Any], dtype: Any) -> tuple[Any, dict[str, Any]]:
            return (piecewise(inputs["place"], sizes["bins"]).astype(dtype), inputs["label"].astype(dtype)), {}

        return Tower(module, read, (lambda inputs: inputs["score"]) if sizes["classes"] else None)

    @staticmethod
    def target(sizes: Sizes, model: Any) -> Target:
        """How often the value occurs: label frequencies know labels, which an autoencoder must not."""
        del model
        return Target(sizes["bins"] + 1, lambda inputs, _, dtype: piecewise(inputs["place"], sizes["bins"]).astype(dtype))


def _width(sizes: Sizes) -> int:
    return sizes["classes"] + 1 if sizes["classes"] else 0


def _vector(inputs: Mapping[str, Any], sizes: Sizes) -> Any:
    return jnp.concatenate([piecewise(inputs["place"], sizes["bins"]), inputs["label"]], axis=1)


@dataclass(frozen=True)
class EntityEncoder(Encoder):
    """What the training rows say of each value.

    Attributes:
      values: those of the training rows, sorted.
      counts: rows with each value: of the training table, or of the training rows.
      edges: quantiles of a row's count.
      labels: training rows of each class, by value; () for each where labels are not read.
      prior: frequency of each class; () where labels are not read.
      smoothing: rows of `prior` that are added to each value's.
      whole: counts are of whole tables, that of training and that to be scored; else of other training rows, so that a row's
        prediction depends on no other row that is scored.
    """

    values: tuple[str, ...]
    counts: tuple[int, ...]
    edges: tuple[float, ...]
    labels: tuple[tuple[int, ...], ...]
    prior: tuple[float, ...]
    smoothing: float
    whole: bool = True

    @classmethod
    def fit(cls, columns: EntityColumns, labels: TrainingLabels, smoothing: float, whole: bool = True) -> "EntityEncoder":
        """Counts values and labels of the training rows.

        Counts may be the whole table's: how many rows a seller has listed is known without any label.

        Args:
          columns: the whole table.
          labels: of the training rows; of 0 classes: none are read.
          smoothing: see the class.
          whole: see the class.
        """
        rows = labels.rows if whole else labels.every_row
        rows = rows[columns.code_N[rows] >= 0]
        codes, first = np.unique(columns.code_N[rows], return_index=True)
        order = np.argsort(np.array([columns.values[c] for c in codes], object), kind="stable")
        codes, first = codes[order], first[order]
        place = np.zeros(len(columns.values), np.int64)
        place[codes] = np.arange(len(codes))
        sums = np.zeros((len(codes), labels.classes), np.int64)
        told = labels.rows if labels.classes else labels.rows[:0]
        known = told[columns.present[told] & (labels.label_N[told] >= 0)]
        np.add.at(sums, (place[columns.code_N[known]], labels.label_N[known]), 1)
        prior = np.bincount(labels.label_N[known], minlength=labels.classes) / max(1, len(known))
        count_C = columns.count_N[rows[first]] if whole else np.bincount(place[columns.code_N[rows]], minlength=len(codes))
        seen_n = columns.count_N[rows] if whole else count_C[place[columns.code_N[rows]]] - _of_own_unit(columns, labels, rows)
        edges = quantile_edges(seen_n.astype(np.float64), _BINS)
        values = tuple(columns.values[c] for c in codes)
        labelled = tuple(map(tuple, sums.tolist()))
        numbers = tuple(edges.tolist()), labelled, tuple(prior.tolist()), smoothing, whole
        return cls(values, tuple(count_C.tolist()), *numbers)

    @property
    def sizes(self) -> dict[str, int]:
        """bins: of the count; classes: whose frequencies are read, 0 for none."""
        return {"bins": len(self.edges) - 1, "classes": len(self.prior)}

    def transform(
        self, columns: EntityColumns | None, rows: int, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """Each row as if it were new: its value's label frequencies are those of all training rows."""
        if columns is None:
            widths = {"place": 1, "label": _width(self.sizes), "score": len(self.prior)}
            return {n: np.full((rows, w), -(n == "place"), np.float32) for n, w in widths.items()}, np.zeros(rows, bool)
        at_N = self._places(columns)
        # A row that is scored later may be one of few in its file: the training table's count stands where it is larger.
        known_N = np.where(at_N >= 0, np.asarray((*self.counts, 0))[at_N], 0)
        count_N = np.maximum(columns.count_N, known_N) if self.whole else known_N
        place_Nx1, label_NxL = allocate((rows, 1), np.float32), allocate((rows, _width(self.sizes)), np.float32)
        place_Nx1[:, 0] = place_among(self.edges, np.where(columns.present, count_N, np.nan))
        score_NxK = allocate((rows, len(self.prior)), np.float32)
        if self.prior:
            label_NxL[:], score_NxK[:] = self._frequencies(self._sums(at_N))
        return {"place": place_Nx1, "label": label_NxL, "score": score_NxK}, columns.present

    def transform_training(
        self, columns: EntityColumns, labels: TrainingLabels, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """A training row's value by the others that share it, of other groups where folds keep groups together."""
        parts, present_N = self.transform(columns, len(columns.code_N), allocate)
        if not self.whole:
            rows = labels.every_row[columns.present[labels.every_row]]
            others_n = np.asarray(self.counts)[self._places(columns)[rows]] - _of_own_unit(columns, labels, rows)
            parts["place"][rows, 0] = place_among(self.edges, others_n)
        if not self.prior:
            return parts, present_N
        rows = labels.rows[columns.present[labels.rows]]  # the others' are those of a row without a value
        at_n, label_n = self._places(columns)[rows], labels.label_N[rows]
        own, pair_n = np.unique(np.stack([at_n, labels.unit_N[rows]]), axis=1, return_inverse=True)
        own_mxK = np.zeros((own.shape[1], len(self.prior)))
        np.add.at(own_mxK, (pair_n[label_n >= 0], label_n[label_n >= 0]), 1)
        parts["label"][rows], parts["score"][rows] = self._frequencies(self._sums(at_n) - own_mxK[pair_n])
        return parts, present_N

    def _frequencies(self, sums_nxK: Float[np.ndarray, "n K"]) -> tuple[Float[np.ndarray, "n L"], Float[np.ndarray, "n K"]]:
        """Smoothed frequencies less the prior and the logarithm of their rows; their logarithm less the prior's."""
        prior_K, count_nx1 = np.asarray(self.prior), sums_nxK.sum(axis=1, keepdims=True)
        smoothed_nxK = (sums_nxK + self.smoothing * prior_K) / (count_nx1 + self.smoothing)
        label_nxL = np.concatenate([smoothed_nxK - prior_K, np.log1p(count_nx1)], axis=1)
        return label_nxL, np.log(np.maximum(smoothed_nxK, _LEAST) / np.maximum(prior_K, _LEAST))

    def _places(self, columns: EntityColumns) -> Int[np.ndarray, " N"]:
        """Place among `values` of each row's value, -1 where no training row has it."""
        at = {value: i for i, value in enumerate(self.values)}
        at_V = np.array([*(at.get(value, -1) for value in columns.values), -1], np.int64)
        return at_V[columns.code_N]  # code -1 reads the last entry

    def _sums(self, at_n: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n K"]:
        """Training rows of each class that share the value; none where no training row has it."""
        return np.array([*self.labels, [0] * len(self.prior)], np.float64)[at_n]

    def notes(self) -> list[str]:
        """What is read."""
        where = "" if self.whole else " in the training rows"
        what = f"how often a value occurs{where}" + (", and its label frequencies in the training rows" if self.prior else "")
        return [f"entity: {len(self.values)} values; {what}."]

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "EntityEncoder":
        """Inverse of `to_dict`."""
        labels = tuple(tuple(map(int, row)) for row in d["labels"])
        numbers = tuple(map(float, d["edges"])), labels, tuple(map(float, d["prior"])), float(d["smoothing"])
        return cls(tuple(map(str, d["values"])), tuple(map(int, d["counts"])), *numbers, d.get("whole", True))


def _of_own_unit(columns: EntityColumns, labels: TrainingLabels, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """How many of `rows` share each one's value and its unit (see `TrainingLabels.unit_N`): itself, at least."""
    pairs = np.stack([columns.code_N[rows], labels.unit_N[rows]])
    _, pair_n, count_m = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
    return count_m[pair_n]
