"""Real configs, shrunk: what the end-to-end tests run."""

import importlib
from pathlib import Path
from typing import Any

from mmjax.config import Settings

SMALL: dict[str, Any] = {
    "data.synthetic_rows": 240,
    "cv.folds": 2,
    "model.text.embed_dim": 8,
    "model.text.maps": 8,
    "model.text.widths": (3,),
    "model.image.growth": 4,
    "model.image.stem": 8,
    "model.image.layers": (1,),
    "model.width": 16,
    "model.tabular.hidden": (16,),
    "model.autoencoder.hidden": 16,
    "model.autoencoder.code": 4,
    "train.max_epochs": 2,
    "train.autoencoder_max_epochs": 2,
    "train.devices": 1,
}


def shrunken(row: str, cache: Path, variant: str = "", **changes: Any) -> Settings:
    """A config of configs/ with its sizes cut down; `changes` are dotted keys with `__` for the dot."""
    config = importlib.import_module(f"mmjax.configs.{row}").get_config(variant)
    values = SMALL | {"data.cache": str(cache)} | {k.replace("__", "."): v for k, v in changes.items()}
    with config.unlocked():
        for key, value in values.items():
            group, _, name = key.rpartition(".")
            target = config
            for part in group.split("."):
                target = target[part]
            target[name] = value
    return Settings.from_dict(config.to_dict())
