"""What a run does, in order: data, folds, encoders, each task's training, held-out predictions, summary.

Everything is done only where the workdir does not hold it yet, so the same command goes on after a kill.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from mmjax.config import Settings
from mmjax.datasets.dataset import leave_out_lacking
from mmjax.datasets.encoders import FoldEncoders
from mmjax.datasets.locations import find_files
from mmjax.inference import predict_in_batches
from mmjax.io import checkpoint, processes
from mmjax.io.atomic import write_json
from mmjax.io.environment import short_versions
from mmjax.io.held_out_log import write_held_out
from mmjax.io.manifest import MANIFEST
from mmjax.io.progress import RunLog, silent
from mmjax.io.results import (
    DONE,
    PREDICTIONS,
    RUN,
    SUMMARY,
    join_predictions,
    read_finished,
    read_fold_columns,
    write_fold,
    write_run,
)
from mmjax.io.signals import stop_requests
from mmjax.io.workdir import Workdir
from mmjax.tasks import metrics
from mmjax.tasks.base import phases, task_class
from mmjax.train.blend import BLEND, Blend, blends, check_blend, lightgbm
from mmjax.train.execution.compile import PREDICT
from mmjax.train.fold_data import FoldData, FoldParameters
from mmjax.train.fold_training import SEARCH, compile_ahead, train_phase
from mmjax.train.run import Run, encode_folds, fit_folds, open_run, record


def cross_validate(settings: Settings, workdir: str | Path, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Cross-validates a config in a workdir, as often as `config.cv.repeats` says, and returns the first one's summary.

    It is also written to summary.json. With repeats it has `repeats`: the mean of each metric by repeat (`means`), these means'
    own `mean` and `std`, and what each repeat has by fold (`by_fold`, a list): one seed is an anecdote.

    Args:
      settings: the run's settings.
      workdir: a folder; an existing one goes on where it stands.
      log: shows a line; a `RunLog` says whether details are shown.

    Raises:
      MmjaxError: bad data, config, workdir or checkpoint; see mmjax/errors.py.
    """
    first, *more = repeat_folders(workdir, settings.cv.repeats)
    log = RunLog.of(log)
    summary = _cross_validate(settings, Workdir(first), log)
    summaries = [summary]
    for repeat, folder in enumerate(more, 1):
        cv = replace(settings.cv, seed=settings.cv.seed + repeat, repeats=1)
        other = replace(settings, cv=cv, train=replace(settings.train, seed=settings.train.seed + repeat))
        # Its data, folds and phases are what the first said; it says how it ended.
        summaries.append(_cross_validate(other, Workdir(folder), log if log.verbose else RunLog(silent)))
        name = next(iter(summaries[-1]["mean"]))
        log(f"repeat {repeat + 1} of {len(more) + 1}: {metrics.title(name)} {metrics.show(name, summaries[-1]['mean'][name])}")
    if more:
        means = [done["mean"] for done in summaries]
        summary["repeats"] = {"means": means, **metrics.summarise(means), "by_fold": [done["by_fold"] for done in summaries]}
        if processes.is_primary():
            write_json(first / SUMMARY, summary)
    return summary


def repeat_folders(workdir: str | Path, repeats: int) -> list[Path]:
    """Where each repeat of a run lies: WORKDIR itself, then WORKDIR/repeat_1 and so on."""
    return [Path(workdir), *(Path(workdir) / f"repeat_{repeat}" for repeat in range(1, repeats))]


def _cross_validate(settings: Settings, folder: Workdir, log: RunLog) -> dict[str, Any]:
    if settings.model.lacking == "leave_out":
        settings = leave_out_lacking(settings, find_files(settings.data).schema, log)
    if blends(settings):
        lightgbm()  # not told after an hour's training
    start = time.monotonic()
    with processes.primary_only(folder.lock()), stop_requests(folder.path) as stop:
        run = open_run(settings, folder, log, stop)
        chosen = settings.cv.only or tuple(range(settings.cv.folds))
        left = [f for f in chosen if not _is_finished(run, f)]
        processes.barrier("the folds left are counted")
        if left:
            fit_folds(run, left)
            check_blend(settings, run.task(phases(settings)[-1]).spec, run.folds)
        record(run)
        if left:
            _discard_remains(run, left)
            _train(run)
        run.metrics.sort()  # here, since a kill may have come between the end of the training and any earlier place
        if len(left) < len(chosen):
            log(f"Folds finished before and not trained again: {', '.join(str(f) for f in chosen if f not in left)}.")
        if processes.is_primary():
            run.dataset.report.write(folder.path / "data_report.json")
        processes.barrier("every fold is written")
        summary = _summarise(run)
        if left or not (folder.path / RUN).exists():
            write_run(folder.path, time.monotonic() - start, short_versions())
        return summary


def _train(run: Run) -> None:
    """Every task of the folds left; each fold's parameters are used as soon as they are trained, or found."""
    try:
        compile_ahead(run)
        encode_folds(run)
        run.metrics.load_writers()  # while the first programs compile
        for name in phases(run.settings):
            trained = train_phase(run, name, partial(_after_training, run, name))
            for fold in run.folds:
                if fold.number not in trained and run.predict_batch(name):  # trained in a session before, which ended there
                    _after_training(run, name, fold, run.load(fold.number, name))
    finally:
        run.ahead.stop()


def _after_training(run: Run, name: str, fold: FoldData, parameters: FoldParameters) -> None:
    """Computes the codes that the next task reads, or after the last predicts the held-out rows and writes the fold."""
    if name != phases(run.settings)[-1]:
        if run.predict_batch(name):
            fold.codes = _predict(run, name, fold, parameters, np.arange(len(run.fold_N)))["h_mm"]
        return
    task, rows = run.task(name), fold.parts.test
    out, facts = _predict(run, name, fold, parameters, rows), parameters.facts
    if blends(run.settings):
        blend = _blend(run, name, fold, parameters)
        out, facts = blend.apply(task, fold, rows, out), facts | {BLEND: blend.facts}
    label_N = run.dataset.label[rows]
    columns = {"id": run.dataset.table.ids[rows], "fold": fold.number, **task.prediction_columns(label_N, out)}
    done = {"fold": fold.number, "rows": len(rows), **facts, "metrics": task.metrics(label_N, out)}
    write_fold(run.workdir.path, fold.number, columns, done)


def _predict(run: Run, name: str, fold: FoldData, parameters: FoldParameters, rows: np.ndarray) -> dict[str, np.ndarray]:
    run.ahead.wait((name, PREDICT), run.stop)
    batch = run.predict_batch(name)
    return predict_in_batches(run.task(name), fold, parameters, rows, batch_size=batch, allocate=run.allocate)


def _blend(run: Run, name: str, fold: FoldData, parameters: FoldParameters) -> Blend:
    """The fold's boosted trees and their weight, made where the workdir does not hold them yet; always as they were saved."""
    directory = run.model_dir(fold.number, BLEND)
    if not checkpoint.has_model(directory):
        task = run.task(name)
        network_vxK = task.probabilities(_predict(run, name, fold, parameters, fold.parts.valid))
        if processes.is_primary():
            alone = jax.process_count() == 1  # else the others wait for what is saved, whatever this one was asked
            stop = run.stop if alone else lambda: False
            Blend.fit(task, fold, network_vxK, stop=stop).save(directory, run.fingerprint)
        processes.barrier(f"{directory} written")
    return Blend.load(directory, run.fingerprint)


def _is_finished(run: Run, number: int) -> bool:
    """Whether a fold has its encoders, models, trees if it is blended, predictions and done.json; what is gone is made anew.

    The models' checksums are compared: every photo was just read for its own, and models are small beside photos.

    Raises:
      CheckpointError: encoders or a model are there but damaged; says what to delete.
    """
    folder = run.workdir.path / f"fold_{number}"
    models = [run.model_dir(number, name) for name in (*phases(run.settings), *([BLEND] if blends(run.settings) else []))]
    # A list, so that several processes meet at every model's barrier.
    if not all([checkpoint.has_model(m) for m in models]):  # noqa: C419
        return False
    if not all((folder / name).exists() for name in ("encoders.json", PREDICTIONS, DONE)):
        return False
    FoldEncoders.load(folder / "encoders.json")
    for model in models:
        checkpoint.check_model(model)
    return True


def _discard_remains(run: Run, numbers: Sequence[int]) -> None:
    """Takes away what unfinished folds must not keep: the mark of a finished fold, and models made from one that is gone."""
    names = phases(run.settings)
    first, *later = names
    for number in numbers if processes.is_primary() else ():
        folder = run.workdir.path / f"fold_{number}"
        if (folder / DONE).exists():
            run.log(f"{folder} is not whole any more: what is missing is made again.")
            with suppress(FileNotFoundError):
                (folder / DONE).unlink()
        if later and not (run.model_dir(number, first) / MANIFEST).exists():
            for name in (SEARCH, *later):
                checkpoint.remove(run.model_dir(number, name))
        if blends(run.settings) and not (run.model_dir(number, names[-1]) / MANIFEST).exists():
            checkpoint.remove(run.model_dir(number, BLEND))
    processes.barrier("what unfinished folds must not keep is gone")


def _summarise(run: Run) -> dict[str, Any]:
    """Joins the finished folds into predictions.csv (in the table's order) and summary.json, and returns the summary."""
    settings, folder, dataset, model = run.settings, run.workdir.path, run.dataset, run.settings.model
    finished = read_finished(folder, settings.cv.folds)
    rows, task = zip(run.fold_N.tolist(), dataset.table.ids.tolist(), strict=True), task_class(phases(settings)[-1])
    join_predictions(folder, [(f, name) for f, name in rows if f in finished])
    # Of the folds' own files, since another process may not have written the joined one yet.
    columns = read_fold_columns(folder, list(finished), task.detail_columns) if task.detail_columns else pd.DataFrame()
    summary = {
        "title": task_class(settings.task).title(settings),
        "dataset": dataset.name,
        "task": settings.task,
        "modalities": list(model.modalities),
        "fusion": model.fusion,
        "autoencoder": model.autoencoder.kind,
        "folds_finished": len(finished),
        "folds": settings.cv.folds,
        "rows": int(sum(done["rows"] for done in finished.values())),
        "by_fold": {str(f): {k: v for k, v in done.items() if k != "fold"} for f, done in finished.items()},
        **metrics.summarise([done["metrics"] for done in finished.values()]),
        **task.summary(dataset, run.fold_N, list(finished)),
        **task.details(columns, dataset.classes),
    }
    if processes.is_primary():
        write_json(folder / SUMMARY, summary)
        write_held_out(folder, settings.record(), summary)
    return summary
