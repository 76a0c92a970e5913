"""Whatever the columns hold, encoders keep their promises (hypothesis)."""

import json

import numpy as np
from encoder_tables import encode, make_tabular, make_texts
from hypothesis import given, settings
from hypothesis import strategies as st

from mmjax.encoding.tabular_encoder import TabularEncoder
from mmjax.modalities.text import TextEncoder
from mmjax.modalities.vectors import VectorColumns, VectorEncoder

ROWS = 12
cells = st.lists(st.text(max_size=3), min_size=ROWS, max_size=ROWS)
numbers = st.lists(st.floats(width=64), min_size=ROWS, max_size=ROWS)  # NaN, infinities and subnormals included
texts = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6).map(" ".join), min_size=ROWS, max_size=ROWS)
splits = st.sets(st.integers(0, ROWS - 1), min_size=1).map(lambda rows: np.array(sorted(rows)))
quick = settings(max_examples=40, deadline=None, derandomize=True)


@quick
@given(cells, numbers, splits, st.booleans(), st.integers(1, 12))
def test_tabular(column, number, train, discretize, bins):
    table = make_tabular([column], [number])
    encoder = TabularEncoder.fit(table, train, discretize=discretize, bins=bins)
    ids, scaled = encode(encoder, table)
    assert ids.shape == (ROWS, encoder.groups)
    assert scaled.shape == (ROWS, encoder.numbers)
    assert np.isfinite(scaled).all()
    assert (scaled >= 0).all()
    assert (scaled <= 1).all()
    assert (ids >= -1).all()
    assert (ids < encoder.onehot).all()
    assert (ids[train] >= 0).all()  # what was trained on is known
    assert len(np.unique(ids[train])) == encoder.onehot  # and no one-hot column is dead in training
    seen = {column[row] for row in train}
    assert [row for row in range(ROWS) if ids[row, 0] < 0] == [row for row in range(ROWS) if column[row] not in seen]
    assert TabularEncoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder


@quick
@given(cells, numbers, splits, st.randoms(use_true_random=False))
def test_permuted_rows_encode_alike(column, number, train, random):
    order = list(range(ROWS))
    random.shuffle(order)
    place = np.argsort(order)
    table = make_tabular([column], [number])
    moved = make_tabular([[column[i] for i in order]], [[number[i] for i in order]], reverse=True)
    one, two = TabularEncoder.fit(table, train), TabularEncoder.fit(moved, place[train])
    assert one == two
    for here, there in zip(encode(one, table), encode(two, moved), strict=True):
        np.testing.assert_array_equal(here[order], there)


@quick
@given(texts, splits, st.integers(1, 3), st.integers(0, 6))
def test_text(column, train, min_count, max_words):
    table = make_texts(column)
    encoder = TextEncoder.fit(table, train, min_count=min_count, max_words=max_words)
    ids = encode(encoder, table)
    assert len(encoder.words) <= max_words
    assert (ids < encoder.vocabulary).all()
    np.testing.assert_array_equal((ids > 0).sum(axis=1), [min(len(text.split()), 4) for text in column])
    counts = [word for row in train for word in column[row].split()[:4]]
    assert all(counts.count(word) >= min_count for word in encoder.words)
    assert TextEncoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder


@quick
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=ROWS, max_size=ROWS), splits)
def test_features(column, train):
    values, present = np.array(column, np.float32)[:, None], np.arange(ROWS) % 3 > 0
    encoder = VectorEncoder.fit(values, present, train)
    out = encode(encoder, VectorColumns("", values, present))
    assert np.isfinite(out).all()
    assert not out[~present].any()
