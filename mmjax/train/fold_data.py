"""A fold's encoded rows and fresh parameters, padded so that every fold has the same shapes.

Folds differ in their category lists and vocabularies. Every fold is given the sizes of the largest: a padded column is never
looked up and weighs nothing in a loss, so its gradient is zero and RMSprop leaves it alone. Sizes depend on the folds alone,
not on which are trained, so a fold beside others gives what it gives alone, and one compiled program serves all.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.batch import IMAGE, InputSpec
from mmjax.config import Settings
from mmjax.datasets.encoders import FoldEncoders
from mmjax.models.build import AUTOENCODER_TABLE, CLASSIFIER_TABLE
from mmjax.ops import prng
from mmjax.shapes import blank_batch
from mmjax.tasks.base import Task
from mmjax.train.step import Rows

SHARED = (IMAGE, "image_features_raw", "present", "label")
"""Arrays no encoder touches, the same in every fold; features are standardised by fold and so are not among them."""


_INIT = np.uint32(2**32 - 1)
"""What a phase's key is folded with for its initial values; dropout folds it with the step."""


@dataclass
class FoldRows:
    """One fold, ready to train.

    Attributes:
      number: fold number.
      encoders: fitted on `train_rows` and `valid_rows` (the training folds) alone.
      arrays: every row of the table, encoded; see mmjax/batch.py; empty until `encode_folds`.
      train_rows: rows that are trained on.
      valid_rows: inner validation rows, for early stopping.
      test_rows: the held-out fold.
      constant: arrays without a row axis.
    """

    number: int
    encoders: FoldEncoders
    arrays: dict[str, np.ndarray]
    train_rows: np.ndarray
    valid_rows: np.ndarray
    test_rows: np.ndarray
    constant: dict[str, np.ndarray]


def padded_spec(specs: Sequence[InputSpec]) -> InputSpec:
    """The sizes that hold every fold."""
    return replace(specs[0], onehot=max(s.onehot for s in specs), vocabulary=max(s.vocabulary for s in specs))


def constants(
    settings: Settings, spec: InputSpec, own: InputSpec, label_N: np.ndarray, train_rows: np.ndarray
) -> dict[str, np.ndarray]:
    """Class weights (K) and, where there is a table, which of the D padded columns are real.

    Args:
      settings: `optim.class_weights` none or balanced (N / (K n_k), scikit-learn's meaning).
      spec: padded sizes.
      own: the fold's own sizes.
      label_N: class index of every row.
      train_rows: rows that are trained on.
    """
    classes = len(spec.classes)
    weight_K = np.ones(classes, np.float32)
    if settings.optim.class_weights == "balanced":
        counts_K = np.bincount(label_N[train_rows], minlength=classes)
        weight_K = np.where(counts_K > 0, len(train_rows) / (classes * np.maximum(counts_K, 1)), 0.0).astype(np.float32)
    constant = {"class_weight": weight_K}
    if spec.tabular:
        constant["tabular_column_weight"] = (np.arange(spec.tabular) < own.tabular).astype(np.float32)
    return constant


def stack_rows(folds: Sequence[FoldRows], *, resident: bool, width: int, codes: Sequence[np.ndarray] = ()) -> Rows:
    """Rows of a group of folds with a leading fold axis; the last fold fills up to `width`.

    Args:
      folds: the group.
      resident: False leaves the row arrays on the host and keeps the constants only.
      width: leading axis.
      codes: N x Mk of each fold, from its frozen autoencoder.
    """
    padded = [folds[min(i, len(folds) - 1)] for i in range(width)]
    constant = {k: np.stack([f.constant[k] for f in padded]) for k in folds[0].constant}
    if not resident:
        return Rows(shared={}, fold={}, constant=constant)
    shared = {k: np.asarray(v) for k, v in folds[0].arrays.items() if k in SHARED}
    fold = {k: _stack([f.arrays[k] for f in padded]) for k in folds[0].arrays if k not in SHARED}
    if len(codes):
        fold["codes"] = _stack([codes[min(i, len(folds) - 1)] for i in range(width)])
    return Rows(shared=shared, fold=fold, constant=constant)


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(arrays) if len(arrays) > 1 else arrays[0][None]  # one is not copied


def phase_key(settings: Settings, fold: int, name: str) -> np.ndarray:
    """Words of the key of a fold's phase (uint32 2, see prng.py): a function of seed, fold and phase alone."""
    seed = [settings.train.seed, fold, name == "classifier"]
    return np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(2, np.uint32)  # spawned: not the loader's


def init_variables(task: Task, fold: FoldRows, pretrained: Any = None) -> tuple[Any, Any]:
    """A fold's initial parameters and BatchNorm statistics, at the padded sizes.

    Args:
      task: built for the padded sizes; its init is compiled once for all folds.
      fold: gives the key and the words.
      pretrained: parameters of the fold's autoencoder, copied in for mode finetune.
    """
    settings = task.settings
    params, batch_stats = initialiser(task)(phase_key(settings, fold.number, task.name))
    for path in (CLASSIFIER_TABLE, AUTOENCODER_TABLE, ("autoencoder", *AUTOENCODER_TABLE)):
        params = with_vectors(settings, fold, params, path)
    if pretrained is not None and "autoencoder" in params:
        params = params | {"autoencoder": pretrained}
    return params, batch_stats


@functools.cache
def initialiser(task: Task) -> Callable:
    """Compiled once a task: words of a phase's key -> parameters and BatchNorm statistics."""

    def initialise(key_2: jax.Array) -> tuple[Any, Any]:
        # Shapes decide what a module holds, values do not.
        blank = {k: jnp.zeros(v.shape, v.dtype) for k, v in blank_batch(task.spec, 2, task.code_width).items()}
        return task.init(jax.random.fold_in(prng.wrap(key_2), _INIT), blank)

    return jax.jit(initialise)


def with_vectors(settings: Settings, fold: FoldRows, params: Any, path: tuple[str, ...]) -> Any:
    """Puts pre-trained word vectors into the embedding table at `path`, if config and model have one."""
    text = settings.model.text
    if not settings.data.vectors or not _has(params, path):
        return params
    table_VxE = fold.encoders.vectors(text.embed_dim, settings.data.vectors, settings.train.seed, text.embed_scale)
    assert table_VxE is not None
    missing = fold_rows(params, path) - len(table_VxE)
    return _replace(params, path, jnp.asarray(np.pad(table_VxE, ((0, missing), (0, 0)))))


def fold_rows(params: Any, path: tuple[str, ...]) -> int:
    """Rows of the table at `path`: the largest fold's vocabulary."""
    for name in path:
        params = params[name]
    return len(params)


def _has(params: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        if name not in params:
            return False
        params = params[name]
    return True


def _replace(params: Any, path: tuple[str, ...], leaf: jax.Array) -> Any:
    head, *rest = path
    return params | {head: _replace(params[head], tuple(rest), leaf) if rest else leaf}
