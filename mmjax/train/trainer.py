"""One phase (autoencoder or classifier) of a group of folds, from where it stands to its end.

The order of an iteration is fixed: save if due, take the next dispatch, step; at the end of an epoch evaluate, stop early,
log. The loader's position is saved before it advances, so a resumed run sees the exact next batch.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.loader import Loader, evaluation_batches, gather_rows
from mmjax.errors import Interrupted, NonFiniteError
from mmjax.io import checkpoint, processes
from mmjax.io.metrics_log import MetricsLog, Progress
from mmjax.train.phase import Phase
from mmjax.train.state import TrainState
from mmjax.train.step import Sums, add_sums


class Fit:
    """Runs a phase; `run` returns its final state.

    `compiled` returns once the programs of an epoch's end are there: they compile beside the first steps.
    """

    def __init__(
        self,
        phase: Phase,
        *,
        log: MetricsLog,
        progress: Progress,
        stop: Callable[[], bool],
        say: Callable[[str], None],
        compiled: Callable[[], None] = lambda: None,
    ):
        self.phase, self.log, self.progress, self.stop, self.say = phase, log, progress, stop, say
        self.compiled = compiled
        executor, programs = phase.executor, phase.programs
        self.train, self.evaluate = programs.train, programs.evaluate
        self.end_epoch = programs.end_refit_epoch if phase.refit else programs.end_epoch
        self.gather = gather_rows(phase.host) if phase.host is not None else None
        share = jax.process_index(), jax.process_count()
        self.loaders = [Loader(phase.source(f, share), self.gather) for f in range(executor.width)]
        self.valid = self._validation_batches()

    def run(self) -> TrainState:
        """Trains to the end; goes on from the newest good checkpoint if there is one.

        Raises:
          Interrupted: a signal arrived; the state was saved first.
          NonFiniteError: a loss or gradient was not finite and on_nonfinite is stop.
          CheckpointError: a checkpoint is of another config, or all are damaged.
        """
        state, sums, epoch, dispatch = self._restore()
        total = int(np.max(jax.device_get(self.phase.state.max_epochs))) * self.phase.dispatches
        self.progress.start(self._title(), total, epoch * self.phase.dispatches + dispatch)
        self.saved_at = time.monotonic()
        try:
            return self._loop(state, sums, epoch, dispatch)
        finally:
            self.progress.finish()

    def _loop(self, state: TrainState, sums: Sums | None, epoch: int, dispatch: int) -> TrainState:
        phase, pending = self.phase, None
        done = bool(np.all(jax.device_get(state.done)))
        while not done:
            self._save_if_due(state, sums, epoch, dispatch)
            state, chunk_sums = self.train(state, phase.rows, self._next(), phase.active(dispatch))
            sums = chunk_sums if sums is None else add_sums(sums, chunk_sums)
            # Looked at one dispatch late, so that the host never waits for the step it has just sent.
            halted, previous = jnp.copy(state.halted_step), pending
            pending = (halted, epoch, dispatch)
            if previous is not None:
                self._check(*previous, state)
            dispatch += 1
            self.progress.advance()
            if dispatch == phase.dispatches:
                self._check(*pending, state)
                assert sums is not None
                state, done = self._finish_epoch(state, sums, epoch)
                sums, epoch, dispatch, pending = None, epoch + 1, 0, None
        return state

    def _next(self) -> Any:
        parts = [next(loader) for loader in self.loaders]
        if len(parts) == 1:  # no copy of a fold's photos
            return jax.tree.map(lambda x: x[None], parts[0])
        return jax.tree.map(lambda *x: np.stack(x), *parts)

    def _finish_epoch(self, state: TrainState, sums: Sums, epoch: int) -> tuple[TrainState, bool]:
        self.compiled()
        alive = ~np.asarray(state.done)
        valid = {} if self.phase.refit else self._validate(state)
        state = self.end_epoch(state, valid)
        train_sums, valid_sums = jax.device_get((sums, valid))
        host = jax.device_get((state.step, state.best_value, state.best_epoch, state.stale, state.skipped, state.done))
        step, best_value, best_epoch, stale, skipped, done = host
        for i, fold in enumerate(self.phase.folds):
            if not alive[i]:
                continue
            self.log.write(
                fold=fold,
                phase=self.phase.name,
                epoch=epoch + 1,
                step=int(step[i]),
                train=_means(train_sums, i),
                valid=_means(valid_sums, i),
                best_epoch=int(best_epoch[i]) + 1,
                best_value=float(best_value[i]),
                stale=int(stale[i]),
                skipped=int(skipped[i]),
            )
        self.progress.note(_epoch_line(self.phase, epoch, alive, train_sums, valid_sums, done))
        return state, bool(np.all(done))

    def _validate(self, state: TrainState) -> Sums:
        total = None
        for index, weight in self.valid:
            rows = index if self.gather is None else self.gather(index)
            sums = self.evaluate(state.params, state.batch_stats, self.phase.rows, rows, weight)
            total = sums if total is None else add_sums(total, sums)
        assert total is not None
        return total

    def _validation_batches(self) -> list[tuple[Any, Any]]:
        """Row numbers and weights, each F x B; folds with fewer rows end in batches of weight 0."""
        size, executor = self.phase.valid_batch, self.phase.executor
        most = max(-(-len(r) // size) for r in self.phase.valid_rows)
        pairs = [evaluation_batches(r, size, most) for r in self.phase.valid_rows]
        index_FxExB, weight_FxExB = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
        batches = [(index_FxExB[:, e], weight_FxExB[:, e]) for e in range(index_FxExB.shape[1])]
        return batches if self.gather else executor.put(batches, by_fold=True)

    def _check(self, halted: Any, epoch: int, dispatch: int, state: TrainState) -> None:
        bad = [i for i, step in enumerate(np.asarray(halted)[: len(self.phase.folds)]) if step >= 0]
        if not bad:
            return
        i, phase = bad[0], self.phase
        step = int(np.asarray(halted)[i])
        # Skipped steps cannot precede a stop, so the step's place in the dispatch follows from its number.
        place = step - epoch * phase.steps[i] - dispatch * phase.executor.plan.steps
        batches_SxB = phase.source(i)[epoch * phase.dispatches + dispatch]
        ids = [str(phase.ids[r]) for r in batches_SxB[min(max(place, 0), len(batches_SxB) - 1)]]
        kept = phase.directory / "last_good"
        checkpoint.save_model(kept, jax.device_get(state.params), {"step": step}, phase.fingerprint)
        raise NonFiniteError(
            f"The loss or a gradient stopped being finite in fold {phase.folds[i]}, {phase.task.name}, step {step} (epoch "
            f"{epoch + 1}), on the rows {', '.join(ids)}; the parameters before that step are in {kept}. Look at these "
            "rows, and train in a new work folder: with a lower config.optim.learning_rate, with config.optim.clip_norm, or "
            "with config.train.on_nonfinite=skip."
        )

    def _save_if_due(self, state: TrainState, sums: Sums | None, epoch: int, dispatch: int) -> None:
        phase = self.phase
        late = time.monotonic() - self.saved_at >= phase.settings.train.checkpoint_seconds
        due, interrupted = processes.agree(late, self.stop())
        if (due or interrupted) and (epoch or dispatch):
            self._save(state, sums, epoch, dispatch)
            self.saved_at = time.monotonic()
        if interrupted:
            where = f"fold {_names(phase.folds)}, {phase.name}, epoch {epoch + 1}"
            if not (epoch or dispatch):
                raise Interrupted(f"Stopped by a signal before the first step of {where}; the same command goes on from there.")
            raise Interrupted(
                f"Stopped by a signal at {where}; saved in {phase.directory}; the same command goes on from there.", saved=True
            )

    def _save(self, state: TrainState, sums: Sums | None, epoch: int, dispatch: int) -> None:
        positions = [json.loads(loader.position()) for loader in self.loaders]
        host = {"epoch": epoch, "dispatch": dispatch, "loaders": positions, "plan": self.phase.executor.plan.to_dict()}
        tree = {"state": jax.device_get(state), "sums": jax.device_get(sums if sums is not None else self._zero_sums(state))}
        keep = self.phase.settings.train.keep_checkpoints
        checkpoint.save(
            self.phase.directory, epoch * self.phase.dispatches + dispatch, tree, host, self.phase.fingerprint, keep=keep
        )

    def _restore(self) -> tuple[TrainState, Sums | None, int, int]:
        phase = self.phase

        def like() -> Any:
            tree = {"state": phase.state, "sums": self._zero_sums(phase.state)}
            return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)

        found = checkpoint.restore(phase.directory, like, phase.fingerprint, self.say)
        steps = None if found is None else np.asarray(found[1]["state"].step)
        for i, fold in enumerate(phase.folds):
            self.log.truncate(
                fold, phase.name, 0 if steps is None else int(steps[i]), 0 if found is None else found[2]["epoch"]
            )
        if found is None:
            return phase.state, None, 0, 0
        _, tree, host = found
        for loader, position in zip(self.loaders, host["loaders"], strict=True):
            loader.seek(json.dumps(position))
        self.say(f"Going on with fold {_names(phase.folds)}, {phase.name}, epoch {host['epoch'] + 1} from a checkpoint.")
        state = phase.executor.put(tree["state"], by_fold=True)
        # An epoch's first dispatch starts the sums afresh, so a checkpoint between epochs carries none.
        sums = phase.executor.put(tree["sums"], by_fold=True) if host["dispatch"] else None
        return state, sums, host["epoch"], host["dispatch"]

    def _zero_sums(self, state: TrainState) -> Sums:
        index, weight = self.valid[0]
        if self.gather is not None:
            index = self.gather(index)
        shapes = jax.eval_shape(self.evaluate, state.params, state.batch_stats, self.phase.rows, index, weight)
        return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)

    def _title(self) -> str:
        return f"fold {_names(self.phase.folds)} {self.phase.name}"


def _means(sums: Sums, fold: int) -> dict[str, float]:
    names = [n for n in sums if not n.endswith("_count")]
    return {n: float(sums[n][fold] / max(float(sums[f"{n}_count"][fold]), 1e-12)) for n in names}


def _names(folds: tuple[int, ...]) -> str:
    return ",".join(map(str, folds))


def _epoch_line(phase: Phase, epoch: int, alive: np.ndarray, train: Sums, valid: Sums, done: np.ndarray) -> str:
    shown = []
    for i, fold in enumerate(phase.folds):
        if alive[i]:
            value = _means(valid, i)
            first = f"loss {_means(train, i).get('loss', sum(_means(train, i).values())):.4f}"
            parts = ", valid " + " ".join(f"{n} {v:.4f}" for n, v in value.items()) if value else ""
            shown.append(f"fold {fold}: train {first}{parts}{' (done)' if done[i] else ''}")
    return f"{phase.name} epoch {epoch + 1}: " + "; ".join(shown)
