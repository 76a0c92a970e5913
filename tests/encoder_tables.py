"""Small tables for the encoder tests, built straight from columns."""

import numpy as np

from mmjax.datasets.table import Table


def make_table(categorical=(), continuous=(), texts=None, tokens=4, label=None, classes=("no", "yes"), reverse=False) -> Table:
    """A Table of N rows: categorical columns of strings, continuous columns of numbers, texts of words.

    `reverse` lists categories and words in another order, as another file would.
    """
    columns = [*categorical, *continuous, *([texts] if texts is not None else []), *([label] if label is not None else [])]
    rows = len(columns[0])
    lists = [tuple(sorted(set(column), reverse=reverse)) for column in categorical]
    words = sorted({word for text in texts or () for word in text.split()[:tokens]}, reverse=reverse)
    word_id = {word: i for i, word in enumerate(words, 1)}
    ids = np.zeros((rows, tokens if texts is not None else 0), np.int32)
    for row, text in enumerate(texts or ()):
        known = [word_id[word] for word in text.split()[:tokens]]
        ids[row, : len(known)] = known
    codes = [[values.index(v) for v in column] for values, column in zip(lists, categorical, strict=True)]
    return Table(
        path="rows.csv",
        ids=np.array([f"id{row}" for row in range(rows)], object),
        categorical=np.array(codes, np.int32).reshape(len(codes), rows).T,
        categories=tuple(lists),
        continuous=np.array(continuous, np.float64).reshape(len(continuous), rows).T,
        words=ids,
        word_list=["", *words],
        label=None if label is None else np.array(label, np.int32),
        classes=classes,
        group=None,
        image=np.array([""] * rows, object),
    )
