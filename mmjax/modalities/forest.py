"""A random forest on the table's columns, whose class scores go straight to the classifier's: for small tables.

A thousand rows teach a network little of thresholds and of columns that only say something together; trees find these.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mmjax.config_rules import positive
from mmjax.data.arrays import Allocate, in_memory
from mmjax.encoding.base import TrainingLabels
from mmjax.encoding.tabular_encoder import TabularEncoder
from mmjax.encoding.whole_rows import WholeRows
from mmjax.modalities.base import Encoder, Modality
from mmjax.modalities.shared_columns import ClassScores
from mmjax.registry import register_modality
from mmjax.schema import Schema

_BINS, _LEAF, _UNSURE, _DRAWN, _BLOCK = 255, 2, 0.02, 4000, 2048
"""Edges of a number, and categories of a column, that trees see; rows of a leaf; even share of a score over the classes; most
rows of a tree; rows scored at once."""


@register_modality("forest")
class Forest(ClassScores):
    """All categories and numbers of a table; every row has it."""

    @dataclass(frozen=True)
    class DataSettings:
        """Joins `config.data`."""

        forest_rows: int = positive(12_000)  # a larger table has no forest: the network finds there what it says
        forest_trees: int = positive(200)

    @classmethod
    def all_of(cls, schema: Schema, data: Any) -> list[Modality]:
        """One, if there is a table."""
        return [cls(cls.kind, "", schema, data)] if schema["categorical"] + schema["continuous"] else []

    @property
    def reads(self) -> tuple[str, ...]:
        """Every category and number."""
        return self.schema["categorical"] + self.schema["continuous"]

    def fit_labels(self, columns: WholeRows, labels: TrainingLabels) -> "ForestEncoder":
        """Grows the trees."""
        table = TabularEncoder.fit(columns.table, labels.rows, bins=_BINS, piecewise=True, most=_BINS)
        if len(labels.label_N) > self.data.forest_rows or labels.classes < 2:  # of the table: all folds have the same sizes
            return ForestEncoder(table, None)
        return ForestEncoder(table, Trees.grow(inputs(table, columns), labels, self.data.forest_trees))

    @classmethod
    def load_encoder(cls, values: dict[str, Any]) -> "ForestEncoder":
        """Inverse of `ForestEncoder.to_dict`."""
        trees = values["trees"]
        return ForestEncoder(TabularEncoder.from_dict(values["table"]), None if trees is None else Trees(**trees))


@dataclass(frozen=True)
class Trees:
    """A forest as plain arrays, its trees one after the other (scikit-learn's documented `tree_`).

    Attributes:
      root: node at which each tree begins.
      left, right: nodes to go to; a leaf goes to itself.
      feature, threshold: left where the input is at most the threshold.
      value: share of each class among a node's training rows.
    """

    root: Int[np.ndarray, " T"]
    left: Int[np.ndarray, " n"]
    right: Int[np.ndarray, " n"]
    feature: Int[np.ndarray, " n"]
    threshold: Float[np.ndarray, " n"]
    value: Float[np.ndarray, "n K"]

    @classmethod
    def grow(cls, x_NxD: Float[np.ndarray, "N D"], labels: TrainingLabels, trees: int) -> "Trees":
        """Breiman's forest (2001) on the labelled training rows.

        Not scikit-learn's own loop: it changes Python's warning filters, which several threads must not do at once.
        """
        from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415 - a second, and only this modality needs it

        grown = []
        for seed, rows in enumerate(_drawn(labels, trees)):
            tree = DecisionTreeClassifier(max_features="sqrt", min_samples_leaf=_LEAF, random_state=seed)
            tree.fit(x_NxD[rows], labels.label_N[rows])
            grown.append((tree.tree_, tree.classes_))
        if not grown:
            none = np.zeros(0, np.int32)
            return cls(none, none, none, none, np.zeros(0), np.zeros((0, labels.classes), np.float32))
        root = np.cumsum([0, *(tree.node_count for tree, _ in grown)])[:-1].astype(np.int32)

        def child(name: str) -> np.ndarray:
            sides = [(getattr(tree, name), np.arange(tree.node_count)) for tree, _ in grown]
            nodes = [np.where(side < 0, own, side) + at for (side, own), at in zip(sides, root, strict=True)]
            return np.concatenate(nodes).astype(np.int32)

        value_nxK = np.zeros((sum(tree.node_count for tree, _ in grown), labels.classes), np.float32)
        for at, (tree, classes) in zip(root, grown, strict=True):
            value_nxK[at : at + tree.node_count, classes] = tree.value[:, 0]
        feature_n = np.maximum(np.concatenate([tree.feature for tree, _ in grown]), 0).astype(np.int32)
        threshold_n = np.concatenate([tree.threshold for tree, _ in grown])
        return cls(root, child("children_left"), child("children_right"), feature_n, threshold_n, value_nxK)

    def scores(
        self, x_NxD: Float[np.ndarray, "N D"], counts_NxT: Float[np.ndarray, "N T"] | None = None
    ) -> Float[np.ndarray, "N K"]:
        """Logarithm of each class's probability; `counts_NxT` is 1 for the trees that a row may ask, None: all."""
        out_NxK = np.zeros((len(x_NxD), self.value.shape[1]), np.float32)
        for start in range(0, len(x_NxD), _BLOCK):
            x_bxD = x_NxD[start : start + _BLOCK]
            row_bx1 = np.arange(len(x_bxD))[:, None]
            node_bxT = np.broadcast_to(self.root, (len(x_bxD), len(self.root)))
            while True:
                goes_left = x_bxD[row_bx1, self.feature[node_bxT]] <= self.threshold[node_bxT]
                after_bxT = np.where(goes_left, self.left[node_bxT], self.right[node_bxT])
                if np.array_equal(after_bxT, node_bxT):
                    break
                node_bxT = after_bxT
            counts_bxT = np.ones(node_bxT.shape, np.float32) if counts_NxT is None else counts_NxT[start : start + _BLOCK]
            share_bxT = counts_bxT / np.maximum(counts_bxT.sum(axis=1, keepdims=True), 1)
            out_NxK[start : start + _BLOCK] = np.einsum("bt,btk->bk", share_bxT, self.value[node_bxT])
            out_NxK[start : start + _BLOCK][~counts_bxT.any(axis=1)] = 1 / out_NxK.shape[1]  # it may ask none: any class
        return np.log((1 - _UNSURE) * out_NxK + _UNSURE / out_NxK.shape[1])


@dataclass(frozen=True)
class ForestEncoder(Encoder):
    """What a fold learnt of the table.

    Attributes:
      table: categories, and edges of numbers.
      trees: None without labels, or in a large table.
    """

    table: TabularEncoder
    trees: Trees | None

    @property
    def sizes(self) -> dict[str, int]:
        """classes: K, 0 without trees."""
        return {"classes": 0 if self.trees is None else self.trees.value.shape[1]}

    def transform(
        self, columns: WholeRows | None, rows: int, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """`score` of every row, as if it were new."""
        score_NxK = allocate((rows, self.sizes["classes"]), np.float32)
        score_NxK[:] = 0 if columns is None or self.trees is None else self.trees.scores(inputs(self.table, columns))
        return {"score": score_NxK}, np.full(rows, self.trees is not None and columns is not None)

    def transform_training(
        self, columns: WholeRows, labels: TrainingLabels, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """Training rows by the trees that drew neither them nor, where folds keep groups together, a row of their group."""
        if self.trees is None:
            return self.transform(columns, len(columns.present), allocate)
        rows, unit_N = labels.rows, labels.unit_N
        counts_NxT = np.ones((len(unit_N), len(self.trees.root)), np.float32)
        for t, drawn in enumerate(_drawn(labels, len(self.trees.root))):
            counts_NxT[rows[np.isin(unit_N[rows], unit_N[drawn])], t] = 0
        score_NxK = allocate((len(unit_N), self.sizes["classes"]), np.float32)
        score_NxK[:] = self.trees.scores(inputs(self.table, columns), counts_NxT)
        return {"score": score_NxK}, np.ones(len(unit_N), bool)

    def notes(self) -> list[str]:
        """What is read."""
        if self.trees is None:
            return ["forest: left out, the table is large or has no labels."]
        return [f"forest: {len(self.trees.root)} trees."]


def _drawn(labels: TrainingLabels, trees: int) -> Iterator[Int[np.ndarray, " n"]]:
    """Rows of each tree, with replacement; of at most two thirds of the groups, where folds keep groups together."""
    rows, draw = labels.rows[labels.label_N[labels.rows] >= 0], np.random.default_rng(0)
    group_n = None if labels.group_N is None else labels.group_N[rows]
    groups = np.unique(rows if group_n is None else group_n)
    for _ in range(trees if len(rows) else 0):
        kept = rows
        if group_n is not None:
            kept = rows[np.isin(group_n, draw.choice(groups, max(1, 2 * len(groups) // 3), replace=False))]
        yield kept[draw.integers(0, len(kept), min(len(kept), _DRAWN))]


def inputs(table: TabularEncoder, columns: WholeRows) -> Float[np.ndarray, "N D"]:
    """What the trees read: each number's place among its quantiles, -1 where it is missing, and one-hot categories."""
    parts, _ = table.transform(columns.table, len(columns.present))
    id_NxC, onehot_NxO = parts["id"].astype(np.int64), np.zeros((len(columns.present), table.onehot + 1), np.float32)
    np.put_along_axis(onehot_NxO, np.where(id_NxC < 0, table.onehot, id_NxC), 1, axis=1)
    return np.concatenate([parts["number"], onehot_NxO[:, :-1]], axis=1).astype(np.float32)
