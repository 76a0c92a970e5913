"""Workdirs trained once a session, for the tests of what is done with them."""

import fcntl
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmjax.config import Settings
from mmjax.train.cross_validation import cross_validate
from tests.shrunken import shrunken


@dataclass(frozen=True)
class Trained:
    """A finished run and the table it was trained on."""

    workdir: Path
    table: Path
    photos: Path


def trained_once(shared: Path, own: Path, settings: Settings) -> Path:
    """The first worker that asks trains the run; each gets a copy of its own, for some commands write into a workdir."""
    with shared.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not (shared / "summary.json").exists():
            cross_validate(settings, shared, lambda line: None)
    return Path(shutil.copytree(shared, own / shared.name))


@pytest.fixture(scope="session")
def synthetic_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def trained(session_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Row #8, shrunk: three modalities, a frozen autoencoder, two folds; towers that compile fast."""
    once = {"train__max_epochs": 1, "train__autoencoder_max_epochs": 1}
    towers = {"model__image__fast": "off"}
    cache = session_folder / "full_data"
    settings = shrunken("mmae_attention", cache, **towers, **once)
    workdir = trained_once(session_folder / "full", tmp_path_factory.mktemp("runs"), settings)
    table = next(cache.glob("synthetic-*-240-*/parcels.csv"))
    return Trained(workdir, table, table.parent / "photos")


@pytest.fixture(scope="session")
def trained_autoencoder(session_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 2's first row, shrunk: an autoencoder and no classifier."""
    settings = shrunken("mmae", session_folder / "auto_data", "image", train__autoencoder_max_epochs=1)
    return trained_once(session_folder / "auto", tmp_path_factory.mktemp("runs"), settings)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a workdir, so that a test may spoil it."""
    return lambda workdir: Path(shutil.copytree(workdir, tmp_path / "copy"))


@pytest.fixture(scope="session")
def recommended_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 rows: a seller's habit, words and a number say the label together; a tenth of the cells are empty."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("recommended_table")
    label, rows = rng.integers(0, 3, 240), []
    words = np.array([["wool", "winter", "scarf"], ["linen", "beach", "shirt"], ["rain", "boots", "coat"]])
    for i, k in enumerate(label):
        said = k if rng.random() < 0.8 else rng.integers(3)
        text = " ".join(rng.permutation([*words[said], "a", "fine", "thing"]))
        seller = f"s{k if rng.random() < 0.6 else rng.integers(3)}{rng.integers(8)}"
        cells = [f"r{i}", seller, text, text.title()[:9], round(rng.normal(k, 1.0), 3), "ab"[rng.integers(2)]]
        cells = [cells[0], *("" if rng.random() < 0.1 else cell for cell in cells[1:]), "xyz"[k]]
        rows.append(cells)
    header = ["id", "seller", "text", "name", "size", "kind", "label"]
    pd.DataFrame(rows, columns=header).to_csv(folder / "rows.csv", index=False)
    (folder / "schema.toml").write_text(
        'id = "id"\nlabel = "label"\ngroup = "seller"\ntext = "text"\nshort_text = ["name"]\ncontinuous = ["size"]\n'
        'categorical = ["kind"]\n'
    )
    return folder
