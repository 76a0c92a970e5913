"""What modalities share that read others' columns, too; and what those of them share whose encoder scores the classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmjax.config_rules import positive
from mmjax.encoding.base import TrainingLabels
from mmjax.encoding.whole_rows import WholeRowReader
from mmjax.modalities.base import Encoder, Modality, Sizes, TableContext, Target, Tower
from mmjax.models.blocks import Blocks
from mmjax.schema import Schema


class SharesColumns(Modality):
    """Reads texts or the table's columns beside the modality that they are of."""

    on_request = True

    @property
    def texts(self) -> tuple[str, ...]:
        """All text columns, long and short."""
        return self.schema["text"] + self.schema["short_text"]

    def without(self, schema: Schema) -> Schema:
        """The columns stay the other modalities'."""
        return schema


class ClassScores(SharesColumns):
    """Scores from whole rows that go straight to the classifier's, and through a dense layer too; every row has them."""

    nominal_sizes: ClassVar[dict[str, int]] = {"classes": 5}

    @dataclass(frozen=True)
    class ModelSettings:
        """`config.model.<kind>`: a dense layer beside the scores themselves."""

        width: int = positive(16)

    def lacking(self, header: Sequence[str], source: TableContext) -> str:
        """Never as a whole: texts may be empty, and the schema checks the table's own columns."""
        del header, source
        return ""

    def reader(self, source: TableContext) -> WholeRowReader:
        """Reads texts and table, with whoever else wants them."""
        return WholeRowReader.of(self.schema, self.texts, source)

    def fit(self, columns: Any, rows: NDArray[np.integer]) -> Encoder:
        """Without labels there is nothing to learn: no scores."""
        return self.fit_labels(columns, TrainingLabels.none(rows, len(columns.present)))

    @staticmethod
    def arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
        """`score`: logarithm of each class's probability."""
        return {"score": ((sizes["classes"],), np.float32)}

    @classmethod
    def tower(cls, sizes: Sizes, model: Any, *, dtype: Any, axis_name: str | None) -> Tower:  # type: ignore[override]
        """A dense layer over the scores, which also go straight to the classifier's."""
        units = (getattr(model, cls.kind).width,)
        module = Blocks(units, dtype, model.input_dropout, axis_name, parent=None)
        scores = (lambda inputs: inputs["score"]) if sizes["classes"] else None
        return Tower(module, lambda inputs, dtype: ((inputs["score"].astype(dtype),), {}), scores)

    @staticmethod
    def target(sizes: Sizes, model: Any) -> Target:
        """Nothing: scores know labels, which an autoencoder must not."""
        del sizes, model
        return Target(0, lambda inputs, _, dtype: inputs["score"][:, :0].astype(dtype))
