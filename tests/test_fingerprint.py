"""What a run reads, as digests: every change of it is found and placed, nothing else is."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmjax.config import Settings, data_settings
from mmjax.data.hashing import hash_rows
from mmjax.datasets.dataset import Dataset, open_dataset
from mmjax.datasets.fingerprint import DataFingerprint
from mmjax.datasets.synthetic import write_synthetic
from mmjax.errors import WorkdirError

ALL = ("tabular", "text", "image", "vectors")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "synthetic"
    write_synthetic(folder, rows=20, seed=0)
    schema = (folder / "schema.toml").read_text()
    (folder / "schema.toml").write_text(schema + 'image_features = "vectors.npz"\n')
    write_vectors(folder)
    return folder


def write_vectors(folder: Path, changed: int = -1) -> None:
    vector_NxV = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    if changed >= 0:
        vector_NxV[changed, 1] = np.nextafter(vector_NxV[changed, 1], np.float32(9))
    np.savez(folder / "vectors.npz", ids=[f"P{i:06d}" for i in range(20)], features=vector_NxV)


def opened(root: Path, group: str = "", modalities: tuple[str, ...] = ALL, task: str = "classifier", **data: str) -> Dataset:
    where = {"root": str(root), "table": "parcels.csv", "schema": "schema.toml", "cache": str(root.parent / "c")}
    settings = data_settings(name="table", **where, image_size=8, **data)
    return open_dataset(settings, modalities, group=group, task=task)


def settings_of(modalities: tuple[str, ...] = ALL, group: str = "", task: str = "classifier") -> Settings:
    settings = Settings()
    model = replace(settings.model, modalities=modalities)
    return replace(settings, model=model, task=task, cv=replace(settings.cv, group=group))


def cell(column: str, row: int, value: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        table = pd.read_csv(root / "parcels.csv", dtype=str, keep_default_na=False)
        assert table.loc[row, column] != value
        table.loc[row, column] = value
        table.to_csv(root / "parcels.csv", index=False)

    return change


def photo(root: Path) -> None:
    name = pd.read_csv(root / "parcels.csv", dtype=str, keep_default_na=False)["photo"][4]
    Image.new("RGB", (32, 32), (1, 2, 3)).save(root / "photos" / name)


CHANGES = [
    (cell("route", 7, "nowhere"), 8, "route"),
    (cell("material", 0, "a new value"), 1, "material"),
    (cell("mass", 19, "8.24"), 20, "mass"),
    (cell("age", 1, ""), 2, "age"),
    (cell("note", 3, "another note"), 4, "note"),
    (photo, 5, "photos (photo)"),
    (lambda root: write_vectors(root, 6), 7, "vectors (vectors.npz)"),
]


@pytest.mark.parametrize(("change", "row", "column"), CHANGES, ids=[c[2] for c in CHANGES])
def test_a_change_is_placed(change: Callable[[Path], None], row: int, column: str, root: Path, tmp_path: Path):
    """Breaks when a column the run reads is left out, or a new value shifts the numbers of the rows before it."""
    settings = settings_of()
    DataFingerprint.of(opened(root), settings).save(tmp_path / "digest.json")
    known = DataFingerprint.load(tmp_path / "digest.json")
    assert known is not None
    DataFingerprint.of(opened(root), settings).check(known, opened(root), tmp_path)
    change(root)
    dataset = opened(root)
    with pytest.raises(WorkdirError) as raised:
        DataFingerprint.of(dataset, settings).check(known, dataset, tmp_path)
    said = str(raised.value)
    assert f"{root / 'parcels.csv'}: its data have changed" in said
    assert f"(row {row} (id 'P{row - 1:06d}') is the first, changed: {column})" in said


def test_what_is_not_read_may_change(root: Path):
    """A run of the text alone: other columns, photos, a value written otherwise, and the label of an autoencoder."""
    text = settings_of(("text",))

    def found(task: str = "classifier") -> DataFingerprint:
        return DataFingerprint.of(opened(root, modalities=("text",), task=task), text)

    before, blind = found(), found("autoencoder")
    for change, _, column in CHANGES:
        if column not in ("route", "note"):
            change(root)
    cell("note", 2, pd.read_csv(root / "parcels.csv", dtype=str)["note"][2].upper() + " !")(root)
    assert found().columns == before.columns
    cell("route", 7, "nowhere")(root)
    assert found().columns != before.columns
    assert found("autoencoder").columns == blind.columns


def test_groups_and_chosen_rows_count_where_they_decide_the_folds(root: Path):
    alone, grouped = settings_of(("tabular",)), settings_of(("tabular",), group="schema")
    table = ("tabular",)
    first = opened(root, "schema", table, rows_with="image")
    other = DataFingerprint.of(opened(root, modalities=table), alone)
    before = DataFingerprint.of(first, grouped)
    cell("sender", 5, "someone else")(root)
    cell("photo", 9, "")(root)
    dataset = opened(root, "schema", table, rows_with="image")
    with pytest.raises(WorkdirError, match=r"row 6 .* is the first, changed: config.data.rows_with, groups \(sender\)\)"):
        DataFingerprint.of(dataset, grouped).check(before, dataset, root)
    assert DataFingerprint.of(opened(root, modalities=table), alone).columns == other.columns


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 1}', '{"version": 1, "columns": {}, "rows": "abc"}', "\x00"])
def test_a_damaged_file_is_one_sentence(content: str, tmp_path: Path):
    (tmp_path / "data_fingerprint.json").write_text(content)
    with pytest.raises(WorkdirError, match=r"data_fingerprint\.json: is damaged \(\w+\); restore it, or delete it"):
        DataFingerprint.load(tmp_path / "data_fingerprint.json")
    assert DataFingerprint.load(tmp_path / "none.json") is None
    (tmp_path / "data_fingerprint.json").write_text('{"version": 99}')
    assert DataFingerprint.load(tmp_path / "data_fingerprint.json") is None


def test_a_hundred_thousand_texts_take_no_time():
    """Breaks when rows are hashed one by one; ten times as many rows of 64 words take 0.4 s on one core."""
    word_NxT = np.random.default_rng(0).integers(0, 50_000, (100_000, 64), dtype=np.int32)
    lookup = np.arange(50_000, dtype=np.uint64)
    begun = time.process_time()
    one_N = hash_rows(word_NxT, lookup)
    assert time.process_time() - begun < 2
    word_NxT[9, [3, 4]] = word_NxT[9, [4, 3]]
    assert np.flatnonzero(one_N != hash_rows(word_NxT, lookup)).tolist() == [9], "the order of words counts"
