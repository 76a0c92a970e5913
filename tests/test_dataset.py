"""Data sets by name: the layouts users have, and sentences for those they lack."""

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmjax.config import data_settings
from mmjax.datasets.dataset import NewTable, open_dataset
from mmjax.datasets.splits import make_folds
from mmjax.errors import ConfigError, DataError, SchemaError
from mmjax.modalities.base import modalities_of
from tests.reading import schema_of

COLUMNS = (
    "Type,Name,Age,Breed1,Breed2,Gender,Color1,Color2,Color3,MaturitySize,FurLength,Vaccinated,Dewormed,Sterilized,Health,"
    "Quantity,Fee,State,RescuerID,VideoAmt,Description,PetID,PhotoAmt,AdoptionSpeed"
).split(",")


def kaggle(folder: Path, rows: int = 12, nested: bool = False, photos: bool = True) -> Path:
    """Kaggle's archive in small: the table, and a photo for every second pet."""
    table = folder / "train" / "train.csv" if nested else folder / "train.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, restval="1")
        writer.writeheader()
        for i in range(rows):
            writer.writerow(
                {"PetID": f"pet{i}", "RescuerID": f"r{i // 2}", "Description": "a nice cat", "AdoptionSpeed": i % 5}
            )
    if photos:
        (folder / "train_images").mkdir()
        for i in range(0, rows, 2):
            Image.new("RGB", (20, 10), (i, 0, 0)).save(folder / "train_images" / f"pet{i}-1.jpg")
    return folder


@pytest.mark.parametrize("nested", [False, True])
def test_petfinder_as_it_unpacks(tmp_path: Path, nested: bool):
    root = kaggle(tmp_path / "kaggle", nested=nested)
    data = data_settings(name="petfinder", root=str(root), image_size=8, cache=str(tmp_path / "cache"))
    dataset = open_dataset(data, ("tabular", "text", "image"), group="schema")
    assert dataset.classes == ("0", "1", "2", "3", "4")
    np.testing.assert_array_equal(dataset.present("image"), np.arange(12) % 2 == 0)
    assert dataset.table.group_N is not None
    assert len(set(dataset.table.group_N)) == 6
    assert dataset.report.counts()["image_missing"] == 6


def test_petfinder_without_photos(tmp_path: Path):
    """A folder without photos serves the table and the text; a model that reads photos is told what to do."""
    root = kaggle(tmp_path, photos=False)
    data = data_settings(name="petfinder", root=str(root), cache=str(tmp_path / "cache"))
    assert len(open_dataset(data, ("tabular", "text")).table) == 12
    with pytest.raises(DataError, match="no such folder of photos; set config.data.images"):
        open_dataset(data, ("image",))
    with pytest.raises(DataError, match="no such file of vectors; set config.data.image_features"):
        open_dataset(data, ("vectors",))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"name": "petfinder"}, ConfigError, "config.data.root is empty"),
        ({"name": "fashion", "root": "/nowhere"}, DataError, "no such folder (config.data.root)"),
        ({"name": "table", "table": "rows.csv"}, ConfigError, "mmjax schema"),
    ],
)
def test_what_is_missing_is_named(settings: dict, error: type, message: str):
    with pytest.raises(error, match=re.escape(message)):
        open_dataset(data_settings(**settings), ("tabular",))


def own_photos(tmp_path: Path, names: list[str], schema: str = 'label = "y"\n') -> Any:
    rows = "\n".join(f"{i},{name},{'ab'[i % 2]}" for i, name in enumerate(names))
    (tmp_path / "rows.csv").write_text(f"id,photo,y\n{rows}\n")
    (tmp_path / "schema.toml").write_text(f'id = "id"\nimage = "photo"\n{schema}')
    (tmp_path / "photos").mkdir(exist_ok=True)
    return data_settings(
        name="table", root=str(tmp_path), table="rows.csv", schema="schema.toml", image_size=8, cache=str(tmp_path / "cache")
    )


def test_a_model_of_photos_needs_one(tmp_path: Path):
    """A forgotten folder must not train on black pictures; where photos are only predicted from, none is needed."""
    data = own_photos(tmp_path, ["a.jpg", "", "b.jpg", "c.jpg"])
    with pytest.raises(DataError, match="none of the 3 photos named in column photo was found there; the first is 'a.jpg'"):
        open_dataset(data, ("image",))
    assert not list((tmp_path / "cache").glob("images*"))
    (tmp_path / "photos" / "a.jpg").write_text("no picture")
    data = replace(data, images="photos")
    with pytest.raises(DataError, match="photos/: none of the 3 photos named in column photo can be read"):
        open_dataset(data, ("image",))
    schema = schema_of(id="id", image="photo")
    new = NewTable(tmp_path / "rows.csv", schema, ("a", "b"), tuple(modalities_of(schema, data)))
    assert open_dataset(data, ("image",), new=new).present("image").sum() == 0
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "b.jpg")
    assert open_dataset(data, ("image",)).present("image").tolist() == [False, False, True, False]
    with pytest.raises(DataError, match="no row has a photo named in column photo"):
        open_dataset(own_photos(tmp_path, ["", "", ""]), ("image",))


def test_a_schema_without_a_label_trains_an_autoencoder_alone(tmp_path: Path):
    data = own_photos(tmp_path, ["a.jpg"] * 4, schema="")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    with pytest.raises(SchemaError, match='schema.toml: names no label; add label = "COLUMN"'):
        open_dataset(data, ("image",))
    assert len(open_dataset(data, ("image",), task="autoencoder").table) == 4


def test_image_paths_may_not_leave_the_folder(tmp_path: Path):
    """.., absolute paths, links out of the folder and addresses: the row stays, its photo is absent."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (8, 8)).save(photos / "in.jpg")
    Image.new("RGB", (8, 8)).save(tmp_path / "out.jpg")
    (photos / "link.jpg").symlink_to(tmp_path / "out.jpg")
    names = ["in.jpg", "../out.jpg", str(tmp_path / "out.jpg"), "link.jpg", "http:" + "//host/a.jpg", "file:" + "///etc/passwd"]
    rows = "\n".join(f"{i},{name},{'ab'[i % 2]}" for i, name in enumerate(names))
    (tmp_path / "rows.csv").write_text(f"id,p,y\n{rows}\n")
    (tmp_path / "schema.toml").write_text('id = "id"\nlabel = "y"\nimage = "p"\nimage_dir = "photos"\n')
    data = data_settings(
        name="table", root=str(tmp_path), table="rows.csv", schema="schema.toml", image_size=8, cache=str(tmp_path / "cache")
    )
    dataset = open_dataset(data, ("image",))
    assert dataset.present("image").tolist() == [True, False, False, False, False, False]
    assert dataset.report.counts()["image_path"] == 5
    first = dataset.report.entries("image_path")[0]
    assert {k: first[k] for k in ("row", "column", "value")} == {"row": 2, "column": "p", "value": "../out.jpg"}


def test_rows_with_a_modality(tmp_path: Path):
    """Table 2: rows without a photo are in no fold."""
    root = kaggle(tmp_path / "kaggle")
    data = data_settings(name="petfinder", root=str(root), image_size=8, cache=str(tmp_path / "cache"), rows_with="image")
    dataset = open_dataset(data, ("image", "tabular"), task="autoencoder")
    assert dataset.usable_N is not None
    assert dataset.usable_N.sum() == 6
    fold_N = make_folds(np.where(dataset.usable_N, 0, -1), folds=3, seed=0)
    assert (fold_N[~dataset.usable_N] == -1).all()


def test_rows_with_a_modality_the_model_does_not_read(tmp_path: Path):
    """A table's model on the rows that have a photo, to be compared with one that reads them."""
    root = kaggle(tmp_path / "kaggle")
    data = data_settings(name="petfinder", root=str(root), image_size=8, cache=str(tmp_path / "cache"), rows_with="image")
    assert open_dataset(data, ("tabular",)).usable.sum() == 6
    with pytest.raises(ConfigError, match="rows_with is 'photo'; use one of"):
        open_dataset(replace(data, rows_with="photo"), ("tabular",))
    for photo in (root / "train_images").iterdir():
        photo.unlink()
    with pytest.raises(DataError, match="no row has what config.data.rows_with=image asks for"):
        open_dataset(data, ("tabular",))


def test_an_unlabelled_table_with_another_label(tmp_path: Path):
    """Kaggle's test.csv lacks AdoptionSpeed: it trains autoencoders as it is, and its photos lie in test_images."""
    root = kaggle(tmp_path / "kaggle")
    (root / "train_images").rename(root / "test_images")
    lines = (root / "train.csv").read_text().splitlines()
    (root / "test.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    data = data_settings(name="petfinder", root=str(root), table="test.csv", image_size=8, cache=str(tmp_path / "cache"))
    dataset = open_dataset(data, ("tabular", "image"), task="autoencoder")
    assert dataset.present("image").sum() == 6
    assert (dataset.label == -1).all()
    with pytest.raises(SchemaError, match="no column 'AdoptionSpeed'"):
        open_dataset(data, ("tabular",))
