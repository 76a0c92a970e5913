"""Folds: every labelled row once, stratified, grouped without a leak, and the same from the same seed."""

from pathlib import Path

import numpy as np
import pytest

from mmjax.data.data_report import DataReport
from mmjax.datasets.splits import inner_split, load_folds, make_folds, report_folds, save_folds
from mmjax.errors import DataError, WorkdirError

LABEL = np.repeat([0, 1, 2], [50, 30, 20])


def test_stratified_and_seeded():
    fold_N = make_folds(LABEL, folds=5, seed=3)
    assert np.bincount(fold_N).tolist() == [20] * 5
    assert all(np.bincount(LABEL[fold_N == f]).tolist() == [10, 6, 4] for f in range(5))
    np.testing.assert_array_equal(fold_N, make_folds(LABEL, folds=5, seed=3))
    assert (fold_N != make_folds(LABEL, folds=5, seed=4)).any()


def test_groups_never_straddle():
    group_N = np.random.default_rng(0).integers(0, 17, 100)
    fold_N = make_folds(LABEL, folds=5, seed=0, group_N=group_N)
    assert all(len(set(fold_N[group_N == g])) == 1 for g in set(group_N))
    train, valid = inner_split(np.flatnonzero(fold_N != 0), LABEL, fraction=0.1, seed=0, group=group_N)
    assert not set(group_N[train]) & set(group_N[valid])
    assert sorted([*train, *valid]) == np.flatnonzero(fold_N != 0).tolist()


def test_rows_without_a_label_are_in_no_fold():
    label = LABEL.copy()
    label[7] = -1
    fold_N = make_folds(label, folds=5, seed=0)
    assert fold_N[7] == -1
    assert (np.delete(fold_N, 7) >= 0).all()


def test_small_classes_are_reported_not_fatal():
    report = DataReport()
    label_N = np.array([0] * 20 + [1] * 2)
    fold_N = make_folds(label_N, folds=5, seed=0)
    report_folds(label_N, fold_N, 5, report)
    assert (fold_N >= 0).all()
    assert report.counts()["class_small"] == 1
    assert report.counts()["fold_one_class"] == 3
    assert (make_folds(np.arange(6), folds=3, seed=0) >= 0).all()  # every class once


def test_fewer_rows_or_groups_than_folds():
    with pytest.raises(DataError, match="3 labelled rows, fewer than 5 folds"):
        make_folds(np.array([0, 1, 0]), folds=5, seed=0)
    with pytest.raises(DataError, match="2 groups, fewer than 5 folds"):
        make_folds(LABEL, folds=5, seed=0, group_N=LABEL % 2)


@pytest.mark.parametrize("seed", range(40))
def test_groups_never_straddle_however_small(seed: int):
    """Classes smaller than the number of folds cannot be stratified; the groups hold all the same, and no fold is empty."""
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(4, 14))
    group_N, label_N = rng.integers(0, 6, rows), rng.integers(0, rng.integers(1, 9), rows)
    if len(set(group_N)) < 3:
        return
    fold_N = make_folds(label_N, folds=3, seed=seed, group_N=group_N)
    assert set(fold_N) == {0, 1, 2}
    assert all(len(set(fold_N[group_N == g])) == 1 for g in group_N)
    train, valid = inner_split(np.arange(rows), label_N, fraction=0.1, seed=seed, group=group_N)
    assert min(len(train), len(valid)) >= 1
    assert not set(group_N[train]) & set(group_N[valid])


def test_inner_split_never_empties_a_side():
    for rows in (2, 3, 9, 100):
        train, valid = inner_split(np.arange(rows), np.zeros(rows, int), fraction=0.1, seed=0)
        assert len(train) >= 1
        assert len(valid) >= 1
        assert sorted([*train, *valid]) == list(range(rows))


def test_saved_folds(tmp_path: Path):
    ids, fold_N = np.array(["a,b", 'c"d', "e\nf"], object), np.array([1, 0, -1])
    save_folds(tmp_path / "folds.csv", ids, fold_N)
    np.testing.assert_array_equal(load_folds(tmp_path / "folds.csv", ids), fold_N)
    with pytest.raises(WorkdirError, match="another table"):
        load_folds(tmp_path / "folds.csv", ids[::-1])
