"""The finished folds of a work folder as one model: probabilities and attention are means over the folds.

Nothing is fitted here: category lists, vocabularies, codes and parameters are those each fold saved. A fold that is not
finished is left out.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from mmjax.batch import InputSpec
from mmjax.config import Settings
from mmjax.datasets.dataset import Dataset
from mmjax.datasets.encoders import FoldEncoders
from mmjax.errors import CheckpointError, ConfigError, MmjaxError, WorkdirError
from mmjax.io.results import finished, fold_metrics, probabilities
from mmjax.schema import Schema
from mmjax.tasks.base import Task, make_task
from mmjax.train import fold_data as folds
from mmjax.train import outputs, run
from mmjax.train.fold_data import FoldRows

BLOCK = 65536
"""Rows encoded at once: what bounds memory, however long the table."""
KEEP_BYTES = 1 << 30
"""Modules of all folds stay in memory up to this size; larger ones are restored again for each fold's turn."""

Modules = dict[str, dict[str, Any]]
Advance = Callable[[int], None]


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
      restore: reads its modules: by task name, `params` and `batch_stats`.
      kept: the modules, where they are small enough to stay in memory.
    """

    number: int
    encoders: FoldEncoders
    restore: Callable[[], Modules]
    kept: Modules | None = None

    @property
    def modules(self) -> Modules:
        """Parameters and BatchNorm statistics of each of the fold's modules.

        Raises:
          CheckpointError: damaged, or of another config.
        """
        return self.restore() if self.kept is None else self.kept


@dataclass
class Ensemble:
    """All finished folds.

    Attributes:
      settings: as recorded in the work folder.
      schema: as recorded in the work folder.
      spec: the sizes every fold was padded to.
      members: the finished folds, in order.
    """

    settings: Settings
    schema: Schema
    spec: InputSpec
    members: list[Member]
    tasks: dict[str, Task] = field(default_factory=dict)

    @classmethod
    def load(cls, workdir: str | Path) -> "Ensemble":
        """Restores settings, schema, encoders and modules of every finished fold.

        Raises:
          WorkdirError: not a work folder, or no fold is finished.
          CheckpointError: a file is damaged, or a module belongs to another config.
        """
        path = Path(workdir)
        settings = load_settings(path)
        schema = Schema.load(path / "schema.toml")
        done = finished(path, settings.cv.folds)
        if not done:
            raise WorkdirError(f"{path}: no fold is finished; run the same training command until one is.")
        ensemble = cls(settings, schema, _load_spec(path), [])
        # The same dict as crossval's: folds' protocol apart, everything that decides the numbers.
        fingerprint = run.run_fingerprint(settings, schema)
        room = KEEP_BYTES
        for number in done:
            folder = path / f"fold_{number}"
            encoders = FoldEncoders.load(folder / "encoders.json")
            member = Member(number, encoders, lambda folder=folder: ensemble._restore(folder, fingerprint))
            modules = member.restore()  # refuses a folder that does not fit before anything is predicted
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(modules))
            if size <= room:
                member.kept, room = modules, room - size
            ensemble.members.append(member)
        return ensemble

    def predict(self, dataset: Dataset, advance: Advance | None = None) -> Predictions:
        """Every row of `dataset`, whatever it lacks.

        Args:
          dataset: read with this ensemble's schema; see `open_rows`.
          advance: told how many rows one more fold has finished; N F in all.

        Raises:
          WorkdirError: the work folder holds an autoencoder and no classifier.
        """
        if self.settings.task != "classifier":
            raise WorkdirError("this work folder trained an autoencoder alone (Table 2): it has no classes to predict.")
        count = len(dataset.table.ids)
        by_fold = np.zeros((len(self.members), count, len(self.spec.classes)), np.float32)
        attention = np.zeros((count, len(self.spec.modalities)))
        mean = np.zeros(by_fold.shape[1:])
        for f, member in enumerate(self.members):
            modules = jax.device_put(member.modules)
            for start, block in _blocks(dataset):
                rows = np.arange(len(block.table.ids))
                out = self._outputs(member, modules, block, rows, self._batch("classifier", len(rows)))
                stop = start + len(rows)
                p_BxK = probabilities(out["logits"])
                by_fold[f, start:stop], mean[start:stop] = p_BxK, mean[start:stop] + p_BxK / len(self.members)
                attention[start:stop] += out["attention"].astype(np.float64) / len(self.members)
                if advance is not None:
                    advance(len(rows))
        return Predictions(mean, attention, by_fold)

    def codes(self, dataset: Dataset) -> dict[int, Float[np.ndarray, "N D"]]:
        """h_mm of every row by each fold's own autoencoder; the folds' codes have nothing to do with each other.

        Raises:
          ConfigError: the config trains no autoencoder of its own.
        """
        auto, name = self.settings.model.autoencoder, "autoencoder"
        if name not in run.task_names(self.settings):
            why = "is part of the classifier (mode joint)" if auto.kind != "none" else "is not there (kind none)"
            raise ConfigError(f"there are no codes: config.model.autoencoder {why}; train mmae_attention, for one.")
        found = {}
        for member in self.members:
            params, parts = member.modules[name]["params"], []
            for _, block in _blocks(dataset):
                rows = np.arange(len(block.table.ids))
                fold, size = self._rows(member, block, rows), self._batch(name, len(rows))
                parts.append(outputs.sweep(size, self._task(name), fold, params, {}, rows)["h_mm"])
            found[member.number] = np.concatenate(parts)
        return found

    def held_out(self, dataset: Dataset, fold_N: np.ndarray) -> dict[int, dict[str, float]]:
        """Each finished fold's metrics on its own held-out rows, computed as training computed them.

        Args:
          dataset: the one that was trained on, opened again.
          fold_N: fold of each row, -1 for rows in none.
        """
        most = max(np.bincount(fold_N[fold_N >= 0]))
        size, found = run.evaluation_batch(self.settings, run.task_names(self.settings)[-1], most), {}
        for member in self.members:
            test = np.flatnonzero(fold_N == member.number)
            out = self._outputs(member, jax.device_put(member.modules), dataset, test, size)
            found[member.number] = fold_metrics(self.settings, dataset, self._rows(member, dataset, test), out)
        return found

    def _outputs(
        self, member: Member, modules: Modules, dataset: Dataset, rows: np.ndarray, size: int
    ) -> dict[str, np.ndarray]:
        """`Task.outputs` of the given rows by one fold, `size` rows a batch; before, the codes of a frozen autoencoder."""
        fold = self._rows(member, dataset, rows)
        *before, last = run.task_names(self.settings)
        codes = None
        if before and self._task(last).code_width:
            everything = np.arange(len(dataset.table.ids))
            auto = modules["autoencoder"]
            own = self._batch("autoencoder", len(everything))
            codes = outputs.sweep(own, self._task("autoencoder"), fold, auto["params"], {}, everything)["h_mm"]
        module = modules[last]
        return outputs.sweep(size, self._task(last), fold, module["params"], module["batch_stats"], rows, codes)

    def _rows(self, member: Member, dataset: Dataset, rows: np.ndarray) -> FoldRows:
        nothing = np.zeros(0, np.int64)
        arrays = member.encoders.encode(dataset)
        constant = folds.constants(self.settings, self.spec, member.encoders.spec, arrays["label"], nothing)
        return FoldRows(member.number, member.encoders, arrays, nothing, nothing, rows, constant)

    def _batch(self, name: str, rows: int) -> int:
        """Rows of a batch: no larger than `rows` need; powers of two compile seldom."""
        return min(run.evaluation_batch(self.settings, name, BLOCK), 1 << (max(1, rows) - 1).bit_length())

    def _task(self, name: str) -> Task:
        return self.tasks.setdefault(name, make_task(name, self.settings, self.spec))

    def _restore(self, folder: Path, fingerprint: str) -> Modules:
        modules: Modules = {}
        for name in run.task_names(self.settings):
            params, batch_stats, _ = outputs.load_variables(self._task(name), folder / name, fingerprint)
            modules[name] = {"params": params, "batch_stats": batch_stats}
        return modules


def load_settings(workdir: Path) -> Settings:
    """The settings a work folder was made with.

    Raises:
      WorkdirError: there is no readable config.json, or another version of mmjax wrote it.
    """
    try:
        return Settings.from_dict(json.loads((workdir / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, MmjaxError) as error:
        why = "there is none" if isinstance(error, FileNotFoundError) else str(error)
        raise WorkdirError(f"{workdir}: is not a work folder with a readable config.json ({why}); check --workdir.") from error


def _load_spec(workdir: Path) -> InputSpec:
    try:
        values: dict[str, Any] = json.loads((workdir / "spec.json").read_text(encoding="utf-8"))
        values |= {name: tuple(map(str, values[name])) for name in ("modalities", "classes")}
        return InputSpec(**values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{workdir / 'spec.json'}: cannot be read ({error}); train again in a new folder.") from error


def _blocks(dataset: Dataset) -> Iterator[tuple[int, Dataset]]:
    """Consecutive slices of at most BLOCK rows; views, so a memory-mapped table stays on the disk."""
    table, store = dataset.table, dataset.image_store
    for start in range(0, len(table.ids), BLOCK):
        part = slice(start, start + BLOCK)
        columns = {
            name: getattr(table, name)[part]
            for name in ("ids", "categorical", "continuous", "words", "image")
            if getattr(table, name) is not None
        }
        columns |= {n: getattr(table, n)[part] for n in ("label", "group") if getattr(table, n) is not None}
        changed: dict[str, Any] = {"table": replace(table, **columns)}
        if store is not None:
            changed["image_store"] = replace(store, pixels=store.pixels[part], present=store.present[part])
        if dataset.features is not None and dataset.features_present is not None:
            changed["features"] = dataset.features[part]
            changed["features_present"] = dataset.features_present[part]
        yield start, replace(dataset, **changed)
