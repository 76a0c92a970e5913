"""One row in detail: what each of its cells, words and patches of its photo adds to the probability of a class."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmjax.datasets.dataset import Dataset
from mmjax.explain.answers import Arrays, FoldAnswers
from mmjax.explain.cells import Rereader, merged
from mmjax.explain.pictures import Picture, explain_picture
from mmjax.inference import Ensemble, Member

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_MOST_WORDS = 300
"""Words of a cell that are taken out one by one."""


@dataclass(frozen=True)
class CellEffect:
    """What a cell adds: the probability as it is, minus that without it.

    Attributes:
      column: its column.
      text: its content.
      effect: of the cell as a whole, against an empty one.
      words: start, end and effect of each of its words; () for what is no text.
    """

    column: str
    text: str
    effect: float
    words: tuple[tuple[int, int, float], ...] = ()


@dataclass(frozen=True)
class RowDetails:
    """Effects of one row's cells, the strongest first, and of its photos."""

    cells: list[CellEffect]
    pictures: list[Picture]


@dataclass(frozen=True)
class _Variant:
    """The row with one cell emptied (`start` < 0), or without one word."""

    column: str
    text: str
    start: int = -1
    end: int = -1


def row_details(
    ensemble: Ensemble,
    row: Dataset,
    cells: pd.DataFrame,
    class_index: int,
    rereader: Rereader,
    members: Sequence[Member] | None = None,
) -> RowDetails:
    """Explains one row for one class.

    What depends on other rows of the file, such as a seller's counts, stays as it is, unless its only cell is emptied.

    Args:
      ensemble: whose folds answer.
      row: the row, as the folds read it.
      cells: the row as it stands in the table.
      class_index: k.
      rereader: reads changed cells.
      members: folds that answer; None: all.
    """
    members = ensemble.members if members is None else list(members)
    answers = [FoldAnswers(ensemble, member, member.encoders.encode(row)) for member in members]
    variants = _variants(cells, rereader)
    names = [m.name for m in rereader.modalities if _is_read_again(m)]
    effect_v = np.zeros(len(variants))
    if variants:
        frame = pd.concat([cells] * len(variants), ignore_index=True)
        for at, variant in enumerate(variants):
            frame.loc[at, variant.column] = variant.text
        changed = rereader.read(frame, names, members) if names else [None] * len(members)
        for own, arrays in zip(answers, changed, strict=True):
            before = own.probabilities()[0, class_index]
            effect_v += (before - _without(own, arrays, names, variants, rereader)[:, class_index]) / len(members)
    pictures = [
        explain_picture(answers, m.name, f"{m.name}/{part}", class_index)
        for i, m in enumerate(rereader.modalities)
        for part in m.pictures
        if answers[0].arrays["present"][0, i]
    ]
    return RowDetails(_effects(cells, variants, effect_v), pictures)


def _is_read_again(modality) -> bool:
    return not modality.sees_other_rows and not modality.pictures and bool(len(modality.reads) > 1 or modality.texts)


def _variants(cells: pd.DataFrame, rereader: Rereader) -> list[_Variant]:
    texts, variants = {c for m in rereader.modalities for c in m.texts}, []
    for column in rereader.columns(cells.columns):
        text = str(cells[column].iloc[0])
        if not text.strip():
            continue
        variants.append(_Variant(column, ""))
        words = list(_WORD.finditer(text)) if column in texts else []
        for word in words[:_MOST_WORDS] if len(words) > 1 else ():
            variants.append(_Variant(column, f"{text[: word.start()]} {text[word.end() :]}", word.start(), word.end()))
    return variants


def _without(
    answers: FoldAnswers, changed: Arrays | None, names: list[str], variants: list[_Variant], rereader: Rereader
) -> np.ndarray:
    """Probabilities of every variant by one fold."""
    count, modalities = len(variants), [m.name for m in rereader.modalities]
    arrays = {"present": np.repeat(answers.arrays["present"], count, axis=0)}
    if changed is not None:
        arrays = merged(arrays, changed, names, modalities)
    for at, variant in enumerate(variants):
        for i, m in enumerate(rereader.modalities):
            if variant.start < 0 and m.name not in names and variant.column in m.reads and (m.pictures or len(m.reads) == 1):
                arrays["present"][at, i] = False
    return answers.varied({name: values[:, None] for name, values in arrays.items()})[:, 0]


def _effects(cells: pd.DataFrame, variants: list[_Variant], effect_v: np.ndarray) -> list[CellEffect]:
    found: dict[str, float] = {}
    words: dict[str, list[tuple[int, int, float]]] = {}
    for variant, effect in zip(variants, effect_v.tolist(), strict=True):
        if variant.start < 0:
            found[variant.column] = effect
        else:
            words.setdefault(variant.column, []).append((variant.start, variant.end, effect))
    effects = [CellEffect(c, str(cells[c].iloc[0]), effect, tuple(words.get(c, ()))) for c, effect in found.items()]
    return sorted(effects, key=lambda e: -abs(e.effect))
