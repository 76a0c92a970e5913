"""What the rows of the paper's tables share, and the variants every config file offers after a colon.

`synthetic` (default: rows that the package draws), `petfinder` (the paper's sizes), `petfinder_features` (ready-made image
vectors as the visual modality, 50-number GloVe words), `fashion`, and `table` (your own table and schema). A `+` adds options:
`:petfinder+grouped`, `:petfinder+denoising`.
"""

from typing import Any

from ml_collections import ConfigDict

from mmjax.config import Settings
from mmjax.errors import ConfigError

VARIANTS = ("synthetic", "petfinder", "petfinder_features", "fashion", "table")
OPTIONS = ("grouped", "denoising")


def base(variant: str, **model: Any) -> Any:
    """The paper's protocol (mmjax/config.py says which values are the paper's) for a row's model on a data set.

    Args:
      variant: one of VARIANTS, with `+grouped` for folds grouped by the schema's group column, `+denoising` for the code of a
        denoising autoencoder (ADR 9); empty: synthetic.
      **model: what the row changes in `config.model`.

    Raises:
      ConfigError: the variant does not exist.
    """
    name, *options = (variant or "synthetic").split("+")
    unknown = [v for v in options if v not in OPTIONS] + [v for v in (name,) if v not in VARIANTS]
    if unknown:
        raise ConfigError(
            f"{unknown[0]!r} is not a variant; use one of {', '.join(VARIANTS)}, with +grouped for grouped folds, "
            "+denoising for a denoising autoencoder."
        )
    config: Any = ConfigDict(Settings().to_dict())  # its attributes are dynamic
    config.data.name = name.removesuffix("_features")
    if "grouped" in options:
        config.cv.group = "schema"
    if "denoising" in options:
        model = model | {"autoencoder": {"kind": "denoising", "code_norm": "rms"}}
    for key, value in model.items():
        _set(config.model, key, value)
    {
        "synthetic": _synthetic,
        "petfinder": _petfinder,
        "petfinder_features": _features,
        "fashion": _fashion,
        "table": _table,
    }[name](config)
    return config


def _set(config: Any, key: str, value: Any) -> None:
    if isinstance(value, dict) and isinstance(config[key], ConfigDict):
        for inner, v in value.items():
            _set(config[key], inner, v)
    else:
        config[key] = value


def _small_densenet(config: Any) -> None:
    """A DenseNet that two cores can train, whose running statistics follow a short training (SPEC: 6 layers, growth 32)."""
    config.model.image.growth = 8
    config.model.image.layers = (2, 2)
    config.model.image.stem = 16
    config.model.image.momentum = 0.9


def _synthetic(config: Any) -> None:
    """Sizes that five folds of the full model finish in minutes on two cores (our reading: nothing here is the paper's)."""
    config.data.image_size = 32
    config.data.text_length = 16
    config.model.text.embed_dim = 32
    config.model.text.maps = 32
    _small_densenet(config)
    config.train.max_epochs = 20
    config.train.patience = 4
    config.train.autoencoder_max_epochs = 8


def _table(config: Any) -> None:
    """Your own table: the paper's sizes, photos at 128 x 128; no typing error squashes a column's other numbers."""
    config.data.numbers = "robust"
    config.data.image_size = 128


def _petfinder(config: Any) -> None:
    """The paper's sizes, which are the settings' defaults. The paper has no validation rows, so the last training uses all.

    Our reading: a fifth of the training rows tells when to stop, since the refit gives them back; a tenth (1,200 rows) is too
    noisy to tell epochs apart (docs/adr/0005-training.md).
    """
    config.train.refit = True
    config.cv.valid_fraction = 0.2


def _features(config: Any) -> None:
    """Kaggle's own image metadata in place of photos (paper: photos), words of 50 numbers (paper: 300).

    Our reading, for two cores: a row with text trains at most 4 epochs (TextCNN overfits after two or three) without a refit,
    an autoencoder 3 epochs.
    """
    visual = {"image": "vectors"}
    config.model.modalities = tuple(visual.get(m, m) for m in config.model.modalities)
    config.model.text.embed_dim = 50
    config.train.autoencoder_max_epochs = 3
    if "text" in config.model.modalities:
        config.train.max_epochs = 4
        config.train.patience = 2
    else:
        _petfinder(config)


def _fashion(config: Any) -> None:
    """128 x 128 product photos at 64 x 64, names of a few words, and a DenseNet that two cores can train.

    Our reading: 2 layers a block and growth 8 (SPEC: 6 and 32), 16 tokens (paper: 100), words of 100 numbers (paper: 300), at
    most 4 epochs and 2 of the autoencoder, and running statistics of BatchNorm that follow a training that short (0.9).
    """
    config.data.image_size = 64
    config.data.text_length = 16
    config.model.text.embed_dim = 100
    _small_densenet(config)
    config.train.max_epochs = 4
    config.train.patience = 2
    config.train.autoencoder_max_epochs = 2
