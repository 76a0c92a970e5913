"""A fold's encoded rows and fresh parameters, padded so that every fold has the same shapes.

Folds differ in their category lists and vocabularies. Every fold is given the sizes of the largest: a padded column is never
looked up and weighs nothing in a loss, so its gradient is zero and RMSprop leaves it alone. Sizes depend on the folds alone,
not on which are trained, so a fold beside others gives what it gives alone, and one compiled program serves all.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax import registry
from mmjax.config import Settings
from mmjax.datasets.encoders import FoldEncoders
from mmjax.modalities.base import InputSpec, modality_class
from mmjax.ops import prng
from mmjax.shapes import blank_batch, shared_arrays
from mmjax.tasks.base import Task
from mmjax.train.step import Rows

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


def stack_rows(
    spec: InputSpec, folds: Sequence[FoldRows], *, resident: bool, width: int, codes: Sequence[np.ndarray] = ()
) -> Rows:
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
    same = shared_arrays(spec)
    shared = {k: np.asarray(v) for k, v in folds[0].arrays.items() if k in same}
    fold = {k: _stack([f.arrays[k] for f in padded]) for k in folds[0].arrays if k not in same}
    if len(codes):
        fold["codes"] = _stack([codes[min(i, len(folds) - 1)] for i in range(width)])
    return Rows(shared=shared, fold=fold, constant=constant)


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(arrays) if len(arrays) > 1 else arrays[0][None]  # one is not copied


def phase_key(settings: Settings, fold: int, name: str) -> np.ndarray:
    """Words of the key of a fold's phase (uint32 2, see prng.py): a function of seed, fold and phase alone."""
    seed = [settings.train.seed, fold, registry.tasks()[name].stream]
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
    for path, values in start_values(settings, fold).items():
        params = with_values(params, path, values)
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


def start_values(settings: Settings, fold: FoldRows) -> dict[tuple[str, ...], np.ndarray]:
    """Start values that are not drawn, by the paths a module may have them at (word vectors, for one)."""
    found: dict[tuple[str, ...], np.ndarray] = {}
    for name, encoder in fold.encoders.encoders.items():
        values = modality_class(fold.encoders.kinds[name]).initial_values(encoder, settings)
        for key, value in values.items():
            part, _, parameter = key.partition("/")
            paths = [(f"tower_{name}", parameter)] if part == "tower" else [(f"{name}_{parameter}",)]
            found |= dict.fromkeys(paths if part == "tower" else [*paths, ("autoencoder", *paths[0])], value)
    return found


def with_values(params: Any, path: tuple[str, ...], value: np.ndarray) -> Any:
    """Puts values into the parameter at `path`, if there is one; its rows beyond them (the largest fold's) become zeros."""
    head, *rest = path
    if head not in params:
        return params
    if rest:
        return params | {head: with_values(params[head], tuple(rest), value)}
    missing = len(params[head]) - len(value)
    return params | {head: jnp.asarray(np.pad(value, ((0, missing), *([(0, 0)] * (value.ndim - 1)))))}
