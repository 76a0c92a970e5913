"""Which folds are finished: all that a fold leaves is there. What was deleted is made anew by the same command."""

from collections.abc import Sequence
from contextlib import suppress

from mmjax.datasets.encoders import FoldEncoders
from mmjax.io import checkpoint
from mmjax.io.manifest import MANIFEST
from mmjax.io.processes import barrier, is_primary
from mmjax.io.results import DONE, PREDICTIONS
from mmjax.train.run import Run, task_names


def is_finished(run: Run, number: int) -> bool:
    """Whether a fold has its encoders, models, predictions and done.json.

    The models' checksums are compared: every photo was just read for its own, and models are small beside photos.

    Raises:
      CheckpointError: encoders or a model are there but damaged; says what to delete.
    """
    folder = run.workdir.path / f"fold_{number}"
    models = [run.model_dir(number, name) for name in task_names(run.settings)]
    # A list, so that several processes meet at every model's barrier.
    if not all([checkpoint.has_model(m) for m in models]):  # noqa: C419
        return False
    if not all((folder / name).exists() for name in ("encoders.json", PREDICTIONS, DONE)):
        return False
    FoldEncoders.load(folder / "encoders.json")
    for model in models:
        checkpoint.check_model(model)
    return True


def begin_again(run: Run, numbers: Sequence[int]) -> None:
    """Takes away what unfinished folds must not keep: the mark of a finished fold, and models made from one that is gone."""
    for number in numbers if is_primary() else ():
        folder = run.workdir.path / f"fold_{number}"
        done, (first, *later) = folder / DONE, task_names(run.settings)
        if done.exists():
            run.say(f"{folder} is not whole any more: what is missing is made again.")
            with suppress(FileNotFoundError):
                done.unlink()
        if later and not (run.model_dir(number, first) / MANIFEST).exists():
            for name in ("search", *later):
                checkpoint.remove(run.model_dir(number, name))
    barrier("what unfinished folds must not keep is gone")
