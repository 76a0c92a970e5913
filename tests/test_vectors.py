"""Ready-made image vectors land on their row, and nothing in the file can run code."""

import json

import numpy as np
import pytest

from mmjax.data.data_report import DataReport
from mmjax.errors import DataError
from mmjax.modalities.vectors import VectorColumns, VectorEncoder, load_vectors
from tests.encoder_tables import encode


def _save(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_vectors_go_to_their_id(tmp_path):
    path = _save(tmp_path / "f.npz", ids=np.array(["c", "a", "x", "a"]), features=np.array([[3.0, 3], [1, 1], [0, 0], [7, 7]]))
    report = DataReport()
    features, present = load_vectors(path, ["a", "b", "c"], report)
    np.testing.assert_array_equal(features, np.float32([[1, 1], [0, 0], [3, 3]]))
    assert present.tolist() == [True, False, True]
    assert report.counts() == {"vectors_twice": 1, "vectors_missing": 1}


def test_whole_number_and_byte_ids(tmp_path):
    for ids in (np.array([5, 6]), np.array([b"5", b"6"])):
        path = _save(tmp_path / "f.npz", ids=ids, features=np.eye(2))
        assert load_vectors(path, ["6"], DataReport())[0].tolist() == [[0, 1]]


def test_vectors_that_are_not_finite_are_absent(tmp_path):
    path = _save(tmp_path / "f.npz", ids=np.array(["a", "b", "c"]), features=np.array([[1, np.nan], [1e300, 1], [1, 2]]))
    report = DataReport()
    features, present = load_vectors(path, ["a", "b", "c"], report)
    assert present.tolist() == [False, False, True]
    assert not features[:2].any()
    assert report.counts() == {"vectors_broken": 2}


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"ids": np.array(["a"])}, "'features'"),
        ({"features": np.eye(2)}, "'ids'"),
        ({"ids": np.array(["a"]), "features": np.eye(2)}, "1 x V"),
        ({"ids": np.array(["a", "b"]), "features": np.ones(2)}, "2 x V"),
        ({"ids": np.array(["a", "b"]), "features": np.array([["x"], ["y"]])}, "numbers"),
        ({"ids": np.eye(2), "features": np.eye(2)}, "one column"),
        ({"ids": np.array(["a", "b"], object), "features": np.eye(2)}, "without pickle"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, why):
    with pytest.raises(DataError, match=why):
        load_vectors(_save(tmp_path / "f.npz", **arrays), ["a"], DataReport())


def test_unreadable_files(tmp_path):
    path = _save(tmp_path / "f.npz", ids=np.array(["a"]), features=np.ones((1, 3)))
    whole = path.read_bytes()
    np.save(tmp_path / "one.npy", np.eye(2))
    contents = [b"", b"junk", b"\x80\x04cos\nsystem\n.", (tmp_path / "one.npy").read_bytes()]
    rng = np.random.default_rng(0)
    contents += [whole[: rng.integers(len(whole))] for _ in range(20)]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"f\.npz"):
            load_vectors(path, ["a"], DataReport())
    for _ in range(100):  # flipped bytes: read or refused
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(data))
        try:
            assert load_vectors(path, ["a"], DataReport())[0].shape[0] == 1
        except DataError:
            continue
    with pytest.raises(DataError, match="no such file"):
        load_vectors(tmp_path / "none.npz", ["a"], DataReport())


def test_standardised_on_the_training_rows_that_have_one():
    values = np.float32([[1, 5, 0], [3, 5, 0], [100, 6, 0], [9, 9, 9]])
    present = np.array([True, True, True, False])
    encoder = VectorEncoder.fit(values, present, np.array([0, 1, 3]))
    out = encode(encoder, VectorColumns("", values, present))
    np.testing.assert_allclose(out, [[-1, 0, 0], [1, 0, 0], [98, 0, 0], [0, 0, 0]])  # constant columns are 0 everywhere
    assert out.dtype == np.float32
    assert VectorEncoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder
    with pytest.raises(DataError, match="training had 3"):
        encode(encoder, VectorColumns("", values[:, :2], present))


def test_no_training_row_has_one():
    values, present = np.ones((2, 3), np.float32), np.array([False, True])
    assert not encode(VectorEncoder.fit(values, present, np.array([0])), VectorColumns("", values, present)).any()


def test_huge_values_stay_finite():
    values = np.float32([[1e-38], [2e-38], [3e38], [-3e38]])
    for train in ([0, 1], [2, 3], [0, 2]):
        out = encode(VectorEncoder.fit(values, np.ones(4, bool), np.array(train)), VectorColumns("", values, np.ones(4, bool)))
        assert np.isfinite(out).all()


def test_petfinder_vectors(data_root):
    path = data_root / "petfinder" / "train_image_features.npz"
    with np.load(path, allow_pickle=False) as stored:
        ids, expected = stored["ids"], stored["features"]
    report = DataReport()
    features, present = load_vectors(path, ["nobody", *ids[::-1]], report)
    np.testing.assert_array_equal(features[1:], expected[::-1])
    assert not present[0]
    assert present[1:].all()
    rows = np.arange(0, len(features), 2)
    out = encode(VectorEncoder.fit(features, present, rows), VectorColumns("", features, present))[rows[1:]]
    assert abs(out.mean(axis=0)).max() < 1e-3
