"""What one phase of a group of folds needs, and its compiled steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from mmjax.config import Settings
from mmjax.data.loader import DispatchSource
from mmjax.tasks.base import Task
from mmjax.train.execution.parallel import FOLD_AXES, Executor
from mmjax.train.optim import make_optimizer
from mmjax.train.state import TrainState, end_epoch
from mmjax.train.step import Rows, Sums, evaluate, train_chunk


@dataclass
class Phase:
    """All that `fit` needs.

    Attributes:
      task: what is trained, for the padded sizes.
      programs: the compiled steps, see `make_programs`.
      settings: the run's settings.
      executor: compiles and places.
      folds: fold numbers of the group, F of them.
      state: initial state, leading axis `executor.width`, placed.
      rows: encoded rows, placed; only `constant` where they live on the host.
      host: arrays of the one fold's rows where they live on the host, else None.
      train_rows: row numbers to train on, by fold.
      valid_rows: row numbers of the inner validation split, by fold.
      valid_batch: rows of a validation batch.
      ids: id of every row of the table, for error messages.
      directory: where checkpoints go.
      fingerprint: of the config; a checkpoint of another is refused.
      refit: train for each state's own `max_epochs`, the number early stopping found before, without validating.
    """

    task: Task
    programs: "Programs"
    settings: Settings
    executor: Executor
    folds: tuple[int, ...]
    state: TrainState
    rows: Rows
    host: dict[str, np.ndarray] | None
    train_rows: Sequence[np.ndarray]
    valid_rows: Sequence[np.ndarray]
    valid_batch: int
    ids: np.ndarray
    directory: Path
    fingerprint: str
    refit: bool = False
    batch_size: int = 0
    steps: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A fold with fewer rows than a batch trains on one smaller batch an epoch.
        self.batch_size = min(self.settings.train.batch_size, *(len(r) for r in self.train_rows))
        self.steps = [len(r) // self.batch_size for r in self.train_rows]

    @property
    def name(self) -> str:
        """Name in the log."""
        return "refit" if self.refit else self.task.name

    @property
    def dispatches(self) -> int:
        """Dispatches of an epoch, the same for every fold of the group."""
        return -(-max(self.steps) // self.executor.plan.steps)

    def source(self, fold: int, share: tuple[int, int] = (0, 1)) -> DispatchSource:
        """Batches of the group's `fold`-th fold; seeded by run, fold number and phase, so alone equals together.

        Args:
          fold: place in the group.
          share: (i, n) takes the i-th of n parts of every batch.
        """
        number = self.folds[min(fold, len(self.folds) - 1)]
        train = self.settings.train
        seed = int(np.random.SeedSequence([train.seed, number, self.task.stream]).generate_state(1, np.uint64)[0])
        return DispatchSource(
            self.train_rows[fold],
            batch_size=self.batch_size,
            steps_per_dispatch=self.executor.plan.steps,
            dispatches=self.dispatches,
            epochs=self.task.max_epochs,
            seed=seed,
            share=share,
        )

    def active(self, dispatch: int) -> np.ndarray:
        """F x S: which steps of a dispatch are real ones of each fold."""
        step = dispatch * self.executor.plan.steps + np.arange(self.executor.plan.steps)
        return step[None] < np.array(self.steps)[:, None]


class Programs(NamedTuple):
    """Compiled once for a task and plan, whatever the number of fold groups; a refit never stops early."""

    optimizer: optax.GradientTransformation
    train: Callable
    evaluate: Callable
    end_epoch: Callable
    end_refit_epoch: Callable


def make_programs(task: Task, executor: Executor) -> Programs:
    """The jitted steps of a task on a plan."""
    settings = task.settings
    optimizer = make_optimizer(settings.optim)

    def finish(patience: int) -> Callable:
        return executor.map(partial(_finish_epoch, task, patience), (0, 0), donate_argnums=0)

    return Programs(
        optimizer=optimizer,
        train=executor.train(partial(train_chunk, task, optimizer, settings, executor.axis_name)),
        evaluate=executor.map(partial(evaluate, task), (0, 0, FOLD_AXES, 0, 0)),
        end_epoch=finish(task.patience),
        end_refit_epoch=finish(task.max_epochs + 1),
    )


def _finish_epoch(task: Task, patience: int, state: TrainState, sums: Sums) -> TrainState:
    # A refit has nothing to choose: its last epoch is its best.
    return end_epoch(state, task.monitored(sums) if sums else state.epoch.astype(jnp.float32), patience=patience)
