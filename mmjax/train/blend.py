"""Boosted trees beside a fold's network: LightGBM on the same rows and encoded values, and one weight that blends the two.

Trees are grown on the fold's training rows. Its inner validation rows, which the network was not trained on either, say when to
stop and what weight has the least log loss. Both kinds of rows have the values that the network sees, which do not know the
row's own label. Held-out rows are only predicted.
"""

import json
import re
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mmjax.config import Settings
from mmjax.errors import CheckpointError, ConfigError, DataError, Interrupted
from mmjax.io import checkpoint
from mmjax.io.atomic import write_error
from mmjax.io.manifest import UNFINISHED, put_in_place, seal, tidy
from mmjax.modalities.base import InputSpec, modality_class
from mmjax.modalities.shapes import blank_rows
from mmjax.tasks.base import Task
from mmjax.train.execution.concurrent_folds import cores
from mmjax.train.fold_data import FoldData

BLEND = "blend"
"""Folder of a fold's trees and weight."""
_MODEL, _FACTS, _FORMAT = "model.txt", "blend.json", 1
_WEIGHTS = np.arange(21) / 20
_LEAST = 1e-12
"""Smallest probability whose logarithm is taken."""
_ROUNDS, _PATIENCE = 1000, 50
_TREES = {
    "learning_rate": 0.05,
    "num_leaves": 15,  # less than LightGBM's 31 and 20: on PetFinder's folds 0 and 1, random and grouped, the blend gained
    "min_data_in_leaf": 40,
    "feature_fraction": 0.3,  # the scores of `linear` and `forest` are among hundreds: not every tree may begin with them
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
}
"""LightGBM's own names. Modest values; early stopping does the rest. A table of less than a hundred rows grows no trees."""
_REPEATABLE = {"deterministic": True, "force_row_wise": True, "verbosity": -1}
"""The same trees by any number of threads, and nothing on the screen."""
_VALUES_A_THREAD = 200_000
"""Threads that each have fewer numbers to read wait for each other longer than they work."""
_ONE_AT_A_TIME = threading.Lock()
"""Folds are finished in threads, and one boosting keeps every core at work."""

Classes = Float[np.ndarray, "n K"]


@dataclass(frozen=True)
class Blend:
    """A fold's boosted trees and how much they count.

    Attributes:
      trees: LightGBM's text model, of the classes that training rows have; '' where these are fewer than two, or none of the
        inner validation rows has one of them: then each row has the classes' shares.
      weight: of the trees' probabilities; the network's have the rest.
      classes: names, in the order of the class index.
      shares: of each class among the labelled training rows.
      widths: numbers of each feature, by its name, in order.
      rounds: of boosting.
      log_loss: in nats, of the inner validation rows by `network`, `boosting` and `blend`.
    """

    trees: str
    weight: float
    classes: tuple[str, ...]
    shares: tuple[float, ...]
    widths: dict[str, int]
    rounds: int
    log_loss: dict[str, float]

    @classmethod
    def fit(
        cls, task: Task, fold: FoldData, network_vxK: Classes, *, threads: int = 0, stop: Callable[[], bool] = lambda: False
    ) -> "Blend":
        """Grows the trees and finds the weight.

        Args:
          task: the classifier.
          fold: its rows, encoded as they are trained on.
          network_vxK: the network's probabilities of all inner validation rows.
          threads: that LightGBM uses; 0: one a core, fewer for a small table. The result is the same.
          stop: whether the run was asked to stop, asked once a round.

        Raises:
          ConfigError: LightGBM is not installed.
          Interrupted: `stop` became true.
        """
        label_N, classes = fold.arrays["label"], task.spec.classes
        shares_K = np.bincount(label_N[fold.parts.train][label_N[fold.parts.train] >= 0], minlength=len(classes)).astype(float)
        shares_K /= max(1.0, shares_K.sum())
        options = {"seed": task.settings.train.seed, "threads": threads, "stop": stop}
        with _ONE_AT_A_TIME:
            trees, rounds = _boost(fold, label_N, np.flatnonzero(shares_K), **options)
        _, widths = _read(fold, fold.parts.train[:0])
        alone = cls(trees, 1.0, classes, tuple(shares_K.tolist()), widths, rounds, {})
        known_v = label_N[fold.parts.valid] >= 0
        valid, network = fold.parts.valid[known_v], network_vxK[known_v]
        boosting = alone.probabilities(fold, valid)
        losses = [_log_loss(mix(network, boosting, weight), label_N[valid]) for weight in _WEIGHTS]
        best = int(np.argmin(losses))
        log_loss = {"network": losses[0], "boosting": losses[-1], "blend": losses[best]}
        return replace(alone, weight=float(_WEIGHTS[best]), log_loss=log_loss)

    @property
    def facts(self) -> dict[str, Any]:
        """What done.json says of it."""
        return {"weight": self.weight, "rounds": self.rounds, "log_loss": self.log_loss}

    @cached_property
    def _booster(self) -> Any:
        return lightgbm().Booster(model_str=self.trees)

    def probabilities(self, fold: FoldData, rows: Int[np.ndarray, " n"]) -> Classes:
        """By the trees alone, float64; 0 for a class that no training row has.

        Raises:
          CheckpointError: the rows are encoded otherwise than those it was trained on.
        """
        matrix_nxD, widths = _read(fold, rows)
        if widths != self.widths:
            raise CheckpointError(
                f"fold_{fold.number}/{BLEND} was trained on features {self.widths} but is given {widths}; delete that folder "
                "and run the same `mmjax train` command again."
            )
        p_nxK = np.tile(np.array(self.shares), (len(rows), 1))
        if self.trees and len(rows):
            p_nxK[:, np.flatnonzero(self.shares)] = self._booster.predict(matrix_nxD, num_threads=_threads(matrix_nxD))
        return p_nxK

    def apply(
        self, task: Task, fold: FoldData, rows: Int[np.ndarray, " n"], out: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The network's `outputs` of rows with the blend's in place of its `logits`: logarithms of probabilities, float64.

        Args:
          task: the classifier.
          fold: whose trees these are.
          rows: that the outputs are of.
          out: the network's.
        """
        p_nxK = mix(task.probabilities(out), self.probabilities(fold, rows), self.weight)
        return {**out, "logits": np.log(np.maximum(p_nxK, _LEAST))}

    def save(self, directory: Path, config: str) -> None:
        """Writes a sealed folder, whole or not at all.

        Args:
          directory: the folder.
          config: its fingerprint, see `checkpoint.config_fingerprint`.

        Raises:
          WorkdirError: the disk is full or the folder cannot be written.
        """
        unfinished = directory.with_name(directory.name + UNFINISHED)
        values = {"weight": self.weight, "rounds": self.rounds, "log_loss": self.log_loss, "features": self.widths}
        values |= {"width": sum(self.widths.values()), "classes": self.classes, "shares": self.shares}
        try:
            tidy(directory)
            unfinished.mkdir(parents=True)
            (unfinished / _MODEL).write_text(self.trees, encoding="utf-8")
            (unfinished / _FACTS).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            seal(unfinished, {"format": _FORMAT, "config": config})
            put_in_place(unfinished)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise write_error(directory, error, len(self.trees)) from error

    @classmethod
    def load(cls, directory: Path, config: str) -> "Blend":
        """Reads what `save` wrote.

        Raises:
          CheckpointError: missing, damaged, or of another config or version.
          ConfigError: LightGBM is not installed.
        """
        lightgbm()
        body, again = checkpoint.check_model(directory), "delete that folder and run the same `mmjax train` command again"
        if (body.get("format"), body.get("config")) != (_FORMAT, config):
            raise CheckpointError(f"{directory} was written under another config or version; {again}.")
        try:
            values = json.loads((directory / _FACTS).read_text(encoding="utf-8"))
            trees = (directory / _MODEL).read_text(encoding="utf-8")
            log_loss = {str(name): float(value) for name, value in values["log_loss"].items()}
            widths = {str(name): int(width) for name, width in values["features"].items()}
            names, shares = tuple(map(str, values["classes"])), tuple(map(float, values["shares"]))
            return cls(trees, float(values["weight"]), names, shares, widths, int(values["rounds"]), log_loss)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{directory} is damaged ({type(error).__name__}); {again}.") from error


def blends(settings: Settings) -> bool:
    """Whether a run's predictions are blended."""
    return settings.model.blend != "none"


def check_blend(settings: Settings, spec: InputSpec, folds: Sequence[FoldData]) -> None:
    """Refuses data that trees cannot be blended on, before anything is trained.

    Raises:
      ConfigError: no modality has anything that trees read.
      DataError: a fold has no validation rows of its own.
    """
    if not blends(settings):
        return
    one = {name: np.zeros(row.shape, row.dtype) for name, row in blank_rows(spec, 1).items()}
    if not _features(spec.kinds, one, np.arange(1))[0].size:
        raise ConfigError(
            f"config.model.blend={settings.model.blend} has nothing to read in {', '.join(spec.modalities)}; add tabular or "
            "words to config.model.modalities, or set config.model.blend=none."
        )
    for fold in folds:
        if len(np.intersect1d(fold.parts.train, fold.parts.valid)) or not len(fold.parts.valid):
            raise DataError(
                f"fold {fold.number} has no inner validation rows beside its training rows, on which config.model.blend finds "
                "its weight; use more rows or groups, or set config.model.blend=none."
            )


def lightgbm() -> Any:
    """The package, which is an extra.

    Raises:
      ConfigError: it cannot be imported.
    """
    try:
        import lightgbm as package  # noqa: PLC0415 - an extra, and seconds
    except (ImportError, OSError) as error:  # a system without its OpenMP library raises OSError
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"config.model.blend=lightgbm needs the package lightgbm, which cannot be imported ({reason}): run "
            "`pip install 'mmjax[blend]'`, or set config.model.blend=none."
        ) from error
    return package


def mix(network_nxK: Classes, boosting_nxK: Classes, weight: float) -> Classes:
    """The weighted mean of two models' probabilities."""
    return (1 - weight) * network_nxK + weight * boosting_nxK


def _boost(
    fold: FoldData,
    label_N: Int[np.ndarray, " N"],
    found_k: Int[np.ndarray, " k"],
    *,
    seed: int,
    threads: int,
    stop: Callable[[], bool],
) -> tuple[str, int]:
    """Text model and number of rounds; '' and 0 where there is nothing to tell apart.

    Args:
      fold: its rows.
      label_N: class index of every row.
      found_k: classes of the training rows; LightGBM is told of no other.
      seed: of its draws of rows and features.
      threads: see `Blend.fit`.
      stop: see `Blend.fit`.
    """
    package = lightgbm()
    train, valid = (rows[np.isin(label_N[rows], found_k)] for rows in (fold.parts.train, fold.parts.valid))
    if len(found_k) < 2 or not len(valid):
        return "", 0
    settings = {"objective": "multiclass", "num_class": len(found_k), "metric": "multi_logloss"}
    train_nxD, valid_vxD = _read(fold, train)[0], _read(fold, valid)[0]
    settings |= {**_TREES, **_REPEATABLE, "seed": seed, "num_threads": threads or _threads(train_nxD)}

    def ask(_: Any) -> None:
        if stop():
            raise Interrupted(f"Stopped by a signal while fold {fold.number} was boosted; the same command goes on from there.")

    data = package.Dataset(train_nxD, np.searchsorted(found_k, label_N[train]), params=settings)
    judge = data.create_valid(valid_vxD, np.searchsorted(found_k, label_N[valid]))
    callbacks = [package.early_stopping(_PATIENCE, verbose=False), ask]
    booster = package.train(settings, data, _ROUNDS, valid_sets=[judge], callbacks=callbacks)
    text = booster.model_to_string(num_iteration=booster.best_iteration)
    return re.sub(r"\[num_threads: \d+\]", "[num_threads: 0]", text), booster.best_iteration


def _threads(matrix_nxD: Float[np.ndarray, "n D"]) -> int:
    return min(cores(), 1 + matrix_nxD.size // _VALUES_A_THREAD)


def _read(fold: FoldData, rows: Int[np.ndarray, " n"]) -> tuple[Float[np.ndarray, "n D"], dict[str, int]]:
    return _features(fold.encoders.kinds, fold.arrays, rows)


def _features(
    kinds: Mapping[str, str], arrays: Mapping[str, np.ndarray], rows: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n D"], dict[str, int]]:
    """What trees read of rows, nan where a modality is absent; and how many numbers each feature has, by its name.

    Args:
      kinds: of the modalities, by name, in the order of `present`.
      arrays: of all rows; see mmjax/modalities/base.py.
      rows: those that are read.
    """
    values, widths = [np.zeros((len(rows), 0), np.float32)], {}
    for m, (name, kind) in enumerate(kinds.items()):
        own = {key.rpartition("/")[2]: value for key, value in arrays.items() if key.rpartition("/")[0] == name}
        for part, value_NxD in modality_class(kind).boosting_features(own).items():
            value_nxD = value_NxD[rows].astype(np.float32)
            value_nxD[~arrays["present"][rows, m]] = np.nan
            values.append(value_nxD)
            widths[f"{name}/{part}"] = value_nxD.shape[1]
    return np.concatenate(values, axis=1), widths


def _log_loss(p_nxK: Classes, label_n: Int[np.ndarray, " n"]) -> float:
    """Mean, in nats."""
    return float(-np.mean(np.log(np.maximum(p_nxK[np.arange(len(label_n)), label_n], _LEAST))))
