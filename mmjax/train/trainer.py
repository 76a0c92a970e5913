"""The training loop: one task of a group of folds, from where it stands to its end.

What is not training (checkpoints, log, progress, signals, numbers that are not finite) is in callbacks.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from mmjax.data.loader import DispatchSource, Loader, evaluation_batches, gather_rows
from mmjax.tasks.base import Task
from mmjax.train.execution.parallel import Executor, Programs
from mmjax.train.fold_data import training_batch
from mmjax.train.state import TrainState
from mmjax.train.step import FoldArrays, Sums, add_sums


@dataclass
class GroupTraining:
    """What is trained, on what.

    Attributes:
      task: for the padded sizes.
      executor: compiles and places.
      folds: fold numbers of the group, F of them; sequences by fold are `executor.width` long, the last fold fills them up.
      state: initial state, leading axis `executor.width`, placed.
      rows: encoded rows, placed; only `constant` where they live on the host.
      host: arrays of the one fold's rows where they live on the host, else None.
      train_rows: row numbers to train on, by fold.
      valid_rows: row numbers of the inner validation split, by fold.
      valid_batch: rows of a validation batch.
      epochs: of the fold that trains longest.
      refit: train for each state's own `max_epochs`, the number early stopping found before, without validating.
    """

    task: Task
    executor: Executor
    folds: tuple[int, ...]
    state: TrainState
    rows: FoldArrays
    host: dict[str, np.ndarray] | None
    train_rows: Sequence[np.ndarray]
    valid_rows: Sequence[np.ndarray]
    valid_batch: int
    epochs: int
    refit: bool = False

    @property
    def name(self) -> str:
        """Name in the log."""
        return "refit" if self.refit else self.task.name

    @property
    def title(self) -> str:
        """The folds, for messages."""
        return f"fold {','.join(map(str, self.folds))}"

    @cached_property
    def programs(self) -> Programs:
        """The compiled steps."""
        return self.executor.programs(self.task)

    @cached_property
    def batch_size(self) -> int:
        """B; a fold with fewer rows trains on one smaller batch an epoch."""
        return training_batch(self.task, min(len(r) for r in self.train_rows))

    @cached_property
    def steps(self) -> list[int]:
        """Steps of an epoch, by fold."""
        return [len(r) // self.batch_size for r in self.train_rows]

    @property
    def dispatches(self) -> int:
        """Dispatches of an epoch, the same for every fold of the group."""
        return -(-max(self.steps) // self.executor.plan.steps)

    def source(self, fold: int, share: tuple[int, int] = (0, 1)) -> DispatchSource:
        """Batches of the group's `fold`-th fold; seeded by run, fold number and task, so alone equals together.

        Args:
          fold: place in the group.
          share: (i, n) takes the i-th of n parts of every batch.
        """
        seed = [self.task.settings.train.seed, self.folds[min(fold, len(self.folds) - 1)], self.task.stream]
        return DispatchSource(
            self.train_rows[fold],
            batch_size=self.batch_size,
            steps_per_dispatch=self.executor.plan.steps,
            dispatches=self.dispatches,
            epochs=self.epochs,
            seed=int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]),
            share=share,
        )

    def active(self, dispatch: int) -> np.ndarray:
        """F x S: which steps of a dispatch are real ones of each fold."""
        step = dispatch * self.executor.plan.steps + np.arange(self.executor.plan.steps)
        return step[None] < np.array(self.steps)[:, None]


class EpochSums(NamedTuple):
    """What an epoch ends with, on the host: which of the F folds trained in it, sums of training and of validation."""

    alive: np.ndarray
    train: Sums
    valid: Sums


class Callback:
    """What a trainer calls at fixed places; each hook does nothing unless a callback has its own."""

    def on_start(self, trainer: "Trainer") -> None:
        """Before anything else; may move the trainer to where a session before had come."""

    def before_dispatch(self, trainer: "Trainer") -> None:
        """Before the loader advances."""

    def after_dispatch(self, trainer: "Trainer") -> None:
        """The dispatch has been sent, and is not yet counted."""

    def after_epoch(self, trainer: "Trainer", sums: EpochSums) -> None:
        """`trainer.epoch` epochs are finished."""

    def on_end(self, trainer: "Trainer") -> None:
        """After the last epoch, or an error."""


class Trainer:
    """Trains a group of folds to the end.

    Attributes:
      training: what is trained, on what.
      state: after `dispatch` dispatches of epoch `epoch` (both from 0).
      sums: metrics of the epoch's training batches so far; None at its start.
      loaders: one a fold.
    """

    def __init__(
        self, training: GroupTraining, callbacks: Sequence[Callback], wait_for_epoch_end: Callable[[], None] = lambda: None
    ):
        """`wait_for_epoch_end` returns once an epoch's last programs are compiled, which goes on during the first steps."""
        self.training, self.callbacks, self._wait = training, callbacks, wait_for_epoch_end
        self.state, self.epoch, self.dispatch = training.state, 0, 0
        self.sums: Sums | None = None
        self._gather = gather_rows(training.host) if training.host is not None else None
        share = jax.process_index(), jax.process_count()
        self.loaders = [Loader(training.source(f, share), self._gather) for f in range(training.executor.width)]
        self._valid = self._validation_batches()

    def run(self) -> TrainState:
        """The final state; an error of a callback ends the training."""
        training, train = self.training, self.training.programs.train
        try:
            # A checkpoint, if there is one, moves state, sums, epoch, dispatch and loaders to where it was written.
            self._call("on_start")
            done = self._done()
            while not done:
                # 1. Save if due; save and stop if asked to. The loaders' position is saved before it advances, so that a
                #    resumed run sees the exact next batch.
                self._call("before_dispatch")
                # 2. The next batches, and which of their steps are real ones.
                batches, active = self._next_batches(), training.active(self.dispatch)
                # 3. S steps in one dispatch; the old state's memory is used again.
                self.state, sums = train(self.state, training.rows, batches, active)
                self.sums = sums if self.sums is None else add_sums(self.sums, sums)
                # 4. Look at the dispatch before (the host never waits for the one it has just sent), and count.
                self._call("after_dispatch")
                self.dispatch += 1
                # 5. At the end of an epoch: validate, stop early, log.
                if self.dispatch == training.dispatches:
                    self._end_epoch()
                    done = self._done()
        finally:
            self._call("on_end")
        return self.state

    def zero_sums(self) -> Sums:
        """Sums of an epoch in which nothing was trained yet."""
        index, weight = self._valid[0]
        rows = index if self._gather is None else self._gather(index)
        evaluate, state = self.training.programs.evaluate, self.state
        shapes = jax.eval_shape(evaluate, state.evaluated, state.batch_stats, self.training.rows, rows, weight)
        return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)

    def _end_epoch(self) -> None:
        self._wait()
        alive, training = ~np.asarray(self.state.done), self.training
        valid = {} if training.refit else self._validate()
        end = training.programs.end_refit_epoch if training.refit else training.programs.end_epoch
        self.state = end(self.state, valid)
        sums = EpochSums(alive, *jax.device_get((self.sums, valid)))
        self.sums, self.epoch, self.dispatch = None, self.epoch + 1, 0
        self._call("after_epoch", sums)

    def _validate(self) -> Sums:
        total: Sums = {}
        for index, weight in self._valid:
            rows = index if self._gather is None else self._gather(index)
            evaluated = self.state.evaluated, self.state.batch_stats
            sums = self.training.programs.evaluate(*evaluated, self.training.rows, rows, weight)
            total = add_sums(total, sums) if total else sums
        return total

    def _validation_batches(self) -> list[tuple[Any, Any]]:
        """Row numbers and weights, each F x B; folds with fewer rows end in batches of weight 0."""
        size, executor = self.training.valid_batch, self.training.executor
        most = max(-(-len(r) // size) for r in self.training.valid_rows)
        pairs = [evaluation_batches(r, size, most) for r in self.training.valid_rows]
        index_FxExB, weight_FxExB = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
        batches = [(index_FxExB[:, e], weight_FxExB[:, e]) for e in range(index_FxExB.shape[1])]
        return batches if self._gather else executor.put(batches, by_fold=True)

    def _next_batches(self) -> Any:
        parts = [next(loader) for loader in self.loaders]
        if len(parts) == 1:  # no copy of a fold's photos
            return jax.tree.map(lambda x: x[None], parts[0])
        return jax.tree.map(lambda *x: np.stack(x), *parts)

    def _done(self) -> bool:
        return bool(np.all(jax.device_get(self.state.done)))

    def _call(self, hook: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self, *args)
