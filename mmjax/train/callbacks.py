"""What the loop does besides training: checkpoints, a stop on a signal or on numbers that are not finite, log, progress."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.errors import Interrupted, NonFiniteError
from mmjax.io import checkpoint, processes
from mmjax.io.metrics_log import MetricsLog
from mmjax.io.progress import PhaseProgress
from mmjax.train.step import Sums
from mmjax.train.trainer import Callback, EpochSums, Trainer


class Checkpoints(Callback):
    """Goes on from the newest good checkpoint, and saves one when asked to (see `StopSignals`).

    Attributes:
      directory: of this training's checkpoints.
    """

    def __init__(self, directory: Path, config: str, *, seconds: float, keep: int, log: Callable[[str], None]):
        """`config` is its fingerprint: a checkpoint of another is refused. `log` is told of what was found."""
        self.directory, self._config, self._seconds, self._keep, self._log = directory, config, seconds, keep, log
        self._saved, self._saved_at = (0, 0), 0.0

    def on_start(self, trainer: Trainer) -> None:
        """Restores the newest good checkpoint.

        Raises:
          CheckpointError: it is of another config, or all are damaged.
        """

        def like() -> Any:
            tree = {"state": trainer.state, "sums": trainer.zero_sums()}
            return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)

        if found := checkpoint.restore(self.directory, like, self._config, self._log):
            _, tree, host = found
            training, put = trainer.training, trainer.training.executor.put
            trainer.state, trainer.epoch, trainer.dispatch = put(tree["state"], by_fold=True), host["epoch"], host["dispatch"]
            # An epoch's first dispatch starts the sums afresh, so a checkpoint between epochs carries none.
            trainer.sums = put(tree["sums"], by_fold=True) if host["dispatch"] else None
            for loader, position in zip(trainer.loaders, host["loaders"], strict=True):
                loader.seek(json.dumps(position))
            self._log(f"Going on with {training.title}, {training.name}, epoch {trainer.epoch + 1} from a checkpoint.")
        self._saved, self._saved_at = (trainer.epoch, trainer.dispatch), time.monotonic()

    def due(self) -> bool:
        """Whether the last one was saved long enough ago."""
        return time.monotonic() - self._saved_at >= self._seconds

    def save(self, trainer: Trainer) -> bool:
        """Saves what no checkpoint holds yet; False before the first step, when there is nothing to save."""
        place = (trainer.epoch, trainer.dispatch)
        if place != self._saved:
            sums = trainer.zero_sums() if trainer.sums is None else trainer.sums
            tree = {"state": jax.device_get(trainer.state), "sums": jax.device_get(sums)}
            loaders = [json.loads(loader.position()) for loader in trainer.loaders]
            host = {"epoch": trainer.epoch, "dispatch": trainer.dispatch, "loaders": loaders}
            step = trainer.epoch * trainer.training.dispatches + trainer.dispatch
            checkpoint.save(self.directory, step, tree, host, self._config, keep=self._keep)
            self._saved, self._saved_at = place, time.monotonic()
        return place != (0, 0)


class StopSignals(Callback):
    """Saves when a checkpoint is due; saves and ends the training once a signal asked for it, in any process."""

    def __init__(self, stop: Callable[[], bool], checkpoints: Checkpoints):
        self._stop, self._checkpoints = stop, checkpoints

    def before_dispatch(self, trainer: Trainer) -> None:
        """Asks all processes, once for both questions; raises Interrupted if asked to stop."""
        due, asked = processes.agree(self._checkpoints.due(), self._stop())
        saved = (due or asked) and self._checkpoints.save(trainer)
        if not asked:
            return
        where = f"{trainer.training.title}, {trainer.training.name}, epoch {trainer.epoch + 1}"
        if not saved:
            raise Interrupted(f"Stopped by a signal before the first step of {where}; the same command goes on from there.")
        raise Interrupted(
            f"Stopped by a signal at {where}; saved in {self._checkpoints.directory}; the same command goes on from there.",
            saved=True,
        )


class NonFiniteGuard(Callback):
    """Ends a training whose loss or gradient is not finite (with on_nonfinite=stop): the state is the one before that step."""

    def __init__(self, ids_N: np.ndarray, directory: Path, config: str):
        """Rows' ids are for the message; the parameters before the step are left in `directory`/last_good."""
        self._ids_N, self._kept, self._config = ids_N, directory / "last_good", config
        self._pending: Any = None

    def after_dispatch(self, trainer: Trainer) -> None:
        """Looks one dispatch late, and at an epoch's last dispatch at once."""
        before, self._pending = self._pending, (jnp.copy(trainer.state.halted_step), trainer.epoch, trainer.dispatch)
        if before is not None:
            self._check(trainer, *before)
        if trainer.dispatch + 1 == trainer.training.dispatches:
            self._check(trainer, *self._pending)
            self._pending = None

    def _check(self, trainer: Trainer, halted: Any, epoch: int, dispatch: int) -> None:
        training, halted_F = trainer.training, np.asarray(halted)
        bad = [i for i in range(len(training.folds)) if halted_F[i] >= 0]
        if not bad:
            return
        i, step = bad[0], int(halted_F[bad[0]])
        # Skipped steps cannot precede a stop, so the step's place in the dispatch follows from its number.
        place = step - epoch * training.steps[i] - dispatch * training.executor.plan.steps
        batches_SxB = training.source(i)[epoch * training.dispatches + dispatch]
        rows_B = batches_SxB[min(max(place, 0), len(batches_SxB) - 1)]
        checkpoint.save_model(self._kept, jax.device_get(trainer.state.params), {"step": step}, self._config)
        raise NonFiniteError(
            f"The loss or a gradient stopped being finite in fold {training.folds[i]}, {training.task.name}, step {step} "
            f"(epoch {epoch + 1}), on the rows {', '.join(str(self._ids_N[r]) for r in rows_B)}; the parameters before that "
            f"step are in {self._kept}. Look at these rows, and train in a new workdir: with a lower "
            "config.optim.learning_rate, with config.optim.clip_norm, or with config.train.on_nonfinite=skip."
        )


class MetricsLogger(Callback):
    """Writes an event a fold and epoch."""

    def __init__(self, log: MetricsLog):
        self._log = log

    def on_start(self, trainer: Trainer) -> None:
        """Forgets what the checkpoint does not know."""
        step_F = np.asarray(jax.device_get(trainer.state.step))
        for i, fold in enumerate(trainer.training.folds):
            self._log.truncate(fold, trainer.training.name, int(step_F[i]), trainer.epoch)

    def after_epoch(self, trainer: Trainer, sums: EpochSums) -> None:
        """Of folds that trained."""
        state = trainer.state
        step, best_epoch, best_value, stale, skipped = jax.device_get(
            (state.step, state.best_epoch, state.best_value, state.stale, state.skipped)
        )
        for i, fold in enumerate(trainer.training.folds):
            if sums.alive[i]:
                self._log.write(
                    fold=fold,
                    phase=trainer.training.name,
                    epoch=trainer.epoch,
                    step=int(step[i]),
                    train=_means(sums.train, i),
                    valid=_means(sums.valid, i),
                    best_epoch=int(best_epoch[i]) + 1,
                    best_value=float(best_value[i]),
                    stale=int(stale[i]),
                    skipped=int(skipped[i]),
                )


class ProgressBar(Callback):
    """Counts dispatches, says what is best so far, and in detail how each epoch ended."""

    def __init__(self, progress: PhaseProgress):
        self._progress = progress

    def on_start(self, trainer: Trainer) -> None:
        """From where the training goes on."""
        training = trainer.training
        total = int(np.max(jax.device_get(trainer.state.max_epochs))) * training.dispatches
        self._progress.start(training.folds, total, trainer.epoch * training.dispatches + trainer.dispatch)

    def after_dispatch(self, trainer: Trainer) -> None:
        """One more."""
        self._progress.advance(trainer.training.folds)

    def after_epoch(self, trainer: Trainer, sums: EpochSums) -> None:
        """A line for all folds that trained."""
        shown, training = [], trainer.training
        done_F, best_F = jax.device_get((trainer.state.done, trainer.state.best_value))
        for i, fold in enumerate(training.folds):
            if sums.alive[i]:
                train, valid = _means(sums.train, i), _means(sums.valid, i)
                loss = train.get("loss", sum(train.values()))
                parts = ", valid " + " ".join(f"{n} {v:.4f}" for n, v in valid.items()) if valid else ""
                shown.append(f"fold {fold}: train loss {loss:.4f}{parts}{' (done)' if done_F[i] else ''}")
        if not training.refit:
            self._progress.best(training.folds, float(np.mean(np.abs(best_F[: len(training.folds)]))))
        self._progress.log.detail(f"{training.name} epoch {trainer.epoch}: {'; '.join(shown)}")

    def on_end(self, trainer: Trainer) -> None:
        """The folds are trained, or training ends in an error."""
        if np.all(jax.device_get(trainer.state.done)):
            self._progress.end(trainer.training.folds)


def _means(sums: Sums, fold: int) -> dict[str, float]:
    names = [n for n in sums if not n.endswith("_count")]
    return {n: float(sums[n][fold] / max(float(sums[f"{n}_count"][fold]), 1e-12)) for n in names}
