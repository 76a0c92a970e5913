"""What trained modules say of rows: codes of a frozen autoencoder, logits and attention of a classifier."""

import functools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.data.arrays import Allocate, in_memory
from mmjax.data.loader import evaluation_batches, gather_rows
from mmjax.io import checkpoint
from mmjax.shapes import blank_constants, blank_rows
from mmjax.tasks.base import Task
from mmjax.train.execution.compile import SWEEP
from mmjax.train.fold_data import FoldRows
from mmjax.train.run import Run, evaluation_batch, task_names
from mmjax.train.step import Rows, predict

Module = tuple[Any, Any, dict[str, Any]]
"""Parameters, BatchNorm statistics and facts (`meta`) of a fold's finished module."""


def load_module(run: Run, fold: int, name: str, target: str = "") -> Module:
    """A fold's finished module from the work folder."""
    return load_variables(run.task(name), run.model_dir(fold, target or name), run.fingerprint)


def load_variables(task: Task, directory: Path, fingerprint: str) -> Module:
    """Restores a module of the task's shapes.

    Raises:
      CheckpointError: damaged, or of another config.
    """
    params, batch_stats = task.variables
    tree, meta = checkpoint.load_model(directory, {"params": params, "batch_stats": batch_stats}, fingerprint)
    return tree["params"], tree["batch_stats"], meta


def frozen_codes(run: Run, group: Sequence[FoldRows]) -> list[np.ndarray]:
    """h_mm of every row of the table by each fold's own autoencoder, N x Mk; empty unless codes are frozen inputs."""
    if not run.task("classifier").code_width:
        return []
    for fold in group:
        if fold.number not in run.codes:  # trained in a session before
            keep_codes(run, fold, load_module(run, fold.number, "autoencoder"))
    return [run.codes[fold.number] for fold in group]


def keep_codes(run: Run, fold: FoldRows, autoencoder: Module) -> None:
    """Computes a fold's codes, if codes are frozen inputs: the search, the refit and the held-out predictions read the same."""
    if not run.task("classifier").code_width:
        return
    run.codes[fold.number] = sweep_fold(run, "autoencoder", fold, autoencoder, np.arange(len(run.fold_N)))["h_mm"]


def sweep_fold(
    run: Run, name: str, fold: FoldRows, module: Module, rows: np.ndarray, codes: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """`sweep` by the program that was compiled ahead for the task's modules, into what the run allocates."""
    run.ahead.wait((name, SWEEP), run.stop)
    return sweep(sweep_batch(run, name), run.task(name), fold, module[0], module[1], rows, codes, run.allocate)


def sweep_batch(run: Run, name: str) -> int:
    """Rows of a batch of `sweep` for a task of the run; 0 if nothing is asked of its modules."""
    if name == task_names(run.settings)[-1]:
        return evaluation_batch(run.settings, name, run.most_test)
    frozen = run.task("classifier").code_width > 0
    return evaluation_batch(run.settings, name, len(run.fold_N)) if frozen else 0


def sweep(
    batch_size: int,
    task: Task,
    fold: FoldRows,
    params: Any,
    batch_stats: Any,
    rows: np.ndarray,
    codes: np.ndarray | None = None,
    allocate: Allocate = in_memory,
) -> dict[str, np.ndarray]:
    """`Task.outputs` of the given rows, each once and in order, in what `allocate` makes; batches are gathered on the host."""
    index_ExB, _ = evaluation_batches(rows, batch_size)
    gather = gather_rows(fold.arrays | ({} if codes is None else {"codes": codes}))
    constant = Rows(shared={}, fold={}, constant=fold.constant)
    compiled = _predictor(task)
    out: dict[str, np.ndarray] = {}
    for start, index_B in zip(range(0, index_ExB.size, batch_size), index_ExB, strict=True):
        for name, value in compiled(params, batch_stats, constant, gather(index_B)).items():
            if name not in out:
                out[name] = allocate((index_ExB.size, *value.shape[1:]), value.dtype)
            out[name][start : start + batch_size] = value
    return {name: values[: len(rows)] for name, values in out.items()}


def lower_sweep(task: Task, batch_size: int) -> list[jax.stages.Lowered]:
    """Traces what `sweep` calls, for its batches."""
    constant = Rows(shared={}, fold={}, constant=blank_constants(task.spec))
    return [_predictor(task).lower(*task.variables, constant, blank_rows(task.spec, batch_size, task.code_width))]


@functools.cache
def _predictor(task: Task) -> Callable:
    """One compiled program a task, however many folds use it."""
    return jax.jit(partial(predict, task))
