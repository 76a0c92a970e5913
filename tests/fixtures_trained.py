"""Workdirs trained once a session, for the tests of what is done with them."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmjax.train.cross_validation import cross_validate
from tests.shrunken import shrunken


@dataclass(frozen=True)
class Trained:
    """A finished run and the table it was trained on."""

    workdir: Path
    table: Path
    photos: Path


@pytest.fixture(scope="session")
def synthetic_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def trained(synthetic_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Row #8, shrunk: three modalities, a frozen autoencoder, two folds; towers that compile fast."""
    workdir = tmp_path_factory.mktemp("runs") / "full"
    once = {"train__max_epochs": 1, "train__autoencoder_max_epochs": 1}
    towers = {"model__image__fast": "off"}
    settings = shrunken("mmae_attention", synthetic_cache, **towers, **once)
    cross_validate(settings, workdir, lambda line: None)
    table = next(synthetic_cache.glob("synthetic-*-240-*/parcels.csv"))
    return Trained(workdir, table, table.parent / "photos")


@pytest.fixture(scope="session")
def trained_autoencoder(synthetic_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 2's first row, shrunk: an autoencoder and no classifier."""
    workdir = tmp_path_factory.mktemp("runs") / "auto"
    cross_validate(shrunken("mmae", synthetic_cache, "image", train__autoencoder_max_epochs=1), workdir, lambda line: None)
    return workdir


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a workdir, so that a test may spoil it."""
    return lambda workdir: Path(shutil.copytree(workdir, tmp_path / "copy"))


@pytest.fixture
def not_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands turn jax's cache on for the process, in the user's own folder: not from a test."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
