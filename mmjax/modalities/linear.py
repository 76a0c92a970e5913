"""The linear path: logistic regression on words, pieces of words, categories and bins of numbers, straight to the scores."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from scipy import sparse

from mmjax.config_rules import positive
from mmjax.data.arrays import Allocate, in_memory
from mmjax.encoding.base import TrainingLabels
from mmjax.encoding.logistic import LogisticFit, cross_fit, fit_logistic
from mmjax.encoding.tabular_encoder import TabularEncoder
from mmjax.encoding.texts.term_weights import Sparse, TermWeights
from mmjax.encoding.whole_rows import WholeRows
from mmjax.modalities.base import Encoder, Modality
from mmjax.modalities.shared_columns import ClassScores
from mmjax.registry import register_modality
from mmjax.schema import Schema

_BINS = 10


@register_modality("linear")
class Linear(ClassScores):
    """All texts, categories and numbers of a table; every row has it."""

    @dataclass(frozen=True)
    class DataSettings:
        """Joins `config.data`."""

        linear_terms: int = positive(100_000)  # most terms of a column, of words and of pieces each
        linear_rows: int = positive(30_000)  # a larger table has no linear path: the network finds there what it says
        linear_characters: float = positive(3e6)  # nor one with more text: it would take longer than all else

    @classmethod
    def all_of(cls, schema: Schema, data: Any) -> list[Modality]:
        """One, if there is anything to read."""
        any_of = schema["text"] + schema["short_text"] + schema["categorical"] + schema["continuous"]
        return [cls(cls.kind, "", schema, data)] if any_of else []

    @property
    def reads(self) -> tuple[str, ...]:
        """Every column that it takes words, categories or numbers from."""
        return self.texts + self.schema["categorical"] + self.schema["continuous"]

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Each text."""
        return self.texts

    def fit_labels(self, columns: WholeRows, labels: TrainingLabels) -> "LinearEncoder":
        """Learns terms, bins and coefficients; how strongly they are held down is chosen inside the training rows."""
        characters = 0 if columns.texts is None else columns.texts.characters
        if len(labels.label_N) > self.data.linear_rows or characters > self.data.linear_characters:
            return LinearEncoder((), TabularEncoder.fit(columns.table, labels.rows, discretize=True, bins=_BINS), None)
        return LinearEncoder.fit(columns, labels, terms=self.data.linear_terms)

    @classmethod
    def load_encoder(cls, values: dict[str, Any]) -> "LinearEncoder":
        """Inverse of `LinearEncoder.to_dict`."""
        return LinearEncoder.from_dict(values)


@dataclass(frozen=True)
class LinearEncoder(Encoder):
    """Logistic regression of a fold.

    Attributes:
      terms: kept terms, with the text column they are of.
      table: one-hot categories and bins.
      logistic: coefficients; None where there were no labels, or too many rows.
    """

    terms: tuple[tuple[int, TermWeights], ...]
    table: TabularEncoder
    logistic: LogisticFit | None

    @classmethod
    def fit(cls, columns: WholeRows, labels: TrainingLabels, *, terms: int) -> "LinearEncoder":
        """Fits everything on `labels.rows` alone; `terms`: see `Linear.DataSettings`."""
        kept: list[tuple[int, TermWeights]] = []
        raw = columns.texts
        for c in range(len(raw.names)) if raw is not None else ():
            assert raw is not None
            for analyzer in ("word", "char"):
                kept.append((c, TermWeights.fit(analyzer, raw.counts(c, analyzer)[labels.rows], most=terms)))
        table = TabularEncoder.fit(columns.table, labels.rows, discretize=True, bins=_BINS)
        encoder = cls(tuple(kept), table, None)
        if labels.classes < 2:
            return encoder
        matrix = encoder.matrix(columns)
        return replace(encoder, logistic=fit_logistic(matrix, labels))

    @property
    def sizes(self) -> dict[str, int]:
        """classes: K, 0 without labels."""
        return {"classes": 0 if self.logistic is None else len(self.logistic.intercept)}

    def matrix(self, columns: WholeRows) -> Sparse:
        """What the regression reads of every row: terms, then one-hot columns."""
        blocks = []
        for c, terms in self.terms:
            assert columns.texts is not None
            blocks.append(columns.texts.weights(c, terms))
        parts, _ = self.table.transform(columns.table, len(columns.present))
        blocks.append(_onehot(parts["id"], self.table.onehot))
        return sparse.hstack(blocks, format="csr", dtype=np.float32)

    def transform(
        self, columns: WholeRows | None, rows: int, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """`score` of every row, as if it were new."""
        score_NxK = allocate((rows, self.sizes["classes"]), np.float32)
        if columns is None or self.logistic is None:
            score_NxK[:] = 0
            return {"score": score_NxK}, np.full(rows, self.logistic is not None and columns is not None)
        score_NxK[:] = self.logistic.scores(self.matrix(columns))
        return {"score": score_NxK}, columns.present

    def transform_training(
        self, columns: WholeRows, labels: TrainingLabels, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """Training rows by regressions that were fitted on other training rows."""
        parts, present_N = self.transform(columns, len(columns.present), allocate)
        if self.logistic is not None:
            parts["score"][labels.rows] = cross_fit(self.matrix(columns), labels, self.logistic.strength)
        return parts, present_N

    def notes(self) -> list[str]:
        """What is read."""
        if self.logistic is None:
            return ["linear: left out, the table is large or has no labels."]
        terms = sum(len(t.term) for _, t in self.terms)
        columns = len({c for c, _ in self.terms})
        held = f"C = {self.logistic.strength:g}"
        return [f"linear: {terms} terms of {columns} text columns, {self.table.onehot} one-hot; {held}."]

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "LinearEncoder":
        """Inverse of `to_dict`."""
        terms = tuple((int(c), TermWeights(**t)) for c, t in d["terms"])
        logistic = None if d["logistic"] is None else LogisticFit(**d["logistic"])
        return cls(terms, TabularEncoder.from_dict(d["table"]), logistic)


def _onehot(id_NxC: Int[np.ndarray, "N C"], columns: int) -> Sparse:
    row_n, group_n = np.nonzero(id_NxC >= 0)
    one = np.ones(len(row_n), np.float32)
    return sparse.csr_matrix((one, (row_n, id_NxC[row_n, group_n])), shape=(len(id_NxC), columns))
