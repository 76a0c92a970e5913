"""The loader: every row once an epoch, exact resume, prefetching changes nothing."""

import numpy as np
import pytest

from mmjax.data.loader import DispatchSource, Loader, evaluation_batch_size, evaluation_batches, gather_rows


def source(**changes: int) -> DispatchSource:
    sizes = {"batch_size": 4, "steps_per_dispatch": 2, "dispatches": 3, "epochs": 3, "seed": 7} | changes
    return DispatchSource(np.arange(100, 121), **sizes)


def test_an_epoch_visits_each_row_at_most_once_and_drops_the_remainder():
    """21 rows in batches of 4: five steps, 20 different rows; the sixth step only fills up the dispatch."""
    epoch = np.concatenate([source()[i] for i in range(3)])
    taken = epoch[:5].ravel()
    assert len(set(taken)) == 20
    assert set(taken) <= set(range(100, 121))
    assert (epoch[5] == 100).all()


def test_epochs_and_seeds_differ_but_repeat():
    assert not np.array_equal(source()[0], source()[3])
    assert not np.array_equal(source()[0], source(seed=8)[0])
    assert np.array_equal(source()[4], source()[4])


def test_a_saved_position_goes_on_at_the_exact_next_batch():
    """With and without Grain's prefetching threads: what was read ahead is not lost."""
    for gather in (None, gather_rows({"row": np.arange(1000)})):
        loader = Loader(source(), gather)
        first = [next(loader) for _ in range(4)]
        position = loader.position()
        rest = list(loader)
        again = Loader(source(), gather)
        again.seek(position)
        resumed = list(again)
        assert len(first) + len(rest) == 9
        assert len(resumed) == 5
        for a, b in zip(rest, resumed, strict=True):
            np.testing.assert_array_equal(a["row"] if gather else a, b["row"] if gather else b)


@pytest.mark.parametrize("row", [-1, 10])
def test_a_row_that_is_not_there_is_no_other_row(row: int):
    with pytest.raises(IndexError, match="of 10"):
        gather_rows({"row": np.arange(10)})(np.array([[3, row]]))


def test_evaluation_counts_each_row_once():
    index, weight = evaluation_batches(np.arange(10, 17), 3, batches=4)
    assert index.shape == weight.shape == (4, 3)
    assert sorted(index[weight > 0]) == list(range(10, 17))
    assert weight.sum() == 7


@pytest.mark.parametrize(
    ("rows", "most", "size"), [(80, 256, 80), (300, 256, 152), (1, 256, 8), (10, 4, 4), (513, 256, 176), (0, 256, 8)]
)
def test_evaluation_batches_hold_the_rows_with_little_padding(rows: int, most: int, size: int):
    """As few batches as the largest size would take, none larger than it."""
    found = evaluation_batch_size(rows, most)
    assert found == size
    assert max(1, -(-rows // most)) * found >= rows
