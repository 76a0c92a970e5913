"""A text column: words numbered as it is read, a vocabulary a fold, TextCNN; the autoencoder reconstructs word vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from mmjax.config_rules import below_one, movable_path, positive
from mmjax.data.arrays import CHUNK, Allocate, in_memory
from mmjax.data.data_report import DataReport
from mmjax.data.word_vectors import check_vectors, load_vectors, random_vectors
from mmjax.encoding.texts.numbered_texts import TextColumns, TextReader
from mmjax.errors import DataError
from mmjax.modalities.base import Encoder, Modality, Sizes, TableContext, Target, Tower, id_dtype
from mmjax.models.textcnn import PADDING, UNKNOWN, TextCNN, embed, uniform
from mmjax.registry import register_modality
from mmjax.schema import SchemaKey

_FIRST = UNKNOWN + 1


@register_modality("text")
class Text(Modality):
    """One column of free text."""

    in_paper = True
    schema_keys = (SchemaKey("text"),)
    nominal_sizes: ClassVar[dict[str, int]] = {"tokens": 100, "vocabulary": 20002}
    convolves = True

    @dataclass(frozen=True)
    class DataSettings:
        """Joins `config.data`."""

        text_length: int = positive(100)  # paper: l = 100
        min_count: int = 2  # our reading: a word seen once in training is unknown
        max_words: int = 20000  # our reading
        word_vectors: str = movable_path()  # GloVe/fastText text file; empty: random vectors

    @dataclass(frozen=True)
    class ModelSettings:
        """`config.model.text`: TextCNN (Kim 2014)."""

        embed_dim: int = positive(300)  # paper
        widths: tuple[int, ...] = (3, 4, 5)  # paper
        maps: int = positive(100)  # paper
        dropout: float = below_one(0.5)  # paper
        embed_scale: float = 0.25  # our reading: U(-0.25, 0.25), Kim 2014's range for words without a vector
        train_embedding: bool = True  # our reading

    @property
    def texts(self) -> tuple[str, ...]:
        """Its column."""
        return (self.column,)

    def reader(self, source: TableContext) -> TextReader:
        """Reads its column."""
        return TextReader(self.column, self.data.text_length, source)

    def fit(self, columns: TextColumns, rows: NDArray[np.integer]) -> "TextEncoder":
        """Counts words."""
        return TextEncoder.fit(columns, rows, min_count=self.data.min_count, max_words=self.data.max_words)

    def report_unseen(self, fitted: Sequence["TextEncoder"], columns: TextColumns, report: DataReport) -> None:
        """Tells how many texts have no word of any fold's vocabulary, such as those in another language."""
        known = {word for encoder in fitted for word in encoder.words}
        known_V = np.array([word in known for word in columns.words])
        chunks = (columns.word_NxT[at : at + CHUNK] for at in range(0, len(columns.word_NxT), CHUNK))
        new = np.flatnonzero(columns.present & ~np.concatenate([known_V[word_nxT].any(axis=1) for word_nxT in chunks]))
        if len(new):
            action = f"{len(new)} of {len(columns.word_NxT)} texts have no word that training knew"
            report.add("text_unknown", file="table to predict", row=int(new[0]), column=columns.name, action=action)

    @classmethod
    def load_encoder(cls, values: dict[str, Any]) -> "TextEncoder":
        """Inverse of `TextEncoder.to_dict`."""
        return TextEncoder.from_dict(values)

    @staticmethod
    def arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
        """`word`: 0 padding, 1 unknown word, 2... words."""
        return {"word": ((sizes["tokens"],), np.dtype(id_dtype(sizes["vocabulary"])))}

    @staticmethod
    def tower(sizes: Sizes, model: Any, *, dtype: Any, axis_name: str | None) -> Tower:
        """TextCNN (paper, section 4.1, #2)."""
        text = model.text
        module = TextCNN(
            vocabulary=sizes["vocabulary"],
            embed_dim=text.embed_dim,
            widths=text.widths,
            maps=text.maps,
            dropout=text.dropout,
            width=model.width,
            embed_scale=text.embed_scale,
            train_embedding=text.train_embedding,
            dtype=dtype,
            axis_name=axis_name,
            parent=None,
        )
        return Tower(module, lambda inputs, _: (inputs["word"], {}))

    @staticmethod
    def target(sizes: Sizes, model: Any) -> Target:
        """The words' vectors side by side, from a table of its own; padding does not count."""
        dim = model.text.embed_dim

        def flatten(inputs: Mapping[str, Any], parameters: Mapping[str, Any], dtype: Any) -> Any:
            x_BxTxE = embed(parameters["table"], inputs["word"], dtype)
            return x_BxTxE.reshape(len(x_BxTxE), -1)

        def weight(inputs: Mapping[str, Any], present_Bx1: Any) -> Any:
            return present_Bx1 * jnp.repeat((inputs["word"] != PADDING).astype(jnp.float32), dim, axis=1)

        table = (uniform(model.text.embed_scale), (sizes["vocabulary"], dim))
        return Target(sizes["tokens"] * dim, flatten, weight, {"table": table})

    @classmethod
    def initial_values(cls, encoder: "TextEncoder", settings: Any, report: DataReport | None = None) -> dict[str, np.ndarray]:
        """Word vectors of `config.data.word_vectors`: the padding row is zero, words that the file lacks are drawn."""
        path, text = settings.data.word_vectors, settings.model.text
        if not path:
            return {}
        found_VxE, found_V = load_vectors(Path(path), encoder.words, text.embed_dim, report)
        # '' names the unknown word: no real word is empty.
        drawn_VxE = random_vectors(["", *encoder.words], text.embed_dim, seed=settings.train.seed, scale=text.embed_scale)
        drawn_VxE[1:][found_V] = found_VxE[found_V]
        table_VxE = np.concatenate([np.zeros((1, text.embed_dim), np.float32), drawn_VxE])
        return {"tower/embedding": table_VxE, "target/table": table_VxE}

    @classmethod
    def assumed_sizes(cls, data: Any) -> dict[str, int]:
        """The config's length."""
        return cls.nominal_sizes | {"tokens": data.text_length}

    @staticmethod
    def check_settings(settings: Any) -> None:
        """Looks at the first line of the file of word vectors."""
        if settings.data.word_vectors:
            check_vectors(Path(settings.data.word_vectors), settings.model.text.embed_dim)


@dataclass(frozen=True)
class TextEncoder(Encoder):
    """Words to ids: 0 padding, 1 unknown, 2... `words`.

    Attributes:
      words: the vocabulary, the most frequent first.
      tokens: T, tokens a row.
    """

    words: tuple[str, ...]
    tokens: int

    @classmethod
    def fit(cls, columns: TextColumns, rows: NDArray[np.integer], *, min_count: int, max_words: int) -> "TextEncoder":
        """Counts the words of `rows` alone.

        Args:
          columns: the whole table; rows outside `rows` are not read.
          rows: indices of the training rows.
          min_count: a word seen less often is unknown.
          max_words: keep at most this many, the most frequent; ties by the alphabet.
        """
        words = columns.words
        counts_V = np.zeros(len(words), np.int64)
        for start in range(0, len(rows), CHUNK):
            word_NxT = np.asarray(columns.word_NxT[rows[start : start + CHUNK]])
            counts_V += np.bincount(word_NxT.ravel(), minlength=len(counts_V))
        counts_V[:1] = 0  # padding
        kept = [(-int(counts_V[i]), words[i]) for i in np.flatnonzero(counts_V >= max(min_count, 1)).tolist()]
        return cls(tuple(word for _, word in sorted(kept)[:max_words]), columns.word_NxT.shape[1])

    @property
    def vocabulary(self) -> int:
        """Number of ids, padding and unknown included."""
        return _FIRST + len(self.words)

    @property
    def sizes(self) -> dict[str, int]:
        """tokens: T, text length; vocabulary: number of text ids."""
        return {"tokens": self.tokens, "vocabulary": self.vocabulary}

    def transform(
        self, columns: TextColumns | None, rows: int, allocate: Allocate = in_memory
    ) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " N"]]:
        """`word`: ids of every row, of `id_dtype(vocabulary)`; a row without a word that is read lacks its text.

        Raises:
          DataError: the table was cut to another number of tokens.
        """
        if columns is None:  # a view of one zero: no memory, however many rows
            zero = np.zeros((), id_dtype(self.vocabulary))
            return {"word": np.broadcast_to(zero, (rows, self.tokens))}, np.zeros(rows, bool)
        if columns.word_NxT.shape[1] != self.tokens:
            raise DataError(
                f"{columns.name}: was cut to {columns.word_NxT.shape[1]} tokens a row, training to {self.tokens}; use its "
                "text_length."
            )
        ids = {word: i for i, word in enumerate(self.words, _FIRST)}
        lookup_V = np.array([ids.get(word, UNKNOWN) for word in columns.words] or [PADDING], id_dtype(self.vocabulary))
        lookup_V[0] = PADDING
        id_NxT = allocate(columns.word_NxT.shape, lookup_V.dtype)
        for start in range(0, len(id_NxT), CHUNK):
            part = slice(start, start + CHUNK)
            id_NxT[part] = lookup_V[columns.word_NxT[part]]
        return {"word": id_NxT}, (id_NxT != PADDING).any(axis=1)

    def notes(self) -> list[str]:
        """The size of the vocabulary."""
        return [f"text: {len(self.words)} words in the vocabulary, {self.tokens} tokens a row."]

    def to_dict(self) -> dict[str, Any]:
        """Words by the alphabet, so that a person finds one and folds can be compared, and each one's place by frequency."""
        place = {word: i for i, word in enumerate(self.words)}
        return {"words": sorted(place), "places": [place[word] for word in sorted(place)], "tokens": self.tokens}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "TextEncoder":
        """Inverse of `to_dict`; older files have the words by frequency, and no places."""
        words = list(map(str, d["words"]))
        by_place = dict(zip(map(int, d.get("places", range(len(words)))), words, strict=True))
        return cls(tuple(by_place[i] for i in range(len(words))), int(d["tokens"]))
