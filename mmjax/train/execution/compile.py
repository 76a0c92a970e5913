"""Ahead-of-time compilation: a run's programs are traced and compiled in two threads before their rows are there.

One thread traces, which is Python; the other compiles what was traced, which is XLA and needs no lock of Python's. They also
leave the main thread free to answer a signal, which a compilation would keep waiting.

`jit(f).lower(shapes).compile()` leaves the program where a later call of `jit(f)` with such arguments finds it, so nothing else
changes; a wrong guess of a shape costs time alone (tests/test_compile.py counts compilations).
"""

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.stages import Lowered

from mmjax.errors import Interrupted
from mmjax.modalities.shapes import blank_constants, blank_rows, placed, shared_arrays
from mmjax.tasks.base import Task
from mmjax.train import state
from mmjax.train.execution.concurrent_folds import THREADS
from mmjax.train.execution.parallel import Executor, Programs
from mmjax.train.fold_data import initialiser
from mmjax.train.state import TrainState
from mmjax.train.step import FoldArrays, add_sums, predictor

PLAN, STEPS, EPOCH, PREDICT = "plan", "steps", "epoch", "predict"
"""Keys of a run's jobs, each with the name of its task."""

_WAITED_FOR = {
    PLAN: "the run was planned",
    STEPS: "training steps were compiled",
    EPOCH: "the end of an epoch was compiled",
    PREDICT: "what trained models predict with was compiled",
}

Job = Callable[[], Iterable[Lowered] | None]
"""Traces programs that are to be compiled; None: it has none, and is done when it returns."""


@dataclass
class AheadOfTime:
    """Jobs, done in order."""

    _done: dict[Hashable, threading.Event] = field(default_factory=dict)
    # Short, so that tracing a later phase does not take a core from compiling the one that is waited for.
    _traced: queue.Queue[tuple[Hashable, Lowered | None]] = field(default_factory=lambda: queue.Queue(maxsize=2))
    _stopped: bool = False

    def start(self, jobs: dict[Hashable, Job]) -> None:
        """Starts the threads; called once."""
        self._done = {key: threading.Event() for key in jobs}
        for name, work, argument in (("trace", self._trace, jobs), ("compile", self._compile, len(jobs))):
            threading.Thread(target=work, args=(argument,), daemon=True, name=THREADS + name).start()

    def wait(self, key: tuple[str, str], stop: Callable[[], bool] = lambda: False) -> None:
        """Returns once that job is done; at once where there is none.

        Raises:
          Interrupted: `stop` became true meanwhile.
        """
        done = self._done.get(key)
        while done is not None and not done.wait(0.1):
            if stop():
                task, part = key
                raise Interrupted(
                    f"Stopped by a signal while {_WAITED_FOR.get(part, part)} ({task}); the same command goes on from the last "
                    "checkpoints and finished models in the workdir."
                )

    def stop(self) -> None:
        """Begins no further job."""
        self._stopped = True

    def _trace(self, jobs: dict[Hashable, Job]) -> None:
        for key, job in jobs.items():
            try:
                if not self._stopped:
                    programs = job()
                    if programs is None:  # nobody has to wait for what is compiled before
                        self._done[key].set()
                    for program in programs or ():
                        self._traced.put((key, program))
            except Exception as error:
                _log_failure(error)
            self._traced.put((key, None))

    def _compile(self, jobs: int) -> None:
        while jobs:
            key, program = self._traced.get()
            if program is None:
                self._done[key].set()
                jobs -= 1
            elif not self._stopped:
                try:
                    program.compile()
                except Exception as error:
                    _log_failure(error)


def _log_failure(error: Exception) -> None:
    """A job that fails is left to its phase, which raises where it can be acted on."""
    logging.getLogger(__name__).info("left to its phase: %s", error)


def leave(code: int) -> int:
    """The exit code; ends the process here and now where XLA is at work, since it can be neither stopped nor torn down."""
    if any(thread.name.startswith(THREADS) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


@dataclass(frozen=True)
class ProgramShapes:
    """Shapes of what `Trainer` passes to a task's programs, and the programs lowered for them.

    Attributes:
      task: what is trained.
      executor: of a plan in one process.
      rows: N, rows of the table.
      batch: B.
      valid_batch: rows of a validation batch.
    """

    task: Task
    executor: Executor
    rows: int
    batch: int
    valid_batch: int

    @property
    def programs(self) -> Programs:
        """The task's own."""
        return self.executor.programs(self.task)

    @property
    def state(self) -> TrainState:
        """Of all folds of a group."""
        averaged = self.task.settings.optim.average > 0
        return self._by_fold(state.shapes(*self.task.variables, self.programs.optimizer, averaged=averaged))

    @property
    def arrays(self) -> FoldArrays:
        """What lies on the device."""
        task = self.task
        rows = blank_rows(task.spec, self.rows, task.code_width) if self.executor.plan.on_device else {}
        return FoldArrays(
            shared=self._placed({k: v for k, v in rows.items() if k in shared_arrays(task.spec)}, by_fold=False),
            fold=self._by_fold({k: v for k, v in rows.items() if k not in shared_arrays(task.spec)}),
            constant=self._by_fold(blank_constants(task.spec)),
        )

    def lower_steps(self) -> Iterator[Lowered]:
        """Initial values and the steps."""
        yield initialiser(self.task).lower(jax.ShapeDtypeStruct((2,), np.uint32))
        each = (self.executor.width, self.executor.plan.steps, self.batch)
        index = jax.ShapeDtypeStruct(each, np.int32) if self.executor.plan.on_device else self._gathered(*each)
        yield self.programs.train.lower(self.state, self.arrays, index, jax.ShapeDtypeStruct(each[:2], bool))

    def lower_epoch(self) -> Iterator[Lowered]:
        """Validation and early stopping."""
        own, size = self.state, self.valid_batch
        if self.executor.plan.on_device:
            index, weight = (self._by_fold(jax.ShapeDtypeStruct((size,), d)) for d in (np.int32, np.float32))
        else:
            each = (self.executor.width, size)
            index, weight = self._gathered(*each), jax.ShapeDtypeStruct(each, np.float32)
        evaluate = self.programs.evaluate.lower(own.evaluated, own.batch_stats, self.arrays, index, weight)
        yield evaluate
        sums = self._placed(evaluate.out_info, by_fold=True)
        yield add_sums.lower(sums, sums)
        yield self.programs.end_epoch.lower(own, sums)

    def _placed(self, tree: Any, *, by_fold: bool) -> Any:
        return placed(tree, self.executor.sharding(by_fold=by_fold))

    def _by_fold(self, tree: Any) -> Any:
        """Stacked, with a leading fold axis."""
        width = self.executor.width
        return self._placed(jax.tree.map(lambda x: jax.ShapeDtypeStruct((width, *x.shape), x.dtype), tree), by_fold=True)

    def _gathered(self, *leading: int) -> dict[str, Any]:
        """Batches of rows that live on the host."""
        one = blank_rows(self.task.spec, 1, self.task.code_width)
        return {k: jax.ShapeDtypeStruct((*leading, *v.shape[1:]), v.dtype) for k, v in one.items()}


def lower_predict(task: Task, batch_size: int) -> list[Lowered]:
    """What `inference.predict_in_batches` calls, for its batches."""
    constant = FoldArrays(shared={}, fold={}, constant=blank_constants(task.spec))
    return [predictor(task).lower(*task.kept, constant, blank_rows(task.spec, batch_size, task.code_width))]
