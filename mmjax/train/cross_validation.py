"""All folds: data -> folds -> encoders -> autoencoder -> classifier -> held-out predictions -> summary.

Everything is done only where the work folder does not hold it yet, so the same command goes on after a kill.
"""

from functools import partial
from pathlib import Path
from typing import Any

from mmjax.config import Settings
from mmjax.io import processes
from mmjax.io.results import summarise_run, write_fold
from mmjax.io.signals import stop_requests
from mmjax.io.workdir import Workdir
from mmjax.train.execution.programs import compile_ahead
from mmjax.train.finished import begin_again, is_finished
from mmjax.train.fold_data import FoldRows
from mmjax.train.fold_training import train_task
from mmjax.train.outputs import Module, frozen_codes, keep_codes, load_module, sweep_fold
from mmjax.train.run import Run, Say, encode_folds, fit_folds, open_run, record, task_names


def crossval(settings: Settings, path: str | Path, say: Say = print) -> dict[str, Any]:
    """Cross-validates a config in a work folder and returns its summary (also written to summary.json).

    Args:
      settings: the run's settings.
      path: work folder; an existing one goes on where it stands.
      say: prints a line.

    Raises:
      MmjaxError: bad data, config, work folder or checkpoint; see mmjax/errors.py.
    """
    workdir = Workdir(path)
    with processes.primary_only(workdir.lock()), stop_requests(workdir.path) as stop:
        run = open_run(settings, workdir, say, stop)
        tasks = task_names(settings)
        chosen = settings.cv.only or tuple(range(settings.cv.folds))
        left = [f for f in chosen if not is_finished(run, f)]
        processes.barrier("the folds left are counted")
        if left:
            fit_folds(run, left)
        record(run)
        if left:
            begin_again(run, left)
            try:
                compile_ahead(run)
                encode_folds(run)
                run.log.load_writers()  # while the first programs compile
                for name in tasks[:-1]:
                    train_task(run, name, partial(keep_codes, run))
                unfinished = {fold.number: fold for fold in run.folds}

                def finish(fold: FoldRows, module: Module) -> None:
                    _finish_fold(run, tasks[-1], fold, module)
                    del unfinished[fold.number]

                train_task(run, tasks[-1], finish)
            finally:
                run.ahead.stop()
            for fold in list(unfinished.values()):  # trained in a session before, which ended there
                finish(fold, load_module(run, fold.number, tasks[-1]))
        run.log.sort()  # here, since a kill may have come between the end of the training and any earlier place
        if len(left) < len(chosen):
            say(f"Folds finished before and not trained again: {', '.join(str(f) for f in chosen if f not in left)}.")
        if processes.is_primary():
            run.dataset.report.write(workdir.path / "data_report.json")
        processes.barrier("every fold is written")
        return summarise_run(settings, workdir.path, run.dataset)


def _finish_fold(run: Run, name: str, fold: FoldRows, module: Module) -> None:
    """Predicts the held-out fold and writes it; done.json is written last."""
    codes = frozen_codes(run, [fold]) if name == "classifier" else []
    out = sweep_fold(run, name, fold, module, fold.test_rows, codes[0] if codes else None)
    write_fold(run.workdir.path, run.task(name), run.dataset, fold, out, module[2])
