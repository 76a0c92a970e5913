"""Typed settings: what a config file says, checked once at the edge.

Config files are `ml_collections.ConfigDict`s; `Settings.from_dict` turns their dict into frozen dataclasses, refuses a key it
does not know and a value of the wrong type, and everything below the command line sees only these classes. "paper" and
"our reading" beside a default say where the value comes from.
"""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from mmjax.config_rules import check
from mmjax.errors import ConfigError


@dataclass(frozen=True)
class DataSettings:
    """Where rows come from and how each modality is encoded."""

    name: str = "planted"  # planted | petfinder | fashion | table
    root: str = ""  # folder of the data set; planted writes itself there
    table: str = ""  # CSV file, relative to root; empty: the data set's own
    schema: str = ""  # TOML file; empty: the data set's own
    images: str = ""  # folder of photos, overrides the schema's
    image_features: str = ""  # .npz with ids and features, overrides the schema's
    image_size: int = 512  # paper: 512 x 512
    text_length: int = 100  # paper: l = 100
    min_count: int = 2  # our reading: a word seen once in training is unknown
    max_words: int = 20000  # our reading
    vectors: str = ""  # GloVe/fastText text file; empty: random vectors
    discretize: bool = False  # paper: row #5
    bins: int = 10  # our reading: quantile bins
    cache: str = ""  # folder of the image and table stores; empty: <user cache>/mmjax
    strict: bool = False  # refuse bad rows instead of reporting them
    planted_rows: int = 3000
    planted_seed: int = 0
    max_rows: int = 0  # first rows only, for smoke runs; 0: all
    rows_with: str = ""  # modality a row must have to be used (Table 2: image)


@dataclass(frozen=True)
class CvSettings:
    """Cross-validation protocol."""

    folds: int = 5  # paper
    group: str = ""  # column whose values never straddle two folds; "schema": the schema's group column
    seed: int = 0  # our reading: stratified, shuffled with this seed
    only: tuple[int, ...] = ()  # train these folds alone
    valid_fraction: float = 0.1  # our reading: inner split of the training rows for early stopping


@dataclass(frozen=True)
class TextTower:
    """TextCNN (Kim 2014)."""

    embed_dim: int = 300  # paper
    widths: tuple[int, ...] = (3, 4, 5)  # paper
    maps: int = 100  # paper
    dropout: float = 0.5  # paper
    embed_scale: float = 0.25  # our reading: U(-0.25, 0.25), Kim 2014's range for words without a vector
    train_embedding: bool = True  # our reading


@dataclass(frozen=True)
class ImageTower:
    """DenseNet-BC (Huang et al. 2017)."""

    growth: int = 32  # our reading
    layers: tuple[int, ...] = (6, 6)  # paper: two blocks with the same settings; our reading: 6 layers each
    compression: float = 0.5  # our reading
    stem: int = 64  # our reading: 2 x growth
    momentum: float = 0.99  # our reading: Keras' BatchNorm; 0.9 follows fast-moving weights better in short trainings
    fast: str = "auto"  # auto | on | off: the CPU formulation of the same layer


@dataclass(frozen=True)
class AutoencoderSettings:
    """Multi-modal autoencoder."""

    kind: str = "none"  # none | independent (AE feature, row #7) | mmae (row #8)
    mode: str = "frozen"  # our reading: frozen (default) | finetune | joint
    hidden: int = 512  # paper
    code: int = 64  # paper: k
    weights: dict[str, float] = field(default_factory=dict)  # paper: alpha = beta = gamma; missing key: 1
    code_norm: str = "none"  # paper: none; our reading in rows #7 and #8: rms divides a row's h_mm by its root mean square
    joint_weight: float = 1.0  # our reading: lambda of cross-entropy + lambda * reconstruction
    train_table: bool = False  # our reading: the text target's table is frozen; True: trainable with stop-gradient target


@dataclass(frozen=True)
class ModelSettings:
    """Attention-based classifier."""

    modalities: tuple[str, ...] = ("tabular", "text", "image")
    fusion: str = "attention"  # none (one modality) | concatenate | attention
    width: int = 128  # paper: m
    tabular_hidden: tuple[int, ...] = (256,)  # paper: 256 -> 128 (the last is `width`)
    tabular_dropout: float = 0.2  # paper
    features_hidden: tuple[int, ...] = (256,)  # our reading: as the tabular tower
    features_dropout: float = 0.2  # our reading
    text: TextTower = field(default_factory=TextTower)
    image: ImageTower = field(default_factory=ImageTower)
    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)


@dataclass(frozen=True)
class OptimSettings:
    """RMSprop as Keras means it."""

    learning_rate: float = 0.001  # paper
    autoencoder_learning_rate: float = 0.001  # paper
    decay: float = 0.9  # our reading: Keras' rho
    eps: float = 1e-7  # our reading: Keras' epsilon, inside the root
    schedule: str = "constant"  # constant | cosine | linear
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    label_smoothing: float = 0.0
    class_weights: str = "none"  # none | balanced


@dataclass(frozen=True)
class TrainSettings:
    """The loop."""

    seed: int = 0
    batch_size: int = 32  # paper
    max_epochs: int = 30  # our reading: early stopping decides
    patience: int = 3  # our reading, epochs without a better monitored value
    monitor: str = "accuracy"  # accuracy | loss, on the inner validation rows
    refit: bool = False  # our reading: True trains again on all training rows for the number of epochs early stopping found
    autoencoder_max_epochs: int = 20  # our reading
    autoencoder_patience: int = 2  # our reading
    eval_batch_size: int = 0  # rows of an evaluation batch at most; 0: as train/run.py's rule says
    dtype: str = "float32"  # compute dtype: float32 | bfloat16 (parameters stay float32)
    fold_parallel: str = "auto"  # auto | vmap | threads | sequential
    placement: str = "auto"  # several devices: auto | batch (shard the batch) | folds (folds on devices)
    devices: int = 0  # how many local devices to use; 0: all
    resident: str = "auto"  # auto | device | host: where the encoded rows live
    steps_per_dispatch: int = 0  # 0: the rule in train/plan.py
    checkpoint_seconds: float = 60.0
    keep_checkpoints: int = 2
    on_nonfinite: str = "stop"  # stop | skip


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run's numbers, plus `task`: classifier | autoencoder (Table 2)."""

    task: str = "classifier"
    data: DataSettings = field(default_factory=DataSettings)
    cv: CvSettings = field(default_factory=CvSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    train: TrainSettings = field(default_factory=TrainSettings)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Settings":
        """Builds settings from a nested dict.

        Raises:
          ConfigError: unknown key, wrong type, or values that contradict each other.
        """
        settings = _build(cls, values, "config")
        check(settings)
        return settings

    def to_dict(self) -> dict[str, Any]:
        """Nested dict of plain values; `from_dict(to_dict())` is the identity."""
        return dataclasses.asdict(self)


def _build(cls: type, values: dict[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ConfigError(f"{where}.{unknown[0]} is not a setting; {where} has: {', '.join(fields)}.")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _convert(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
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
