"""Small tables for the encoder tests, built straight from columns."""

import numpy as np

from mmjax.encoding.tabular_columns import TabularColumns
from mmjax.encoding.texts.numbered_texts import TextColumns


def make_tabular(categorical=(), continuous=(), names=None, reverse=False) -> TabularColumns:
    """N rows of columns of strings and of numbers; `reverse` lists categories in another order, as another file would."""
    rows = len([*categorical, *continuous][0])
    lists = [tuple(sorted(set(column), reverse=reverse)) for column in categorical]
    codes = [[values.index(v) for v in column] for values, column in zip(lists, categorical, strict=True)]
    return TabularColumns(
        path="rows.csv",
        names=tuple(names or (f"c{i}" for i in range(len(lists)))),
        number_names=tuple(f"n{i}" for i in range(len(continuous))),
        code_NxC=np.array(codes, np.int32).reshape(len(codes), rows).T,
        categories=tuple(lists),
        number_NxS=np.array(continuous, np.float64).reshape(len(continuous), rows).T,
    )


def make_texts(texts, tokens=4, reverse=False) -> TextColumns:
    """Texts of words; `reverse` numbers the words in another order."""
    words = sorted({word for text in texts for word in text.split()[:tokens]}, reverse=reverse)
    word_id = {word: i for i, word in enumerate(words, 1)}
    ids = np.zeros((len(texts), tokens), np.int32)
    for row, text in enumerate(texts):
        known = [word_id[word] for word in text.split()[:tokens]]
        ids[row, : len(known)] = known
    return TextColumns("note", ids, ["", *words])


def encode(encoder, columns):
    """An encoder's arrays of all rows, one or in their order."""
    parts = tuple(encoder.transform(columns, len(columns.present))[0].values())
    return parts[0] if len(parts) == 1 else parts
