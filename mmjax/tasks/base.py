"""What is trained: a module with its loss, its metrics, the value early stopping looks at, and what is kept of a row."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from mmjax import registry
from mmjax.config import Settings
from mmjax.data.data_report import DataReport
from mmjax.datasets.dataset import Dataset
from mmjax.modalities.base import Batch, InputSpec
from mmjax.modalities.shapes import blank_batch
from mmjax.ops import prng
from mmjax.schema import Schema
from mmjax.tasks.parts import Shown
from mmjax.tasks.terms import WeightedTerm


class Start(NamedTuple):
    """What training starts from, where rows decide it.

    Attributes:
      values: parameters, by path, in place of drawn ones.
      monitored: the value that early stopping maximises, of the validation rows before the first step: the start is then kept
        unless an epoch is better. -inf: it is not known, and the first epoch is kept.
    """

    values: Mapping[tuple[str, ...], np.ndarray]
    monitored: float


@dataclass(frozen=True, eq=False)
class Task(Shown, ABC):
    """One task; a class registers itself (`@register_task("regression")`).

    An object is static to jit, which knows it by identity.

    Attributes:
      settings: the run's settings.
      spec: sizes, padded to the largest fold.
      module: linen module, built for `spec`.
      name: of the class: folder of its fold parameters, phase in the log, `config.task`.
      stream: number of its random stream: batches' order and initial values are functions of (seed, fold, stream).
      needs_label: a table without labels cannot train it.
      trains_on_every_row: rows without a label teach it too.
      predicts_classes: `probabilities` is there.
      primary: the metric people compare first.
      percent: metrics shown in percent.
      titles: of metrics, for people.
    """

    settings: Settings
    spec: InputSpec
    module: nn.Module

    name: ClassVar[str] = ""
    stream: ClassVar[int] = 0
    needs_label: ClassVar[bool] = False
    trains_on_every_row: ClassVar[bool] = False
    predicts_classes: ClassVar[bool] = False
    primary: ClassVar[str] = ""
    percent: ClassVar[tuple[str, ...]] = ()
    titles: ClassVar[Mapping[str, str]] = {}

    # -- what a run does

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Refuses settings that do not fit.

        Raises:
          ConfigError: names the setting and what to do.
        """
        del settings

    @classmethod
    def phases(cls, settings: Settings) -> tuple[str, ...]:
        """Tasks that a run trains one after the other, this one last; a task may read the codes of the one before."""
        del settings
        return (cls.name,)

    @classmethod
    @abstractmethod
    def build(cls, settings: Settings, spec: InputSpec, axis_name: str | None) -> nn.Module:
        """The module; `axis_name` is a device axis that a batch is sharded over, or None."""

    @property
    def max_epochs(self) -> int:
        """Epochs after which training ends anyway."""
        return self.settings.train.max_epochs

    @property
    def patience(self) -> int:
        """Epochs without improvement after which training ends."""
        return self.settings.train.patience

    @classmethod
    def title(cls, settings: Settings) -> str:
        """What is trained, for people: "attention + MMAE code"."""
        del settings
        return cls.name

    @property
    def watched(self) -> str:
        """Name of the value that early stopping looks at; `monitored` is it, or its negative."""
        return "validation loss"

    @property
    def learning_rate(self) -> float:
        """Before schedule and warm-up."""
        return self.settings.optim.learning_rate

    @property
    def refits(self) -> bool:
        """Whether it is trained again on all training rows, for the epochs that early stopping found."""
        return False

    @property
    def code_width(self) -> int:
        """Length of h_mm that comes with the batch, from the phase before; 0: none."""
        return 0

    @property
    def convolves(self) -> bool:
        """Whether its activations outgrow a CPU's caches in large batches."""
        return False

    @property
    def scans(self) -> bool:
        """Whether XLA's CPU backend computes its steps in a loop as fast as one by one."""
        return True

    @property
    def dense(self) -> bool:
        """Whether no modality of its brings large matrices: folds may then share one batched program."""
        return not any(modality.convolves for _, modality, _ in self.spec.each())

    # -- what its module computes

    @cached_property
    def variables(self) -> tuple[Any, Any]:
        """Shapes of what `init` returns; nothing is computed."""
        return jax.eval_shape(self.init, prng.KEY, blank_batch(self.spec, 2, self.code_width))

    @property
    def kept(self) -> tuple[Any, Any]:
        """Shapes of what a finished training leaves, and `outputs` needs: `variables`, or a part of them."""
        return self.variables

    def init(self, key: Array, batch: Batch) -> tuple[Any, Any]:
        """Parameters and BatchNorm statistics at random."""
        variables = self.module.init({"params": key, "dropout": key}, batch, train=False)
        return variables["params"], variables.get("batch_stats", {})

    def start(self, arrays: Mapping[str, np.ndarray], train_rows: np.ndarray, valid_rows: np.ndarray) -> Start:
        """What a fold's rows decide of the start.

        Args:
          arrays: every row, encoded; a training row's values do not know its own label.
          train_rows: row numbers to train on.
          valid_rows: row numbers of the inner validation.
        """
        del arrays, train_rows, valid_rows
        return Start({}, -np.inf)

    def apply(self, params: Any, batch_stats: Any, batch: Batch, key: Array | None) -> tuple[Any, Any]:
        """The module's output and its new BatchNorm statistics; a key is dropout's when training, None evaluates."""
        variables = {"params": params, **({"batch_stats": batch_stats} if batch_stats else {})}
        if key is None:
            return self.module.apply(variables, batch, train=False), batch_stats
        out, updated = self.module.apply(variables, batch, train=True, rngs={"dropout": key}, mutable=["batch_stats"])  # type: ignore[misc]
        return out, updated.get("batch_stats", batch_stats)

    @abstractmethod
    def losses(
        self, params: Any, batch_stats: Any, batch: Batch, key: Array | None
    ) -> tuple[dict[str, WeightedTerm], dict[str, Array], Any]:
        """Loss terms, sums of metrics (`x` and `x_count`) and new BatchNorm statistics.

        Args:
          params: the module's parameters.
          batch_stats: BatchNorm's running statistics.
          batch: see mmjax/modalities/base.py.
          key: dropout's key when training; None evaluates.
        """

    @abstractmethod
    def outputs(self, params: Any, batch_stats: Any, batch: Batch) -> dict[str, Array]:
        """What is kept of each row."""

    @abstractmethod
    def monitored(self, sums: dict[str, Array]) -> Array:
        """The value early stopping maximises, from validation sums."""

    # -- what its labels and results are

    @classmethod
    def read_labels(
        cls,
        labels: Sequence[str],
        schema: Schema,
        path: str,
        report: DataReport,
        *,
        classes: tuple[str, ...] | None = None,
        required: bool = True,
    ) -> tuple[Int[np.ndarray, " N"], tuple[str, ...]]:
        """The label column as numbers, -1 where there is none, and class names.

        Args:
          labels: cells.
          schema: which column is what.
          path: the table's, for messages.
          report: told of labels that are missing or unknown.
          classes: those of a trained model; None: the schema's, or all found.
          required: there must be something to learn.
        """
        del schema, path, report, classes, required
        return np.full(len(labels), -1, np.int32), ()

    @classmethod
    def ordered(cls, dataset: Dataset) -> bool:
        """Whether its classes have an order."""
        del dataset
        return False

    @classmethod
    def report(cls, dataset: Dataset) -> None:
        """Tells `dataset.report` of what its labels do not allow."""
        del dataset

    @classmethod
    def labels(cls, dataset: Dataset) -> Int[np.ndarray, " N"]:
        """A number a row whose shares are alike in all folds; -1 keeps a row out of them."""
        return np.zeros(len(dataset), np.int32)

    def fold_constants(self, label_N: np.ndarray, train_rows: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays of a fold without a row axis."""
        del label_N, train_rows
        return {"class_weight": np.ones(len(self.spec.classes), np.float32)}

    @abstractmethod
    def metrics(self, label_N: np.ndarray, out: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Of rows' `outputs`, each row counted once.

        Raises:
          DataError: nothing can be scored.
          NonFiniteError: the model did not train.
        """

    @abstractmethod
    def prediction_columns(self, label_N: np.ndarray, out: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Columns of predictions.csv after id and fold."""

    def probabilities(self, out: Mapping[str, np.ndarray]) -> Float[np.ndarray, "N K"]:
        """Class probabilities from `outputs`, float64; only where it predicts classes."""
        raise NotImplementedError

    @classmethod
    def summary(cls, dataset: Dataset, fold_N: np.ndarray, done: Sequence[int]) -> dict[str, float]:
        """What summary.json says besides metrics: what needs no model, and the best possible where it is known."""
        del dataset, fold_N, done
        return {}


def make_task(name: str, settings: Settings, spec: InputSpec, axis_name: str | None = None) -> Task:
    """A task with its module, built for `spec`."""
    cls = task_class(name)
    return cls(settings, spec, cls.build(settings, spec, axis_name))


def task_class(name: str) -> type[Task]:
    """The class registered for a task's name."""
    return registry.tasks()[name]


def phases(settings: Settings) -> tuple[str, ...]:
    """Names of the tasks of a run, in order."""
    return task_class(settings.task).phases(settings)


def digits(value_N: np.ndarray) -> list[str]:
    """Nine significant digits, a float32's; pandas' `float_format` takes six times as long."""
    return [f"{value:.9g}" for value in value_N.tolist()]
