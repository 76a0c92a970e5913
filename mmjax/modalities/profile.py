"""What an entity's rows are like on average: a seller who sells puppies, a brand whose texts are long. Labels are not read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64
from numpy.typing import NDArray
from scipy import sparse

from mmjax.config_rules import positive
from mmjax.data.arrays import CHUNK, Allocate, in_memory
from mmjax.data.data_report import DataReport
from mmjax.encoding.base import TrainingLabels
from mmjax.encoding.entity_columns import EntityColumns, EntityReader
from mmjax.encoding.row_description import RowDescription
from mmjax.encoding.whole_rows import WholeRowReader, WholeRows
from mmjax.modalities.base import Columns, Encoder, Modality, Reader, Sizes, TableContext, Target, Tower
from mmjax.modalities.entity import Entity
from mmjax.modalities.shared_columns import SharesColumns
from mmjax.models.blocks import Blocks
from mmjax.registry import register_modality
from mmjax.schema import Schema

_CLIP = 4.0


@register_modality("profile")
class Profile(SharesColumns):
    """One a column of entities: means over the rows that share a value, of the table and of the texts' statistics."""

    sees_other_rows = True  # of the file that is scored

    nominal_sizes: ClassVar[dict[str, int]] = {"features": 150}

    @dataclass(frozen=True)
    class ModelSettings:
        """`config.model.profile`: a dense layer."""

        width: int = positive(32)

    @classmethod
    def all_of(cls, schema: Schema, data: Any) -> list[Modality]:
        """One a column that `entity` reads, if there is anything to describe its rows by."""
        described = schema["categorical"] + schema["continuous"] + schema["text"] + schema["short_text"]
        columns = [m.column for m in Entity.all_of(schema, data)] if described else []
        return [cls(cls.kind if len(columns) == 1 else f"{cls.kind}_{c}", c, schema, data) for c in columns]

    @property
    def reads(self) -> tuple[str, ...]:
        """The entity, and all that its rows are described by."""
        return (self.column, *self.texts, *self.schema["categorical"], *self.schema["continuous"])

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Each text."""
        return self.texts

    def lacking(self, header: Sequence[str], source: TableContext) -> str:
        """Only without the entity: texts may be empty, and the schema checks the table's own columns."""
        del source
        return "" if self.column in header else f"there is no column {self.column!r}"

    def reader(self, source: TableContext) -> "ProfileReader":
        """Reads the entity, texts and table."""
        entity = EntityReader(self.column, replace(source, report=DataReport()))  # the entity's own modality reports
        return ProfileReader(entity, WholeRowReader.of(self.schema, self.texts, source))

    def fit(self, columns: "ProfileColumns", rows: NDArray[np.integer]) -> "ProfileEncoder":
        """Learns which numbers describe a row, their means and deviations, and each value's sums."""
        return self.fit_labels(columns, TrainingLabels.none(rows, len(columns.present)))

    def fit_labels(self, columns: "ProfileColumns", labels: TrainingLabels) -> "ProfileEncoder":
        """The same; no label is read, but which rows are apart."""
        return ProfileEncoder.fit(columns, labels, self.data.entity_counts == "table")

    @classmethod
    def load_encoder(cls, values: dict[str, Any]) -> "ProfileEncoder":
        """Inverse of `ProfileEncoder.to_dict`."""
        return ProfileEncoder.from_dict(values)

    @staticmethod
    def arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
        """`mean`: standardised."""
        return {"mean": ((sizes["features"],), np.float32)}

    @staticmethod
    def tower(sizes: Sizes, model: Any, *, dtype: Any, axis_name: str | None) -> Tower:
        """A dense layer."""
        del sizes
        module = Blocks((model.profile.width,), dtype, model.input_dropout, axis_name, parent=None)
        return Tower(module, lambda inputs, dtype: ((inputs["mean"].astype(dtype),), {}))

    @staticmethod
    def target(sizes: Sizes, model: Any) -> Target:
        """The means."""
        del model
        return Target(sizes["features"], lambda inputs, _, dtype: inputs["mean"].astype(dtype))


@dataclass(frozen=True)
class ProfileColumns(Columns):
    """All rows, or some of them and the table that they are of: means are over the whole table, however it is cut.

    Attributes:
      entity: the column.
      rows: what its rows are described by.
      whole: the table, for a part of it.
    """

    entity: EntityColumns
    rows: WholeRows
    whole: "ProfileColumns | None" = None
    _totals: list[tuple[RowDescription, Any]] = field(default_factory=list, compare=False, repr=False)

    @property
    def present(self) -> Bool[np.ndarray, " N"]:
        """Rows with an entity."""
        return self.entity.present

    def part(self, rows: slice) -> Self:
        """Consecutive rows."""
        return type(self)(self.entity.part(rows), self.rows.part(rows), self.whole or self)

    def totals(self, description: RowDescription) -> tuple[Float[np.ndarray, "V P"], Int[np.ndarray, " V"]]:
        """Sum of the descriptions of each value's rows in the whole table, and how many they are."""
        if self.whole is not None:
            return self.whole.totals(description)
        for known, totals in list(self._totals):
            if known is description:
                return totals
        totals = _totals(description, self.rows, self.entity.code_N, len(self.entity.values))
        self._totals.append((description, totals))
        return totals

    def fingerprints(self) -> Iterator[tuple[str, UInt64[np.ndarray, " N"]]]:
        """Of all columns."""
        yield from self.entity.fingerprints()
        yield from self.rows.fingerprints()


class ProfileReader(Reader):
    """Two readers in one."""

    def __init__(self, entity: EntityReader, rows: WholeRowReader):
        self._entity, self._rows = entity, rows

    def take(self, columns: Mapping[str, Sequence[str]], first: int) -> None:
        """Adds a chunk."""
        self._entity.take(columns, first)
        self._rows.take(columns, first)

    def finish(self, ids: Sequence[str]) -> ProfileColumns:
        """All rows."""
        return ProfileColumns(self._entity.finish(ids), self._rows.finish(ids))


@dataclass(frozen=True)
class ProfileEncoder(Encoder):
    """Means of an entity's rows.

    Attributes:
      values: those of the training rows, sorted.
      total, count: sum of the descriptions of a value's rows in the training table, or of its training rows, and their number.
      mean, scale: of the training rows' profiles.
      description: of a row.
      whole: means are of whole tables, that of training and that to be scored; else of other training rows, so that a row's
        prediction depends on no other row that is scored.
    """

    values: tuple[str, ...]
    total: Float[np.ndarray, "V P"]
    count: Int[np.ndarray, " V"]
    mean: Float[np.ndarray, " P"]
    scale: Float[np.ndarray, " P"]
    description: RowDescription
    whole: bool = True

    @classmethod
    def fit(cls, columns: ProfileColumns, labels: TrainingLabels, whole: bool = True) -> "ProfileEncoder":
        """Learns from every training row; the means may be over the whole table, as counts: no label is needed to know them."""
        rows = labels.every_row
        description = RowDescription.fit(columns.rows, rows)
        if whole:
            total_VxP, count_V = columns.totals(description)
        else:
            total_VxP, count_V = _totals(
                description, columns.rows, _only(columns.entity.code_N, rows), len(columns.entity.values)
            )
        known_V = np.bincount(columns.entity.code_N[rows][columns.present[rows]], minlength=len(count_V))
        values = columns.entity.values
        seen = sorted(np.flatnonzero(known_V), key=lambda v: values[v])
        profile_VxP = total_VxP[seen] / np.maximum(count_V[seen, None], 1)
        weight_Vx1 = known_V[seen, None] / max(known_V.sum(), 1)
        mean_P = (weight_Vx1 * profile_VxP).sum(axis=0)
        deviation_P = np.sqrt((weight_Vx1 * (profile_VxP - mean_P) ** 2).sum(axis=0))
        scale_P = np.divide(1, deviation_P, out=np.zeros_like(deviation_P), where=deviation_P > 1e-4)
        names = tuple(values[v] for v in seen)
        return cls(names, total_VxP[seen].astype(np.float32), count_V[seen], mean_P, scale_P, description, whole)

    @property
    def sizes(self) -> dict[str, int]:
        """features: P."""
        return {"features": len(self.mean)}

    def transform(
        self, columns: ProfileColumns | None, rows: int, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """`mean`: over the rows of this table and of the training table that share the row's value."""
        mean_NxP = allocate((rows, len(self.mean)), np.float32)
        if columns is None:
            mean_NxP[:] = 0
            return {"mean": mean_NxP}, np.zeros(rows, bool)
        values = len(columns.entity.values)
        total_VxP, count_V = np.zeros((values, len(self.mean))), np.zeros(values, np.int64)
        if self.whole:
            total_VxP, count_V = map(np.copy, columns.totals(self.description))
        at = {value: i for i, value in enumerate(self.values)}
        # The training table counts twice there, which changes no mean.
        known = [(v, at[value]) for v, value in enumerate(columns.entity.values) if value in at]
        if known:
            here, there = np.array(known).T
            total_VxP[here] += self.total[there]
            count_V[here] += self.count[there]
        profile_VxP = np.vstack([self._standardised(total_VxP, count_V), np.zeros_like(self.mean)]).astype(np.float32)
        mean_NxP[:] = profile_VxP[columns.entity.code_N]  # code -1 reads the last entry
        return {"mean": mean_NxP}, columns.present

    def transform_training(
        self, columns: ProfileColumns, labels: TrainingLabels, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """A training row's by the others that share its value, of other groups where folds keep groups together."""
        parts, present_N = self.transform(columns, len(columns.present), allocate)
        if self.whole:
            return parts, present_N
        rows = labels.every_row[present_N[labels.every_row]]
        at = {value: i for i, value in enumerate(self.values)}
        at_V = np.array([at.get(value, -1) for value in columns.entity.values], np.int64)
        pairs = np.stack([columns.entity.code_N[rows], labels.unit_N[rows]])
        first_2xm, pair_n, own_m = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
        pair_N = np.full(len(present_N), -1)
        pair_N[rows] = pair_n
        own_mxP, _ = _totals(self.description, columns.rows, pair_N, len(own_m))
        place_m = at_V[first_2xm[0]]
        profile_mxP = self._standardised(self.total[place_m] - own_mxP, self.count[place_m] - own_m)
        parts["mean"][rows] = profile_mxP[pair_n]
        return parts, present_N

    def _standardised(self, total_nxP: Float[np.ndarray, "n P"], count_n: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n P"]:
        """Means of sums, standardised and clipped; 0 where nothing was counted, as for a row without a value."""
        profile_nxP = (total_nxP / np.maximum(count_n[:, None], 1) - self.mean) * self.scale
        return np.where(count_n[:, None] > 0, np.clip(profile_nxP, -_CLIP, _CLIP), 0)

    def notes(self) -> list[str]:
        """What is read."""
        rows = "rows" if self.whole else "training rows"
        return [f"profile: {len(self.mean)} means over the {rows} of each of {len(self.values)} values."]

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "ProfileEncoder":
        """Inverse of `to_dict`."""
        arrays = d["total"], d["count"], d["mean"], d["scale"]
        return cls(tuple(map(str, d["values"])), *arrays, RowDescription.from_dict(d["description"]), d.get("whole", True))


def _totals(
    description: RowDescription, rows: WholeRows, code_N: Int[np.ndarray, " N"], codes: int
) -> tuple[Float[np.ndarray, "V P"], Int[np.ndarray, " V"]]:
    """Sum of the descriptions of the rows of each code below `codes`, and how many they are; a row of code -1 is of none."""
    if rows.texts is not None:
        for c in range(len(rows.texts.names)):
            rows.texts.statistics(c)  # of all rows at once, which their parts then know
    total_VxP = np.zeros((codes, description.size(0 if rows.texts is None else len(rows.texts.names))))
    for start in range(0, len(code_N), CHUNK):
        part = slice(start, min(start + CHUNK, len(code_N)))
        row_n = np.flatnonzero(code_N[part] >= 0)
        one, shape = np.ones(len(row_n), np.float32), (codes, part.stop - part.start)
        of_code = sparse.csr_matrix((one, (code_N[part][row_n], row_n)), shape=shape)
        total_VxP += of_code @ description.describe(rows.part(part))
    return total_VxP, np.bincount(code_N[code_N >= 0], minlength=codes)


def _only(code_N: Int[np.ndarray, " N"], rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " N"]:
    """Codes of `rows`; -1 for all others."""
    out_N = np.full_like(code_N, -1)
    out_N[rows] = code_N[rows]
    return out_N
