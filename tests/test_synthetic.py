"""The synthetic data: the promised ceilings are the ceilings of the files themselves."""

import csv
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from mmjax.config import data_settings
from mmjax.data.data_report import DataReport
from mmjax.data.image_store import open_image_store
from mmjax.datasets import synthetic, synthetic_media
from mmjax.datasets.dataset import open_dataset
from mmjax.datasets.encoders import FoldEncoders
from mmjax.errors import DataError
from mmjax.schema import Schema
from tests.reading import read_file


def _read(folder):
    with (folder / synthetic.TABLE).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _recover(row, folder):
    """The latents, from the files alone: what a perfect model could see."""
    family = next(i for i, names in enumerate(synthetic._FAMILIES) if row["material"] in names)
    z_tabular = 2 * family + (float(row["mass"]) > 5)
    words = set(re.findall("[a-z]+", row["note"].lower()))
    topics = [z for z, topic in enumerate(synthetic_media.TOPICS) if words & set(topic)]
    z_image = -1
    if row["photo"]:
        with Image.open(folder / synthetic.PHOTOS / row["photo"]) as photo:
            pixels = np.asarray(photo, float).reshape(-1, 3)
        vivid = pixels[np.argsort(np.ptp(pixels, axis=1))[-20:]].mean(axis=0)
        z_image = int(np.argmin(((np.asarray(synthetic_media._COLOURS) - vivid) ** 2).sum(axis=1)))
    assert len(topics) <= 1
    return z_tabular, topics[0] if topics else -1, z_image


def test_files_show_every_latent(tmp_path):
    # Broken by a figure, topic or threshold that hides its latent: then the ceiling would not be reachable.
    synthetic.write_synthetic(tmp_path / "p", rows=300, seed=3)
    latents = synthetic.draw_latents(300, 3)
    rows = _read(tmp_path / "p")
    np.testing.assert_array_equal([_recover(row, tmp_path / "p") for row in rows], latents.latent)
    assert [synthetic.CLASSES[y] for y in latents.label] == [row["route"] for row in rows]
    assert all(5 <= len(row["note"].split()) <= 14 for row in rows if row["note"])


def test_words_belong_to_one_topic():
    words = [*itertools.chain(*synthetic_media.TOPICS), *synthetic_media.FILLER]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("subset", [s for n in (1, 2, 3) for s in itertools.combinations(synthetic.PARTS, n)])
def test_ceiling_is_what_the_best_rule_reaches(subset):
    # Broken by a draw that does not follow the law, or an enumeration that forgets the absent rows.
    rows = 200_000
    latents = synthetic.draw_latents(rows, 11)
    hidden = [m not in subset for m in synthetic.PARTS]
    seen = np.where(hidden, -1, latents.latent)
    posterior = synthetic.posterior(seen)
    best = posterior == posterior.max(axis=1, keepdims=True)
    reached = (best[np.arange(rows), latents.label] / best.sum(axis=1)).mean()  # ties share the hit
    assert reached == pytest.approx(synthetic.ceiling(subset), abs=4 * 0.5 / np.sqrt(rows))


def test_posterior_is_calibrated():
    latents = synthetic.draw_latents(200_000, 5)
    posterior = synthetic.posterior(latents.latent)
    for low in np.arange(0, 1, 0.2):
        inside = (posterior > low) & (posterior <= low + 0.2)
        hits = (np.eye(4)[latents.label] * inside).sum() / inside.sum()
        assert hits == pytest.approx(posterior[inside].mean(), abs=4 * 0.5 / np.sqrt(inside.sum()))


def test_ceilings_grow_with_the_subset_and_leave_room():
    ceilings = synthetic.ceilings()
    for small, large in itertools.permutations(ceilings, 2):
        if set(small.split("+")) < set(large.split("+")):
            assert ceilings[small] < ceilings[large] - 0.05
    singles = [value for key, value in ceilings.items() if "+" not in key]
    assert all(0.40 < value < 0.50 for value in singles)
    assert 0.80 < ceilings["table+note+photo"] < 0.85
    assert 0.9 * ceilings["table+note+photo"] > max(singles) + 0.2


def test_same_arguments_same_bytes(tmp_path):
    for name in ("a", "b"):
        synthetic.write_synthetic(tmp_path / name, rows=40, seed=1)
    synthetic.write_synthetic(tmp_path / "c", rows=40, seed=2)
    files = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert files == {p.relative_to(tmp_path / "b"): p.read_bytes() for p in (tmp_path / "b").rglob("*") if p.is_file()}
    assert (tmp_path / "c" / synthetic.TABLE).read_bytes() != (tmp_path / "a" / synthetic.TABLE).read_bytes()


def test_a_killed_writer_leaves_nothing_and_the_next_one_starts_over(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "draw_photo", killed)
        with pytest.raises(KeyboardInterrupt):
            synthetic.write_synthetic(tmp_path / "a", rows=20, seed=1)
    assert not (tmp_path / "a").exists()
    synthetic.write_synthetic(tmp_path / "a", rows=20, seed=1)
    assert len(_read(tmp_path / "a")) == 20
    monkeypatch.setattr(synthetic, "draw_photo", killed)
    synthetic.write_synthetic(tmp_path / "a", rows=20, seed=1)  # reused: nothing is drawn


def test_a_folder_with_something_else_is_refused(tmp_path):
    synthetic.write_synthetic(tmp_path / "a", rows=20, seed=1)
    with pytest.raises(DataError, match="made with"):
        synthetic.write_synthetic(tmp_path / "a", rows=21, seed=1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="not empty"):
        synthetic.write_synthetic(tmp_path / "b", rows=20, seed=1)
    assert (tmp_path / "b" / "thesis.txt").read_text() == "precious"
    with pytest.raises(DataError, match="smell"):
        synthetic.ceiling(["smell"])


def test_files_take_the_way_of_real_data(tmp_path):
    # Table, schema and photos are read by the readers of any other data set, and every row keeps its own photo and note.
    folder, report = tmp_path / "p", DataReport(strict=True)  # strict: nothing in the synthetic files is a problem
    synthetic.write_synthetic(folder, rows=120, seed=0)
    schema = Schema.load(folder / synthetic.SCHEMA)
    table = read_file(folder / synthetic.TABLE, schema, text_length=14, report=report)
    store = open_image_store(list(table.image), folder / schema["image_dir"][0], 32, tmp_path / "cache", report)
    latents = synthetic.draw_latents(120, 0)
    np.testing.assert_array_equal(table.label, latents.label)
    assert tuple(table.classes) == synthetic.CLASSES
    np.testing.assert_array_equal(store.present, latents.latent[:, 2] >= 0)
    sizes = {"synthetic_rows": 120, "image_size": 32, "text_length": 14, "min_count": 1}
    data = data_settings(root=str(folder), cache=str(tmp_path / "cache"), **sizes)
    dataset = open_dataset(data, (), report=report)
    out = FoldEncoders.fit(dataset, np.arange(0, 120, 2)).encode(dataset)
    np.testing.assert_array_equal(out["present"], latents.latent >= 0)
    np.testing.assert_array_equal(out["label"], latents.label)
    vivid = [
        pixels.reshape(-1, 3)[np.argsort(np.ptp(pixels.reshape(-1, 3), axis=1))[-20:]].mean(axis=0)
        for pixels in out["image/pixel"]
    ]
    colours = np.asarray(synthetic_media._COLOURS)
    seen = ((colours[None] - np.array(vivid)[:, None]) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(seen[store.present], latents.latent[store.present, 2])
