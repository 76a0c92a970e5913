"""What values settings may have."""

import math
from typing import Any

from mmjax.batch import MODALITIES
from mmjax.errors import ConfigError

_CHOICES = {
    "task": ("classifier", "autoencoder"),
    "data.name": ("planted", "petfinder", "fashion", "table"),
    "model.fusion": ("none", "concatenate", "attention"),
    "model.autoencoder.kind": ("none", "independent", "mmae"),
    "model.autoencoder.mode": ("frozen", "finetune", "joint"),
    "model.autoencoder.code_norm": ("none", "rms"),
    "model.image.fast": ("auto", "on", "off"),
    "optim.schedule": ("constant", "cosine", "linear"),
    "optim.class_weights": ("none", "balanced"),
    "train.monitor": ("accuracy", "loss"),
    "train.dtype": ("float32", "bfloat16"),
    "train.fold_parallel": ("auto", "vmap", "threads", "sequential"),
    "train.placement": ("auto", "batch", "folds"),
    "train.resident": ("auto", "device", "host"),
    "train.on_nonfinite": ("stop", "skip"),
}

_POSITIVE = (
    "data.image_size",
    "data.text_length",
    "data.bins",
    "model.width",
    "model.text.embed_dim",
    "model.text.maps",
    "model.autoencoder.hidden",
    "model.autoencoder.code",
    "optim.learning_rate",
    "optim.autoencoder_learning_rate",
    "optim.eps",
    "train.batch_size",
    "train.max_epochs",
    "train.autoencoder_max_epochs",
    "train.keep_checkpoints",
)

_NOT_NEGATIVE = (
    "train.eval_batch_size",
    "cv.seed",
    "data.max_rows",
    "optim.clip_norm",
    "optim.warmup_steps",
    "optim.weight_decay",
    "train.checkpoint_seconds",
    "train.devices",
    "train.seed",
    "train.steps_per_dispatch",
)

_BELOW_ONE = (
    "model.features_dropout",
    "model.tabular_dropout",
    "model.text.dropout",
    "optim.decay",
    "optim.label_smoothing",
)


def lookup(settings: Any, path: str) -> Any:
    """The value at a dotted path, such as `model.text.maps`."""
    value: Any = settings
    for name in path.split("."):
        value = getattr(value, name)
    return value


def check(settings: Any) -> None:
    """Refuses a value out of its range, and values that contradict each other.

    Args:
      settings: `mmjax.config.Settings`.

    Raises:
      ConfigError: names the setting, its value, and what it may be.
    """
    for path, choices in _CHOICES.items():
        if lookup(settings, path) not in choices:
            raise ConfigError(f"config.{path} is {lookup(settings, path)!r}; use one of: {', '.join(choices)}.")
    _check_numbers(settings)
    model, cv = settings.model, settings.cv
    unknown = [m for m in model.modalities if m not in MODALITIES]
    if unknown or not model.modalities or len(set(model.modalities)) != len(model.modalities):
        raise ConfigError(f"config.model.modalities is {model.modalities}; use each of {', '.join(MODALITIES)} at most once.")
    if model.fusion == "none" and len(model.modalities) > 1:
        raise ConfigError("config.model.fusion is 'none' but there is more than one modality; use concatenate or attention.")
    if settings.task == "autoencoder" and model.autoencoder.kind == "none":
        raise ConfigError("config.task is autoencoder but config.model.autoencoder.kind is none; use independent or mmae.")
    if cv.folds < 2:
        raise ConfigError(f"config.cv.folds is {cv.folds}; it must be at least 2.")
    outside = [f for f in cv.only if not 0 <= f < cv.folds]
    if outside:
        raise ConfigError(f"config.cv.only names fold {outside[0]}; folds are 0 to {cv.folds - 1}.")
    if not 0 < cv.valid_fraction < 1:
        raise ConfigError(f"config.cv.valid_fraction is {cv.valid_fraction}; it must lie between 0 and 1.")


def _check_numbers(settings: Any) -> None:
    for path in _POSITIVE:
        if not 0 < lookup(settings, path) < math.inf:  # nan is neither
            raise ConfigError(f"config.{path} is {lookup(settings, path)!r}; it must be greater than 0 and finite.")
    for path in _NOT_NEGATIVE:
        if not 0 <= lookup(settings, path) < 2**31:
            raise ConfigError(f"config.{path} is {lookup(settings, path)!r}; it must be 0 or more, and below 2^31.")
    for path in _BELOW_ONE:
        if not 0 <= lookup(settings, path) < 1:
            raise ConfigError(f"config.{path} is {lookup(settings, path)!r}; it must be at least 0 and below 1.")
