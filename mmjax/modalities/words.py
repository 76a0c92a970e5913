"""Texts as counts: TF-IDF of words, pairs and pieces of words, turned into few numbers, and the labels of the nearest texts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from mmjax.config_rules import not_negative, positive
from mmjax.data.arrays import Allocate, in_memory
from mmjax.encoding.base import TrainingLabels
from mmjax.encoding.texts.neighbours import Neighbours
from mmjax.encoding.texts.raw_texts import RawTextReader, RawTexts
from mmjax.encoding.texts.term_weights import Sparse, TermWeights
from mmjax.modalities.base import Encoder, Modality, Sizes, TableContext, Target, Tower
from mmjax.modalities.shared_columns import SharesColumns
from mmjax.models.blocks import Blocks
from mmjax.registry import register_modality
from mmjax.schema import Schema, SchemaKey

_SHORT = 60
"""Characters on average up to which a text is described by pieces of words too."""


@register_modality("words")
class Words(SharesColumns):
    """All text columns, long and short."""

    schema_keys = (SchemaKey("short_text", listed=True),)
    nominal_sizes: ClassVar[dict[str, int]] = {"text": 60, "short": 32, "statistic": 12, "classes": 5}

    @dataclass(frozen=True)
    class DataSettings:
        """Joins `config.data`."""

        words_numbers: int = positive(60)  # singular vectors of a text's TF-IDF
        words_short: int = positive(8)  # of a short text's, of its words and of its pieces of words each
        words_terms: int = positive(100_000)  # most terms of a column
        words_neighbours: int = not_negative(16)  # training texts whose labels are read; 0: none

    @dataclass(frozen=True)
    class ModelSettings:
        """`config.model.words`: dense layers, side by side."""

        width: int = positive(64)  # of the texts
        side: int = positive(16)  # of the short texts, of the statistics and of the neighbours each

    @classmethod
    def all_of(cls, schema: Schema, data: Any) -> list[Modality]:
        """One, if there is a text."""
        return [cls(cls.kind, "", schema, data)] if schema["text"] + schema["short_text"] else []

    @property
    def reads(self) -> tuple[str, ...]:
        """The text columns."""
        return self.texts

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Each text."""
        return self.reads

    def lacking(self, header: Sequence[str], source: TableContext) -> str:
        """Only if every text is gone."""
        del source
        return "" if set(header) & set(self.reads) else "there is no column of text"

    def reader(self, source: TableContext) -> RawTextReader:
        """Keeps the texts."""
        return RawTextReader.of(self.reads, source)

    def fit(self, columns: RawTexts, rows: NDArray[np.integer]) -> "WordsEncoder":
        """Without labels: no neighbours."""
        return self.fit_labels(columns, TrainingLabels.none(rows, len(columns.present)))

    def fit_labels(self, columns: RawTexts, labels: TrainingLabels) -> "WordsEncoder":
        """Learns terms and singular vectors, and keeps the training texts for `Neighbours`."""
        data, short = self.data, self.schema["short_text"]
        numbers = [data.words_short if name in short else data.words_numbers for name in columns.names]
        return WordsEncoder.fit(
            columns, labels, numbers, data.words_terms, data.words_neighbours, len(columns.names) - len(short)
        )

    @classmethod
    def load_encoder(cls, values: dict[str, Any]) -> "WordsEncoder":
        """Inverse of `WordsEncoder.to_dict`."""
        return WordsEncoder.from_dict(values)

    @staticmethod
    def arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
        """`text` and `short`: singular vectors; `statistic`: see `RawTexts.statistics`; `neighbour`: see `Neighbours`."""
        return {part: ((size,), np.float32) for part, size in _widths(sizes).items()}

    @staticmethod
    def tower(sizes: Sizes, model: Any, *, dtype: Any, axis_name: str | None) -> Tower:
        """A dense layer over each part."""
        units = (model.words.width, *(model.words.side,) * 3)
        module = Blocks(units, dtype, model.input_dropout, axis_name, parent=None)
        return Tower(module, lambda inputs, dtype: (tuple(inputs[part].astype(dtype) for part in _widths(sizes)), {}))

    @staticmethod
    def target(sizes: Sizes, model: Any) -> Target:
        """All parts but the neighbours' labels: an autoencoder must not know labels."""
        del model
        widths = {part: size for part, size in _widths(sizes).items() if part != "neighbour"}

        def flatten(inputs: Any, _: Any, dtype: Any) -> Any:
            return jnp.concatenate([inputs[part] for part in widths], axis=1).astype(dtype)

        return Target(sum(widths.values()), flatten)


def _widths(sizes: Sizes) -> dict[str, int]:
    """Numbers of each part of a row."""
    near = sizes["classes"] + 2 if sizes["classes"] else 0
    return {**{part: sizes[part] for part in ("text", "short", "statistic")}, "neighbour": near}


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
      long: the columns before this one are texts, the others short texts.
    """

    blocks: tuple[Block, ...]
    mean: Float[np.ndarray, " S"]
    scale: Float[np.ndarray, " S"]
    neighbours: Neighbours | None
    long: int

    @classmethod
    def fit(
        cls, columns: RawTexts, labels: TrainingLabels, numbers: Sequence[int], terms: int, neighbours: int, long: int
    ) -> "WordsEncoder":
        """Fits on `labels.every_row` alone; neighbours are of `labels.rows`.

        Args:
          columns: the texts.
          labels: of the training rows.
          numbers: singular vectors, by column.
          terms: most terms of a column.
          neighbours: training texts whose labels are read.
          long: see the class.
        """
        blocks: list[Block] = []
        statistics = []
        for c in range(len(columns.names)):
            texts = columns.texts(c)
            statistics.append(columns.statistics(c)[labels.every_row])
            short = sum(map(len, texts)) <= _SHORT * len(texts)  # of the whole table: all folds have the same sizes
            for analyzer in ("word", "char") if short else ("word",):
                blocks.append(_fit_block(c, analyzer, columns.counts(c, analyzer)[labels.every_row], numbers[c], terms))
        value_nxS = np.concatenate(statistics, axis=1)
        deviation = value_nxS.std(axis=0)
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6)
        encoder = cls(tuple(blocks), value_nxS.mean(axis=0), scale, None, long)
        if labels.classes < 2 or not neighbours:
            return encoder
        return replace(encoder, neighbours=Neighbours.fit(encoder.weights(columns), labels, neighbours))

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of each part; classes: K of the neighbours' labels, 0 without."""
        text, short = (sum(b.component.shape[1] for b in self._blocks(long=long)) for long in (True, False))
        classes = 0 if self.neighbours is None else len(self.neighbours.prior)
        return {"text": text, "short": short, "statistic": len(self.mean), "classes": classes}

    def weights(self, columns: RawTexts) -> Sparse:
        """TF-IDF of the first block: what neighbours are found by."""
        return columns.weights(self.blocks[0].column, self.blocks[0].terms)

    def transform(
        self, columns: RawTexts | None, rows: int, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """Every row, as if it were new."""
        return self._encode(columns, rows, allocate, None)

    def transform_training(
        self, columns: RawTexts, labels: TrainingLabels, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """A training text's neighbours are others, of other groups where folds keep groups together."""
        # No other row is among those that are searched, nor are others of its group: nothing changes for it.
        return self._encode(columns, len(labels.label_N), allocate, labels.unit_N)

    def _encode(
        self, columns: RawTexts | None, rows: int, allocate: Allocate, own_N: Int[np.ndarray, " N"] | None
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        parts = {part: allocate((rows, size), np.float32) for part, size in _widths(self.sizes).items()}
        if columns is None:
            for array in parts.values():
                array[:] = 0
            return parts, np.zeros(rows, bool)
        for part, long in (("text", True), ("short", False)):
            vectors = [columns.weights(b.column, b.terms) @ b.component for b in self._blocks(long=long)]
            parts[part][:] = np.concatenate(vectors, axis=1) if vectors else 0
        statistic_NxS = np.concatenate([columns.statistics(c) for c in range(len(columns.names))], axis=1)
        parts["statistic"][:] = (statistic_NxS - self.mean) * self.scale
        if self.neighbours is not None:
            parts["neighbour"][:] = self.neighbours.labels_near(self.weights(columns), own_N)
        return parts, columns.present

    def _blocks(self, *, long: bool) -> list[Block]:
        return [b for b in self.blocks if (b.column < self.long) == long]

    def notes(self) -> list[str]:
        """What is read."""
        terms = sum(len(b.terms.term) for b in self.blocks)
        numbers = sum(b.component.shape[1] for b in self.blocks)
        near = "" if self.neighbours is None else f", labels of the {self.neighbours.count} nearest training texts"
        return [f"words: {terms} terms as {numbers} numbers{near}."]

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "WordsEncoder":
        """Inverse of `to_dict`."""
        blocks = tuple(Block(int(b["column"]), TermWeights(**b["terms"]), b["component"]) for b in d["blocks"])
        near = None if d["neighbours"] is None else Neighbours(**d["neighbours"])
        return cls(blocks, d["mean"], d["scale"], near, int(d["long"]))


def _fit_block(column: int, analyzer: str, counts: Sparse, numbers: int, most: int) -> Block:
    """With fewer terms or rows than `numbers` the last numbers are 0 for every text."""
    from sklearn.decomposition import TruncatedSVD  # noqa: PLC0415 - a second, and only this modality needs it

    terms = TermWeights.fit(analyzer, counts, most=most)
    component_VxD = np.zeros((len(terms.term), numbers), np.float32)
    size = min(numbers, len(terms.term) - 1, counts.shape[0] - 1)
    if size > 0:
        weight_nxV = terms.transform(counts)
        with np.errstate(divide="ignore", invalid="ignore"):  # texts that are all alike have no variance to explain
            found_VxD = np.asarray(TruncatedSVD(size, n_iter=3, random_state=0).fit(weight_nxV).components_).T
        component_VxD[:, :size] = found_VxD / max(np.sqrt(np.square(weight_nxV @ found_VxD).mean()), 1e-6)
    return Block(column, terms, component_VxD)
