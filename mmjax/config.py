"""Typed settings: what a config file says, checked once at the edge.

Config files are `ml_collections.ConfigDict`s; `Settings.from_dict` turns their dict into frozen dataclasses, refuses a key it
does not know and a value of the wrong type, and everything below the command line sees only these classes. "paper" and
"our reading" beside a default say where the value comes from. What belongs to one modality stands in its own file
(mmjax/modalities/): its data settings join `config.data`, its tower's are `config.model.<kind>`.
"""

import dataclasses
import functools
import types
import typing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmjax import registry
from mmjax.config_rules import below_one, check_values, choice, movable_path, not_negative, positive
from mmjax.errors import ConfigError


@dataclass(frozen=True)
class DataSettings:
    """Where rows come from; see `data_settings` for the modalities' own."""

    name: str = choice("synthetic", "petfinder", "fashion", "table")
    root: str = ""  # folder of the data set; synthetic data are written there
    table: str = movable_path()  # CSV or Parquet file, relative to root; empty: the data set's own
    unlabelled: str = movable_path()  # file of further rows: encoders and autoencoder learn from them, a label is not read
    schema: str = ""  # TOML file; empty: the data set's own
    cache: str = ""  # folder of the image and table stores; empty: <user cache>/mmjax
    strict: bool = False  # refuse bad rows instead of reporting them
    synthetic_rows: int = 3000
    synthetic_seed: int = 0
    max_rows: int = not_negative(0)  # first rows only, for smoke runs; 0: all
    rows_with: str = ""  # modality a row must have to be used (Table 2's photo)


@dataclass(frozen=True)
class CvSettings:
    """Cross-validation protocol."""

    folds: int = 5  # paper
    group: str = (
        ""  # column whose values never straddle two folds; "schema": the schema's group column; "duplicates": copies of a row
    )
    seed: int = not_negative(0)  # our reading: stratified, shuffled with this seed
    only: tuple[int, ...] = ()  # train these folds alone
    labels: int = not_negative(0)  # keep so many labels of each fold's training rows, drawn with `seed`; 0: all
    repeats: int = positive(1)  # times that all is done, each with seeds one higher; the further ones in WORKDIR/repeat_<n>
    valid_fraction: float = 0.1  # our reading: inner split of the training rows for early stopping


@dataclass(frozen=True)
class DenoisingSettings:
    """`models/denoising.py`; our reading: nothing of it is the paper's."""

    hidden: tuple[int, ...] = (256, 256)  # layers before the code
    code: int = positive(192)
    noise: float = below_one(0.2)  # share of each column's values that come from another row


@dataclass(frozen=True)
class AutoencoderSettings:
    """Multi-modal autoencoder."""

    kind: str = choice("none", "independent", "mmae", "denoising")  # independent: AE feature, row #7; mmae: row #8
    mode: str = choice("frozen", "finetune", "joint")  # our reading: frozen is the default
    hidden: int = positive(512)  # paper
    code: int = positive(64)  # paper: k
    code_activation: str = choice("relu", "linear", "leaky_relu", "elu", "silu")  # of h_i; paper: relu, which lets units die
    bottleneck_activation: str = choice("relu", "linear", "leaky_relu", "elu", "silu")  # a decoder's first layer; paper: relu
    weights: dict[str, float] = field(default_factory=dict)  # paper: alpha = beta = gamma; missing key: 1
    code_norm: str = choice("none", "rms")  # paper: none; our reading in rows #7 and #8: rms, h_mm over its root mean square
    joint_weight: float = 1.0  # our reading: lambda of cross-entropy + lambda * reconstruction
    train_table: bool = False  # our reading: a target's table is frozen; True: trainable with stop-gradient target
    denoising: DenoisingSettings = field(default_factory=DenoisingSettings)


@dataclass(frozen=True)
class HeadSettings:
    """What turns the fused vector into class scores."""

    members: int = not_negative(0)  # paper: 0, one linear layer; k: `models/members.py`, k networks with shared weights
    width: int = positive(192)  # units of the members' shared layer
    dropout: float = below_one(0.3)


@dataclass(frozen=True)
class ModelSettings:
    """Attention-based classifier; see `model_settings` for the towers."""

    modalities: tuple[str, ...] = ()  # kinds, or names of several columns of one kind; () in code alone: what the table has
    lacking: str = choice("refuse", "leave_out")  # of these, what the table has not
    fusion: str = choice("attention", "concatenate", "gated", "none")  # gated: models/attention.py; none: one modality
    attention: str = choice("tanh", "scaled")  # its scores; paper: tanh; scaled: without a bound
    width: int = positive(128)  # paper: m
    activation: str = choice("relu", "silu")  # of dense towers; paper: relu
    init: str = choice("glorot", "lecun")  # of dense towers; our reading: Keras' glorot
    input_dropout: float = below_one(0.0)  # of dense towers' inputs
    modality_dropout: float = below_one(0.0)  # of whole modalities in training; paper: none
    scores: str = choice("stacked", "mean")  # of modalities that score classes: where their scales start (tasks/stacking.py)
    head: HeadSettings = field(default_factory=HeadSettings)
    blend: str = choice("none", "lightgbm")  # of each fold's probabilities with boosted trees' (train/blend.py); paper: none
    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)


@dataclass(frozen=True)
class OptimSettings:
    """RMSprop as Keras means it, or AdamW."""

    name: str = choice("rmsprop", "adamw")  # paper: rmsprop
    learning_rate: float = positive(0.001)  # paper
    autoencoder_learning_rate: float = positive(0.001)  # paper
    decay: float = below_one(0.9)  # our reading: Keras' rho; of AdamW: beta_1
    decay_squares: float = below_one(0.99)  # AdamW's beta_2
    eps: float = positive(1e-7)  # our reading: Keras' epsilon, inside the root; of AdamW: beside it
    schedule: str = choice("constant", "cosine", "linear")
    warmup_steps: int = not_negative(0)
    warmup_fraction: float = below_one(0.0)  # of all steps, where that is more than `warmup_steps`
    average: float = below_one(0.0)  # decay of a moving average of the parameters, which validates and predicts; paper: 0, none
    weight_decay: float = not_negative(0.0)
    clip_norm: float = not_negative(0.0)
    label_smoothing: float = below_one(0.0)
    class_weights: str = choice("none", "balanced")


@dataclass(frozen=True)
class TrainSettings:
    """The loop."""

    seed: int = not_negative(0)
    batch_size: int = positive(32)  # paper
    batch_share: float = 1.0  # of the training rows: a batch is no larger, so that a small table takes enough steps
    max_epochs: int = positive(30)  # our reading: early stopping decides
    min_steps: int = not_negative(0)  # more epochs than `max_epochs` where a small table would take fewer steps than this
    patience: int = 3  # our reading, epochs without a better monitored value
    monitor: str = choice("accuracy", "loss")  # on the inner validation rows
    refit: bool = False  # our reading: True trains again on all training rows for the number of epochs early stopping found
    autoencoder_max_epochs: int = positive(20)  # our reading
    autoencoder_patience: int = 2  # our reading
    eval_batch_size: int = not_negative(0)  # rows of an evaluation batch at most; 0: as train/run.py's rule says
    dtype: str = choice("float32", "bfloat16")  # compute dtype (parameters stay float32)
    fold_parallel: str = choice("auto", "vmap", "threads", "sequential")
    placement: str = choice("auto", "batch", "folds")  # several devices: shard the batch, or folds on devices
    devices: int = not_negative(0)  # how many local devices to use; 0: all
    resident: str = choice("auto", "device", "host")  # where the encoded rows live
    steps_per_dispatch: int = not_negative(0)  # 0: the rule in train/execution/plan.py
    checkpoint_seconds: float = not_negative(60.0)
    keep_checkpoints: int = positive(2)
    on_nonfinite: str = choice("stop", "skip")
    profile: int = not_negative(0)  # steps of each task that a profiler traces (train/profiling.py); 0: none


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run's numbers, plus `task`: a name of mmjax/tasks/."""

    task: str = "classifier"
    data: Any = field(default_factory=lambda: data_settings())  # noqa: PLW0108 - defined below
    cv: CvSettings = field(default_factory=CvSettings)
    model: Any = field(default_factory=lambda: model_settings())  # noqa: PLW0108 - defined below
    optim: OptimSettings = field(default_factory=OptimSettings)
    train: TrainSettings = field(default_factory=TrainSettings)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Settings":
        """Builds settings from a nested dict.

        Raises:
          ConfigError: unknown key, wrong type, or values that contradict each other.
        """
        settings = _build(cls, values, "config")
        names = tuple(registry.kind_of(name) or name for name in settings.model.modalities)
        settings = dataclasses.replace(settings, model=dataclasses.replace(settings.model, modalities=names))
        check_values(settings)
        _check(settings)
        return settings

    def to_dict(self) -> dict[str, Any]:
        """Nested dict of plain values; `from_dict(to_dict())` is the identity."""
        return dataclasses.asdict(self)

    def record(self) -> dict[str, Any]:
        """`to_dict` for a workdir and its fingerprint: without what a modality from outside the package leaves at its defaults.

        A run is the same whether or not such a modality, which it does not use, was imported; another process need not know it.
        """
        values = self.to_dict()
        for kind, cls in registry.modalities().items():
            if not cls.__module__.startswith("mmjax.") and getattr(self.model, kind) == cls.ModelSettings():
                del values["model"][kind]
            for name, default in dataclasses.asdict(cls.DataSettings()).items() if kind not in values["model"] else ():
                if values["data"][name] == default:
                    del values["data"][name]
        return values


def data_settings(**values: Any) -> Any:
    """`DataSettings` with every modality's data settings."""
    return _data_class(*registry.modalities().values())(**values)


def model_settings(**values: Any) -> Any:
    """`ModelSettings` with a group for every modality's tower; by default the paper's three modalities."""
    kinds = registry.modalities()
    paper = tuple(kind for kind, cls in kinds.items() if cls.in_paper)
    return _model_class(*kinds.values())(**{"modalities": paper} | values)


@functools.cache
def _data_class(*kinds: type) -> type:
    bases = (*(kind.DataSettings for kind in reversed(kinds)), DataSettings)  # type: ignore[attr-defined]
    return dataclasses.make_dataclass("DataSettings", [], bases=bases, frozen=True)


@functools.cache
def _model_class(*kinds: Any) -> type:
    groups = [(kind.kind, kind.ModelSettings, field(default_factory=kind.ModelSettings)) for kind in kinds]
    return dataclasses.make_dataclass("ModelSettings", groups, bases=(ModelSettings,), frozen=True)


def _check(settings: Settings) -> None:
    """Refuses values that contradict each other."""
    model, cv = settings.model, settings.cv
    if settings.task not in registry.tasks():
        raise ConfigError(f"config.task is {settings.task!r}; it must be one of: {', '.join(registry.tasks())}.")
    if not model.modalities or len(set(model.modalities)) != len(model.modalities):
        kinds = ", ".join(registry.modalities())
        raise ConfigError(f"config.model.modalities is {model.modalities}; use each of {kinds} at most once.")
    if model.fusion == "none" and len(model.modalities) > 1:
        raise ConfigError("config.model.fusion is 'none' but there is more than one modality; use concatenate or attention.")
    if model.attention != "tanh" and model.fusion != "attention":
        why = f"config.model.fusion is {model.fusion!r}"
        raise ConfigError(f"config.model.attention={model.attention} has no effect: {why}; set config.model.fusion=attention.")
    registry.tasks()[settings.task].check(settings)
    if model.blend != "none":
        _check_blend(settings)
    if cv.folds < 2:
        raise ConfigError(f"config.cv.folds is {cv.folds}; it must be at least 2.")
    outside = [f for f in cv.only if not 0 <= f < cv.folds]
    if outside:
        raise ConfigError(f"config.cv.only names fold {outside[0]}; folds are 0 to {cv.folds - 1}.")
    if not 0 < cv.valid_fraction < 1:
        raise ConfigError(f"config.cv.valid_fraction is {cv.valid_fraction}; it must lie between 0 and 1.")


def _check_blend(settings: Settings) -> None:
    """Refuses what leaves nothing to blend, or no rows to find the weight on."""
    blend = f"config.model.blend={settings.model.blend}"
    if not registry.tasks()[settings.task].predicts_classes:
        raise ConfigError(f"{blend} has no effect: config.task={settings.task} has no classes; set config.model.blend=none.")
    if settings.train.refit:
        raise ConfigError(
            f"{blend} finds its weight on the inner validation rows, which config.train.refit=True trains on; set "
            "config.train.refit=False."
        )
    if settings.cv.valid_fraction == 0:
        raise ConfigError(
            f"{blend} finds its weight on inner validation rows, but config.cv.valid_fraction is 0; set it to 0.1, for one."
        )


def _build(cls: type, values: dict[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ConfigError(f"{where}.{unknown[0]} is not a setting; {where} has: {', '.join(fields)}.")
    hints = typing.get_type_hints(cls) | (
        {"data": type(data_settings()), "model": type(model_settings())} if cls is Settings else {}
    )
    built = cls(**{name: _convert(hints[name], value, f"{where}.{name}") for name, value in values.items()})
    if isinstance(built, ModelSettings) and "modalities" not in values:
        built = dataclasses.replace(built, modalities=model_settings().modalities)
    return built


def _convert(hint: Any, value: Any, where: str) -> Any:
    if isinstance(value, np.generic):  # as a random search draws it
        value = value.item()
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a group of settings, got {value!r}.")
        return _build(typing.cast(type, hint), value, where)
    origin = typing.get_origin(hint)
    if origin is tuple:
        if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
            raise ConfigError(f"{where} must be a list, got {value!r}.")
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        item = typing.get_args(hint)[1]
        return {str(k): _convert(item, v, f"{where}.{k}") for k, v in dict(value).items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(hint, types.UnionType) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ConfigError(f"{where} must be {hint.__name__}, got {value!r}.")
    return value
