"""Texts as counts: TF-IDF of words, pairs and pieces of words, turned into few numbers, and the labels of the nearest texts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from mmjax.config_rules import not_negative, positive
from mmjax.data.arrays import Allocate, in_memory
from mmjax.encoding.base import TrainingLabels
from mmjax.encoding.neighbours import Neighbours, own_group
from mmjax.encoding.raw_texts import RawTextReader, RawTexts
from mmjax.encoding.term_weights import Sparse, TermWeights
from mmjax.modalities.base import Encoder, Modality, Sizes, TableContext, Target, Tower
from mmjax.models.blocks import Blocks
from mmjax.registry import register_modality
from mmjax.schema import Schema, SchemaKey

_SHORT = 60
"""Characters on average up to which a text is described by pieces of words too."""


@register_modality("words")
class Words(Modality):
    """All text columns, long and short."""

    on_request = True
    schema_keys = (SchemaKey("short_text", listed=True),)
    nominal_sizes: ClassVar[dict[str, int]] = {"numbers": 130, "classes": 5}

    @dataclass(frozen=True)
    class DataSettings:
        """Joins `config.data`."""

        words_numbers: int = positive(60)  # singular vectors of a column's TF-IDF
        words_terms: int = positive(100_000)  # most terms of a column
        words_neighbours: int = not_negative(16)  # training texts whose labels are read; 0: none

    @dataclass(frozen=True)
    class ModelSettings:
        """`config.model.words`: two dense layers, side by side."""

        width: int = positive(64)  # of the texts' numbers
        near: int = positive(16)  # of the neighbours

    @classmethod
    def all_of(cls, schema: Schema, data: Any) -> list[Modality]:
        """One, if there is a text."""
        return [cls(cls.kind, "", schema, data)] if schema["text"] + schema["short_text"] else []

    @property
    def reads(self) -> tuple[str, ...]:
        """The text columns."""
        return self.schema["text"] + self.schema["short_text"]

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Each text."""
        return self.reads

    def lacking(self, header: Sequence[str], source: TableContext) -> str:
        """Only if every text is gone."""
        del source
        return "" if set(header) & set(self.reads) else "there is no column of text"

    def without(self, schema: Schema) -> Schema:
        """The texts stay what they are for others."""
        return schema

    def reader(self, source: TableContext) -> RawTextReader:
        """Keeps the texts."""
        return RawTextReader.of(self.reads, source)

    def fit(self, columns: RawTexts, rows: NDArray[np.integer]) -> "WordsEncoder":
        """Without labels: no neighbours."""
        return self.fit_labels(columns, TrainingLabels.none(rows, len(columns.present)))

    def fit_labels(self, columns: RawTexts, labels: TrainingLabels) -> "WordsEncoder":
        """Learns terms and singular vectors, and keeps the training texts for `Neighbours`."""
        data = self.data
        return WordsEncoder.fit(columns, labels, data.words_numbers, data.words_terms, data.words_neighbours)

    @classmethod
    def load_encoder(cls, values: dict[str, Any]) -> "WordsEncoder":
        """Inverse of `WordsEncoder.to_dict`."""
        return WordsEncoder.from_dict(values)

    @staticmethod
    def arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
        """`number`: singular vectors and statistics; `neighbour`: see `Neighbours`."""
        return {"number": ((sizes["numbers"],), np.float32), "neighbour": ((_width(sizes),), np.float32)}

    @staticmethod
    def tower(sizes: Sizes, model: Any, *, dtype: Any, axis_name: str | None) -> Tower:
        """A dense layer over each."""
        del sizes, axis_name
        module = Blocks((model.words.width, model.words.near), dtype, parent=None)
        return Tower(module, lambda inputs, dtype: ((inputs["number"].astype(dtype), inputs["neighbour"].astype(dtype)), {}))

    @staticmethod
    def target(sizes: Sizes, model: Any) -> Target:
        """The same vector."""
        del model
        return Target(sizes["numbers"] + _width(sizes), lambda inputs, _, dtype: _vector(inputs).astype(dtype))


def _width(sizes: Sizes) -> int:
    return sizes["classes"] + 2 if sizes["classes"] else 0


def _vector(inputs: Any) -> Any:
    return jnp.concatenate([inputs["number"], inputs["neighbour"]], axis=1)


@dataclass(frozen=True)
class Block:
    """One column by one analyzer.

    Attributes:
      column: place among the text columns.
      terms: those kept.
      component: float32 V x D, singular vectors over the root mean square of all that training texts have.
    """

    column: int
    terms: TermWeights
    component: Float[np.ndarray, "V D"]


@dataclass(frozen=True)
class WordsEncoder(Encoder):
    """What a fold learnt of its texts.

    Attributes:
      blocks: in the order of the numbers.
      mean, scale: of the statistics of each column.
      neighbours: training texts with their labels; None without labels.
    """

    blocks: tuple[Block, ...]
    mean: Float[np.ndarray, " S"]
    scale: Float[np.ndarray, " S"]
    neighbours: Neighbours | None

    @classmethod
    def fit(cls, columns: RawTexts, labels: TrainingLabels, numbers: int, terms: int, neighbours: int) -> "WordsEncoder":
        """Fits on `labels.rows` alone; see `Words.DataSettings`."""
        blocks: list[Block] = []
        statistics = []
        for c in range(len(columns.names)):
            texts = columns.texts(c)
            training = [texts[i] for i in labels.rows]
            statistics.append(_statistics(training))
            short = sum(map(len, training)) <= _SHORT * len(training)
            for analyzer in ("word", "char") if short else ("word",):
                blocks += _fit_block(c, analyzer, columns.counts(c, analyzer)[labels.rows], numbers, terms)
        value_nxS = np.concatenate(statistics, axis=1)
        deviation = value_nxS.std(axis=0)
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6)
        encoder = cls(tuple(blocks), value_nxS.mean(axis=0), scale, None)
        if labels.classes < 2 or not neighbours or not blocks:
            return encoder
        return replace(encoder, neighbours=Neighbours.fit(encoder.weights(columns), labels, neighbours))

    @property
    def sizes(self) -> dict[str, int]:
        """numbers: singular vectors and statistics; classes: K of the neighbours' labels, 0 without."""
        numbers = sum(b.component.shape[1] for b in self.blocks) + len(self.mean)
        return {"numbers": numbers, "classes": 0 if self.neighbours is None else len(self.neighbours.prior)}

    def weights(self, columns: RawTexts) -> Sparse:
        """TF-IDF of the first block: what neighbours are found by."""
        return columns.weights(self.blocks[0].column, self.blocks[0].terms)

    def vectors(self, columns: RawTexts) -> Float[np.ndarray, "N D"]:
        """Every row's texts by singular vectors."""
        parts = [columns.weights(b.column, b.terms) @ b.component for b in self.blocks]
        return np.concatenate(parts, axis=1).astype(np.float32) if parts else np.zeros((len(columns.present), 0), np.float32)

    def transform(
        self, columns: RawTexts | None, rows: int, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """`number` and `neighbour` of every row, as if it were new."""
        sizes = self.sizes
        number_NxD = allocate((rows, sizes["numbers"]), np.float32)
        neighbour_NxL = allocate((rows, _width(sizes)), np.float32)
        if columns is None:
            number_NxD[:], neighbour_NxL[:] = 0, 0
            return {"number": number_NxD, "neighbour": neighbour_NxL}, np.zeros(rows, bool)
        vector_NxD = self.vectors(columns)
        statistics = np.concatenate([_statistics(columns.texts(c)) for c in range(len(columns.names))], axis=1)
        number_NxD[:] = np.concatenate([vector_NxD, (statistics - self.mean) * self.scale], axis=1)
        if self.neighbours is not None:
            neighbour_NxL[:] = self.neighbours.labels_near(self.weights(columns))
        return {"number": number_NxD, "neighbour": neighbour_NxL}, columns.present

    def hide_own_labels(self, columns: RawTexts, labels: TrainingLabels, parts: dict[str, np.ndarray]) -> None:
        """A training text's neighbours are others, of other groups where folds keep groups together."""
        if self.neighbours is not None:
            own = self.weights(columns)[labels.rows]
            parts["neighbour"][labels.rows] = self.neighbours.labels_near(own, own_group(labels.rows, labels))

    def notes(self) -> list[str]:
        """What is read."""
        terms = sum(len(b.terms.term) for b in self.blocks)
        near = "" if self.neighbours is None else f", labels of the {self.neighbours.count} nearest training texts"
        return [f"words: {terms} terms as {self.sizes['numbers']} numbers{near}."]

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "WordsEncoder":
        """Inverse of `to_dict`."""
        blocks = tuple(Block(int(b["column"]), TermWeights(**b["terms"]), b["component"]) for b in d["blocks"])
        return cls(blocks, d["mean"], d["scale"], None if d["neighbours"] is None else Neighbours(**d["neighbours"]))


def _fit_block(column: int, analyzer: str, counts: Sparse, numbers: int, most: int) -> list[Block]:
    from sklearn.decomposition import TruncatedSVD  # noqa: PLC0415 - a second, and only this modality needs it

    terms = TermWeights.fit(analyzer, counts, most=most)
    size = min(numbers, len(terms.term) - 1, counts.shape[0] - 1)
    if size < 1:
        return []
    weight_nxV = terms.transform(counts)
    svd = TruncatedSVD(size, n_iter=3, random_state=0).fit(weight_nxV)
    component_VxD = np.asarray(svd.components_).T
    rms = np.sqrt(np.square(weight_nxV @ component_VxD).mean())
    return [Block(column, terms, (component_VxD / max(rms, 1e-6)).astype(np.float32))]


def _statistics(texts: Sequence[str]) -> Float[np.ndarray, "N 6"]:
    """Length, words, exclamation and question marks, capitals and digits of each text."""

    def of(text: str) -> tuple[float, ...]:
        size = len(text) + 1
        capitals, digits = sum(map(str.isupper, text)) / size, sum(map(str.isdigit, text)) / size
        return np.log1p(len(text)), np.log1p(len(text.split())), text.count("!"), text.count("?"), capitals, digits

    return np.array([of(text) for text in texts], np.float64).reshape(len(texts), 6)
