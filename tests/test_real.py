"""The real data sets, end to end (make test-real): the paper's first row, and a catalogue with its photos."""

from pathlib import Path

import pandas as pd
import pytest

from mmjax.config import Settings
from mmjax.train.cross_validation import cross_validate

pytestmark = pytest.mark.real


def configured(row: str, variant: str, root: Path, **changes) -> Settings:
    module = __import__(f"mmjax.configs.{row}", fromlist=["get_config"])
    config = module.get_config(variant)
    config.data.root = str(root)
    config.train.devices = 1
    for key, value in changes.items():
        group, name = key.split("__")
        config[group][name] = value
    return Settings.from_dict(config.to_dict())


def test_petfinder_row_1(data_root: Path, tmp_path: Path):
    """Row #1 with the paper's protocol: within a point of the paper's 36.7 %, and 382 columns over the whole table."""
    settings = configured("tabular", "petfinder", data_root / "petfinder", data__cache=str(tmp_path / "cache"))
    summary = cross_validate(settings, tmp_path / "run", print)
    assert summary["rows"] == 14_993
    assert 0.357 < summary["mean"]["accuracy"] < 0.385


def test_petfinder_groups_do_not_straddle_folds(data_root: Path, tmp_path: Path):
    settings = configured(
        "tabular", "petfinder+grouped", data_root / "petfinder", data__cache=str(tmp_path / "cache"), train__max_epochs=1
    )
    cross_validate(settings, tmp_path / "run", print)
    table = pd.read_csv(data_root / "petfinder" / "train.csv", dtype=str).set_index("PetID")
    folds = pd.read_csv(tmp_path / "run" / "folds.csv", dtype=str).set_index("id")
    assert folds["fold"].groupby(table["RescuerID"]).nunique().max() == 1


def test_fashion_three_modalities(data_root: Path, tmp_path: Path):
    """2,000 products with their photos beat the largest class (54 %) in one epoch; the one without a season is in no fold."""
    settings = configured(
        "attention",
        "fashion",
        data_root / "fashion",
        data__cache=str(tmp_path / "cache"),
        data__max_rows=2000,
        train__max_epochs=2,
    )
    summary = cross_validate(settings, tmp_path / "run", print)
    assert summary["mean"]["accuracy"] > 0.6
