"""A fold's encoded rows and its parameters, padded so that every fold has the same shapes.

Folds differ in their category lists and vocabularies. Every fold is given the sizes of the largest: a padded column is never
looked up and weighs nothing in a loss, so its gradient is zero and RMSprop leaves it alone. Sizes depend on the folds alone,
not on which are trained, so a fold trained with others gives what it gives alone, and one compiled program serves all.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.loader import evaluation_batch_size
from mmjax.datasets.encoders import FoldEncoders
from mmjax.io import checkpoint
from mmjax.modalities.base import modality_class
from mmjax.modalities.shapes import blank_batch, modality_constants, shared_arrays
from mmjax.ops import prng
from mmjax.tasks.base import Start, Task
from mmjax.train.fold_rows import FoldRows
from mmjax.train.step import FoldArrays

_INIT = np.uint32(2**32 - 1)
"""What a phase's key is folded with for its initial values; dropout folds it with the step."""
_EVALUATED, _CACHED = 256, 32
PRETRAINED = ("autoencoder",)
"""Where a classifier keeps the parameters of an autoencoder that it trains on."""


class FoldParameters(NamedTuple):
    """What a fold's finished training leaves: parameters, BatchNorm statistics and facts (JSON-able) about the training."""

    params: Any
    batch_stats: Any
    facts: dict[str, Any]

    @classmethod
    def load(cls, task: Task, directory: Path, config: str) -> "FoldParameters":
        """Restores what `save` wrote, or of more, as versions before 0.3 wrote, what the task keeps.

        Raises:
          CheckpointError: missing, damaged, or of another config (fingerprint) or task.
        """
        params, batch_stats = task.kept
        like = {"params": params, "batch_stats": batch_stats}
        tree, facts = checkpoint.load_model(directory, like, config, part=task.kept is not task.variables)
        return cls(tree["params"], tree["batch_stats"], facts)

    @classmethod
    def load_facts(cls, directory: Path, config: str) -> dict[str, Any]:
        """The facts alone; raises as `load`."""
        return checkpoint.load_model(directory, {}, config, part=True)[1]

    def save(self, directory: Path, config: str) -> None:
        """Writes a checkpoint, whole or not at all."""
        checkpoint.save_model(directory, {"params": self.params, "batch_stats": self.batch_stats}, self.facts, config)


@dataclass
class FoldData:
    """One fold, ready to train.

    Attributes:
      number: fold number.
      encoders: fitted on the training folds alone.
      arrays: every row of the table, encoded; see mmjax/modalities/base.py; empty until `encode_folds`.
      parts: its training, validation and held-out rows.
      constant: arrays without a row axis.
      codes: h_mm of every row, N x Mk, by the fold's own frozen autoencoder, once that is trained.
    """

    number: int
    encoders: FoldEncoders
    arrays: dict[str, np.ndarray]
    parts: FoldRows
    constant: dict[str, np.ndarray]
    codes: np.ndarray | None = None

    def rows(self, task: Task) -> dict[str, np.ndarray]:
        """What a task reads of every row: the arrays, and the codes if it reads them."""
        return self.arrays | ({"codes": self.codes} if task.code_width and self.codes is not None else {})


def training_batch(task: Task, rows: int) -> int:
    """B of a fold with `rows` training rows; where `train.batch_share` cuts it, a power of two, which devices can share."""
    train = task.settings.train
    share = int(train.batch_share * rows)
    return min(train.batch_size, rows if train.batch_share >= 1 else 1 << max(0, share.bit_length() - 1))


def training_epochs(task: Task, rows: int) -> int:
    """Most epochs of a fold with `rows` training rows: the task's, or what `train.min_steps` needs."""
    steps = max(1, rows // training_batch(task, rows))
    return max(task.max_epochs, -(-task.settings.train.min_steps // steps))


def evaluation_batch(task: Task, rows: int) -> int:
    """B, of the batches in which a task goes through `rows` rows without training: `train.eval_batch_size` at most.

    The rule is 256, but 32 for a classifier with convolutions on a CPU: the activations of more need memory (a sixth to a third
    of a process's) and leave the caches (photos take a tenth longer; docs/PERFORMANCE.md).
    """
    rule = _CACHED if task.convolves and jax.default_backend() == "cpu" else _EVALUATED
    return evaluation_batch_size(rows, task.settings.train.eval_batch_size or rule)


def fold_constants(task: Task, fitted: FoldEncoders, label_N: np.ndarray, train_rows: np.ndarray) -> dict[str, np.ndarray]:
    """The task's and the modalities' constants of a fold.

    Args:
      task: built for the padded sizes.
      fitted: the fold's encoders.
      label_N: class index of every row.
      train_rows: rows that are trained on.
    """
    return task.fold_constants(label_N, train_rows) | modality_constants(task.spec, fitted.encoders)


def stack_folds(folds: Sequence[FoldData], task: Task, *, on_device: bool) -> FoldArrays:
    """What a task reads of a group of folds, with a leading fold axis; without `on_device` the constants only."""
    constant = _stack([f.constant for f in folds])
    if not on_device:
        return FoldArrays(shared={}, fold={}, constant=constant)
    rows, same = [f.rows(task) for f in folds], shared_arrays(task.spec)
    shared = {k: np.asarray(v) for k, v in rows[0].items() if k in same}
    fold = _stack([{k: v for k, v in own.items() if k not in same} for own in rows])
    return FoldArrays(shared=shared, fold=fold, constant=constant)


def _stack(folds: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    one = len(folds) == 1  # is not copied
    return {k: v[None] if one else np.stack([own[k] for own in folds]) for k, v in folds[0].items()}


def phase_key(task: Task, fold: int) -> np.ndarray:
    """Words of the key of a fold's phase (uint32 2, see prng.py): a function of seed, fold and task alone."""
    seed = [task.settings.train.seed, fold, task.stream]
    return np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(2, np.uint32)  # spawned: not the loader's


def init_variables(task: Task, fold: FoldData, pretrained: dict[str, Any], start: Start) -> tuple[Any, Any]:
    """A fold's initial parameters and BatchNorm statistics, at the padded sizes.

    Args:
      task: built for the padded sizes; its init is compiled once for all folds.
      fold: gives the key and the start values of its modalities (word vectors, for one).
      start: what its rows decide.
      pretrained: parameters that take the place of those of their name, such as an autoencoder's for mode finetune.
    """
    params, batch_stats = initialiser(task)(phase_key(task, fold.number))
    for path, values in (*_start_values(task, fold), *start.values.items()):
        params = _with_values(params, path, values)
    return params | pretrained, batch_stats


@functools.cache
def initialiser(task: Task) -> Callable:
    """Compiled once a task: words of a phase's key -> parameters and BatchNorm statistics."""

    def initialise(key_2: jax.Array) -> tuple[Any, Any]:
        # Shapes decide what a module holds, values do not.
        blank = {k: jnp.zeros(v.shape, v.dtype) for k, v in blank_batch(task.spec, 2, task.code_width).items()}
        return task.init(jax.random.fold_in(prng.wrap(key_2), _INIT), blank)

    return jax.jit(initialise)


def _start_values(task: Task, fold: FoldData) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Values that are not drawn, with every path at which a model may have the parameter."""
    for name, encoder in fold.encoders.encoders.items():
        values = modality_class(fold.encoders.kinds[name]).initial_values(encoder, task.settings)
        for key, value in values.items():
            part, _, parameter = key.partition("/")
            if part == "tower":
                yield (f"tower_{name}", parameter), value
            else:  # of an autoencoder, alone or inside a classifier
                yield (f"{name}_{parameter}",), value
                yield (*PRETRAINED, f"{name}_{parameter}"), value


def _with_values(params: Any, path: tuple[str, ...], value: np.ndarray) -> Any:
    """Puts values into the parameter at `path`, if there is one; its rows beyond them, another fold's words, become zeros."""
    head, *rest = path
    if head not in params:
        return params
    if rest:
        return params | {head: _with_values(params[head], tuple(rest), value)}
    padding = ((0, len(params[head]) - len(value)), *((0, 0) for _ in value.shape[1:]))
    return params | {head: jnp.asarray(np.pad(value, padding))}
