"""Everything that predicts: one fold's model in batches, and the finished folds of a workdir as one model.

An ensemble's probabilities and attention are means over the folds. Nothing is fitted here: category lists, vocabularies, codes
and parameters are those each fold saved. A fold that is not finished is left out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int

from mmjax.config import Settings
from mmjax.data.arrays import Allocate, in_memory
from mmjax.data.loader import evaluation_batches, gather_rows
from mmjax.datasets.dataset import Dataset
from mmjax.datasets.encoders import FoldEncoders
from mmjax.errors import CheckpointError, ConfigError, MmjaxError, WorkdirError
from mmjax.io.checkpoint import config_fingerprint
from mmjax.io.results import read_finished
from mmjax.io.workdir import SCHEMA, read_config, read_json
from mmjax.modalities.base import InputSpec
from mmjax.schema import Schema
from mmjax.tasks.base import Task, make_task, phases
from mmjax.train.blend import BLEND, Blend, blends
from mmjax.train.fold_data import FoldData, FoldParameters, evaluation_batch, fold_constants
from mmjax.train.fold_rows import FoldRows
from mmjax.train.step import FoldArrays, predictor

BLOCK = 65536
"""Rows encoded at once: what bounds memory, however long the table."""
KEEP_BYTES = 1 << 30
"""Modules of all folds stay in memory up to this size; larger ones are restored again for each fold's turn."""

Advance = Callable[[int], None]


def predict_in_batches(
    task: Task,
    fold: FoldData,
    parameters: FoldParameters,
    rows: np.ndarray,
    *,
    batch_size: int,
    allocate: Allocate = in_memory,
) -> dict[str, np.ndarray]:
    """`Task.outputs` of the given rows, each once and in order, in what `allocate` makes; batches are gathered on the host."""
    index_ExB, _ = evaluation_batches(rows, batch_size)
    gather = gather_rows(fold.rows(task))
    constant = FoldArrays(shared={}, fold={}, constant=fold.constant)
    predict = predictor(task)
    out: dict[str, np.ndarray] = {}
    for start, index_B in zip(range(0, index_ExB.size, batch_size), index_ExB, strict=True):
        for name, value in predict(parameters.params, parameters.batch_stats, constant, gather(index_B)).items():
            if name not in out:
                out[name] = allocate((index_ExB.size, *value.shape[1:]), value.dtype)
            out[name][start : start + batch_size] = value
    return {name: values[: len(rows)] for name, values in out.items()}


@dataclass(frozen=True)
class Predictions:
    """What the folds say about N rows.

    Attributes:
      probabilities: float64 N x K, mean over the folds; columns in the order of `InputSpec.classes`.
      attention: float64 N x M, mean over the folds; columns in the order of `InputSpec.modalities`.
      by_fold: float32 F x N x K, each fold's own.
    """

    probabilities: Float[np.ndarray, "N K"]
    attention: Float[np.ndarray, "N M"]
    by_fold: Float[np.ndarray, "F N K"]


@dataclass
class Member:
    """One finished fold.

    Attributes:
      number: fold number.
      encoders: as saved with the fold.
      restore: reads the parameters of each of its tasks, by name.
      kept: these, where they are small enough to stay in memory.
      blend: what its network is blended with, if anything.
    """

    number: int
    encoders: FoldEncoders
    restore: Callable[[], dict[str, FoldParameters]]
    kept: dict[str, FoldParameters] | None = None
    blend: Blend | None = None

    @property
    def parameters(self) -> dict[str, FoldParameters]:
        """Parameters and BatchNorm statistics of each of the fold's tasks.

        Raises:
          CheckpointError: damaged, or of another config.
        """
        return self.restore() if self.kept is None else self.kept


@dataclass
class Ensemble:
    """All finished folds.

    Attributes:
      settings: as recorded in the workdir.
      schema: as recorded in the workdir.
      spec: the sizes every fold was padded to.
      members: the finished folds, in order.
    """

    settings: Settings
    schema: Schema
    spec: InputSpec
    members: list[Member]
    tasks: dict[str, Task] = field(default_factory=dict)

    @property
    def reading(self) -> int:
        """How tables are read (`data/cells.py`): as training read its own."""
        return self.members[0].encoders.reading

    @classmethod
    def load(cls, workdir: str | Path) -> "Ensemble":
        """Restores settings, schema, encoders and parameters of every finished fold.

        Raises:
          WorkdirError: not a workdir, or no fold is finished.
          CheckpointError: a file is damaged, or parameters belong to another config.
          ConfigError: the folds are blended with LightGBM, which is not installed.
        """
        path = Path(workdir)
        settings = load_settings(path)
        schema = Schema.load(path / SCHEMA)
        done = read_finished(path, settings.cv.folds)
        if not done:
            raise WorkdirError(f"{path}: no fold is finished; run the same training command until one is.")
        ensemble = cls(settings, schema, _load_spec(path), [])
        fingerprint = config_fingerprint(settings.record() | {"schema": schema.dumps()})
        room = KEEP_BYTES
        for number in done:
            folder = path / f"fold_{number}"
            encoders = FoldEncoders.load(folder / "encoders.json")
            member = Member(number, encoders, lambda folder=folder: ensemble._restore(folder, fingerprint))
            parameters = member.restore()  # refuses a folder that does not fit before anything is predicted
            if blends(settings):
                member.blend = Blend.load(folder / BLEND, fingerprint)
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(parameters))
            if size <= room:
                member.kept, room = parameters, room - size
            ensemble.members.append(member)
        return ensemble

    def predict(self, dataset: Dataset, advance: Advance | None = None) -> Predictions:
        """Every row of `dataset`, whatever it lacks.

        Args:
          dataset: read with this ensemble's schema; see `open_rows`.
          advance: told how many rows one more fold has finished; N F in all.

        Raises:
          WorkdirError: the workdir's task predicts no classes.
        """
        task = self._task(phases(self.settings)[-1])
        if not task.predicts_classes:
            raise WorkdirError(f"this workdir trained the task {task.name} (Table 2) alone: it has no classes to predict.")
        count = len(dataset)
        by_fold = np.zeros((len(self.members), count, len(self.spec.classes)), np.float32)
        attention = np.zeros((count, len(self.spec.modalities)))
        mean = np.zeros(by_fold.shape[1:])
        for f, member in enumerate(self.members):
            parameters = jax.device_put(member.parameters)
            for start, block in _blocks(dataset):
                rows = np.arange(len(block))
                out = self.outputs(member, parameters, member.encoders.encode(block), rows, self._batch(task, len(rows)))
                stop = start + len(rows)
                p_BxK = task.probabilities(out)
                by_fold[f, start:stop], mean[start:stop] = p_BxK, mean[start:stop] + p_BxK / len(self.members)
                attention[start:stop] += out["attention"].astype(np.float64) / len(self.members)
                if advance is not None:
                    advance(len(rows))
        return Predictions(mean, attention, by_fold)

    def codes(self, dataset: Dataset) -> dict[int, Float[np.ndarray, "N D"]]:
        """h_mm of every row by each fold's own autoencoder; the folds' codes have nothing to do with each other.

        Raises:
          ConfigError: the config trains no task whose codes the last one reads.
        """
        before = self.chain[:-1]
        if not before:
            raise ConfigError("there are no codes: the config trains no autoencoder of its own; train mmae_attention, for one.")
        task, found = before[-1], {}
        for member in self.members:
            parameters, parts = jax.device_put(member.parameters[task.name]), []
            for _, block in _blocks(dataset):
                fold = self._fold(task, member, member.encoders.encode(block), np.arange(len(block)))
                parts.append(self._codes(task, fold, parameters, len(block)))
            found[member.number] = np.concatenate(parts)
        return found

    def held_out(self, dataset: Dataset, fold_N: np.ndarray) -> dict[int, dict[str, float]]:
        """Each finished fold's metrics on its own held-out rows, computed as training computed them.

        Args:
          dataset: the one that was trained on, opened again.
          fold_N: fold of each row, -1 for rows in none.
        """
        task = self._task(phases(self.settings)[-1])
        size, found = evaluation_batch(task, max(np.bincount(fold_N[fold_N >= 0]))), {}
        for member in self.members:
            test = np.flatnonzero(fold_N == member.number)
            out = self.outputs(member, jax.device_put(member.parameters), member.encoders.encode(dataset), test, size)
            found[member.number] = task.metrics(dataset.label[test], out)
        return found

    def outputs(
        self,
        member: Member,
        parameters: dict[str, FoldParameters],
        arrays: dict[str, np.ndarray],
        rows: Int[np.ndarray, " n"],
        size: int,
    ) -> dict[str, np.ndarray]:
        """The last task's outputs of some rows by one fold, blended where it is; before, the codes that it reads, if any.

        Args:
          member: the fold.
          parameters: its own, on the device.
          arrays: every row, as its encoders or an explanation made them.
          rows: which of them.
          size: rows a batch.
        """
        *before, last = self.chain
        fold = self._fold(last, member, arrays, rows)
        if last.code_width:
            coder = before[-1]
            fold.codes = self._codes(coder, fold, parameters[coder.name], len(arrays["label"]))
        out = predict_in_batches(last, fold, parameters[last.name], rows, batch_size=size)
        return out if member.blend is None else member.blend.apply(last, fold, rows, out)

    def blended(self, member: Member, arrays: dict[str, np.ndarray], out: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The network's outputs of all rows of `arrays` as the fold predicts, which is with its trees where it has any."""
        if member.blend is None:
            return out
        task, rows = self.chain[-1], np.arange(len(arrays["label"]))
        return member.blend.apply(task, self._fold(task, member, arrays, rows), rows, out)

    def _codes(self, task: Task, fold: FoldData, parameters: FoldParameters, count: int) -> np.ndarray:
        """h_mm of all `count` rows of `fold`."""
        return predict_in_batches(task, fold, parameters, np.arange(count), batch_size=self._batch(task, count))["h_mm"]

    def constants(self, member: Member, label_N: Int[np.ndarray, " N"]) -> dict[str, np.ndarray]:
        """Arrays of the last task's batches that have no row axis."""
        return fold_constants(self.chain[-1], member.encoders, label_N, np.zeros(0, np.int64))

    def _fold(self, task: Task, member: Member, arrays: dict[str, np.ndarray], rows: np.ndarray) -> FoldData:
        nothing = np.zeros(0, np.int64)
        constant = fold_constants(task, member.encoders, arrays["label"], nothing)
        return FoldData(member.number, member.encoders, arrays, FoldRows(nothing, nothing, rows), constant)

    @property
    def chain(self) -> list[Task]:
        """The tasks that were trained, in order; the last one predicts."""
        return [self._task(name) for name in phases(self.settings)]

    def _batch(self, task: Task, rows: int) -> int:
        """Rows of a batch: no larger than `rows` need; powers of two compile seldom."""
        return min(evaluation_batch(task, BLOCK), 1 << (max(1, rows) - 1).bit_length())

    def _task(self, name: str) -> Task:
        return self.tasks.setdefault(name, make_task(name, self.settings, self.spec))

    def _restore(self, folder: Path, fingerprint: str) -> dict[str, FoldParameters]:
        found = {n: FoldParameters.load(self._task(n), folder / n, fingerprint) for n in phases(self.settings)}
        return {name: parameters._replace(facts={}) for name, parameters in found.items()}  # arrays alone


def load_settings(workdir: Path) -> Settings:
    """The settings a workdir was made with.

    Raises:
      WorkdirError: there is no readable config.json, or another version of mmjax wrote it.
    """
    config = read_config(workdir)
    try:
        if config is None:
            raise WorkdirError("there is none")
        return Settings.from_dict(config)
    except (ValueError, TypeError, MmjaxError) as error:
        raise WorkdirError(f"{workdir}: is not a workdir with a readable config.json ({error}); check --workdir.") from error


def _load_spec(workdir: Path) -> InputSpec:
    try:
        values = read_json(workdir / "spec.json", dict, "train again in a new folder")
        values |= {name: tuple(map(str, values[name])) for name in ("modalities", "classes")}
        return InputSpec(**values)
    except WorkdirError as error:
        raise CheckpointError(str(error)) from error
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{workdir / 'spec.json'}: cannot be read ({error}); train again in a new folder.") from error


def _blocks(dataset: Dataset) -> Iterator[tuple[int, Dataset]]:
    """Consecutive slices of at most BLOCK rows; views, so a memory-mapped table stays on the disk."""
    for start in range(0, len(dataset), BLOCK):
        yield start, dataset.part(slice(start, start + BLOCK))
