"""The two things that are trained: the autoencoder (paper, section 3.1) and the classifier (section 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.batch import IMAGE, TEXT, Batch, InputSpec
from mmjax.config import Settings
from mmjax.models.build import build_autoencoder, build_classifier
from mmjax.ops import prng
from mmjax.shapes import blank_batch
from mmjax.tasks import losses

if TYPE_CHECKING:  # a benchmark on a bare GPU machine has none of what a data set needs
    from mmjax.datasets.dataset import Dataset


class WeightedTerm(NamedTuple):
    """One term of the loss: weight * sum / count."""

    weight: float
    sum: Float[Array, ""]
    count: Float[Array, ""]


@dataclass(frozen=True)
class Task:
    """A module with its loss, its metrics and the value early stopping looks at.

    Attributes:
      name: "autoencoder" or "classifier"; also the folder of its checkpoints.
      module: linen module, built for `spec`.
      settings: the run's settings.
      spec: sizes, padded to the largest fold.
    """

    name: str
    module: nn.Module
    settings: Settings
    spec: InputSpec

    stream: ClassVar[int] = 0
    """Number in the seeds of this task: `SeedSequence([seed, fold, stream])`."""
    needs_label: ClassVar[bool] = False
    predicts_classes: ClassVar[bool] = False
    refits: ClassVar[bool] = False
    convolves: ClassVar[bool] = False
    scans: ClassVar[bool] = True

    # Settings hold a dict, so equality and hash are the object's: a Task is static to jit.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def probabilities(self, out: dict[str, np.ndarray]) -> np.ndarray:
        """Class probabilities from `outputs`, float64 N x K; only where it predicts classes."""
        raise NotImplementedError

    @property
    def dense(self) -> bool:
        """Whether all layers are dense, so that folds may share one batched program."""
        return not {TEXT, IMAGE} & set(self.settings.model.modalities)

    @property
    def learning_rate(self) -> float:
        """Base rate of the steps."""
        return self.settings.optim.autoencoder_learning_rate

    @classmethod
    def labels(cls, dataset: "Dataset") -> np.ndarray:
        """What folds are stratified by, int N."""
        return np.zeros(len(dataset.table.ids), np.int32)

    def fold_constants(self, label_N: np.ndarray, train_rows: np.ndarray) -> dict[str, np.ndarray]:
        """Class weights (K): ones, or N / (K n_k) with `optim.class_weights` balanced (scikit-learn's meaning)."""
        classes = len(self.spec.classes)
        weight_K = np.ones(classes, np.float32)
        if self.settings.optim.class_weights == "balanced":
            counts_K = np.bincount(label_N[train_rows], minlength=classes)
            weight_K = np.where(counts_K > 0, len(train_rows) / (classes * np.maximum(counts_K, 1)), 0.0).astype(np.float32)
        return {"class_weight": weight_K}

    def metrics(self, target_N: np.ndarray, out: dict[str, np.ndarray]) -> dict[str, float]:
        """Held-out metrics from `outputs` of all rows: mse_<modality> over the values that count."""
        del target_N
        names = [n.removeprefix("error_") for n in out if n.startswith("error_")]
        return {
            f"mse_{n}": float(out[f"error_{n}"].sum(dtype=np.float64) / out[f"count_{n}"].sum(dtype=np.float64)) for n in names
        }

    def prediction_columns(self, dataset: "Dataset", rows: np.ndarray, out: dict[str, np.ndarray]) -> dict[str, Any]:
        """Columns of predictions.csv after id and fold."""
        del dataset, rows
        columns = {}
        for name in self.spec.modalities:
            count = np.maximum(out[f"count_{name}"].astype(np.float64), 1.0)
            columns[f"mse_{name}"] = _digits(out[f"error_{name}"] / count)
        return columns

    @classmethod
    def summary(cls, dataset: "Dataset", fold_N: np.ndarray, done: Sequence[int], settings: Settings) -> dict[str, Any]:
        """Further entries of summary.json."""
        del dataset, fold_N, done, settings
        return {}

    @property
    def max_epochs(self) -> int:
        """Epochs after which training ends anyway."""
        train = self.settings.train
        return train.autoencoder_max_epochs if self.name == "autoencoder" else train.max_epochs

    @property
    def patience(self) -> int:
        """Epochs without improvement after which training ends."""
        train = self.settings.train
        return train.autoencoder_patience if self.name == "autoencoder" else train.patience

    @property
    def code_width(self) -> int:
        """Length of h_mm that comes with the batch: M k for a classifier on a frozen autoencoder, else 0."""
        auto = self.settings.model.autoencoder
        frozen = self.name == "classifier" and auto.kind != "none" and auto.mode == "frozen"
        return len(self.spec.modalities) * auto.code if frozen else 0

    @cached_property
    def variables(self) -> tuple[Any, Any]:
        """Shapes of what `init` returns; nothing is computed."""
        return jax.eval_shape(self.init, prng.KEY, blank_batch(self.spec, 2, self.code_width))

    def init(self, key: Array, batch: Batch) -> tuple[Any, Any]:
        """Parameters and BatchNorm statistics at random."""
        variables = self.module.init({"params": key, "dropout": key}, batch, train=False)
        return variables["params"], variables.get("batch_stats", {})

    def losses(
        self, params: Any, batch_stats: Any, batch: Batch, key: Array | None
    ) -> tuple[dict[str, WeightedTerm], dict[str, Array], Any]:
        """Loss terms, sums of metrics and new BatchNorm statistics.

        Args:
          params: the module's parameters.
          batch_stats: BatchNorm's running statistics.
          batch: see mmjax/batch.py.
          key: dropout's key when training; None evaluates.
        """
        out, batch_stats = self._apply(params, batch_stats, batch, key)
        if self.name == "autoencoder":
            terms = self._reconstruction_terms(out, batch["weight"], 1.0)
            return terms, _sums(terms), batch_stats
        logits_BxK, extra = out
        # Training alone knows class weights and smoothing: validation reports the plain log loss.
        smoothing = self.settings.optim.label_smoothing if key is not None else 0.0
        class_weight_K = batch["class_weight"] if key is not None else jnp.ones(logits_BxK.shape[-1])
        entropy = losses.cross_entropy(logits_BxK, batch["label"], batch["weight"], class_weight_K, smoothing)
        terms = {"loss": WeightedTerm(1.0, *entropy)}
        if "reconstruction" in extra:
            joint = self.settings.model.autoencoder.joint_weight
            terms |= self._reconstruction_terms(extra["reconstruction"], batch["weight"], joint)
        sums = _sums(terms)
        sums["accuracy"], sums["accuracy_count"] = losses.correct(logits_BxK, batch["label"], batch["weight"])
        return terms, sums, batch_stats

    def outputs(self, params: Any, batch_stats: Any, batch: Batch) -> dict[str, Array]:
        """What is kept of a row: `logits` and `attention`, or `h_mm` and each modality's `error`/`count` per row."""
        out, _ = self._apply(params, batch_stats, batch, None)
        if self.name == "classifier":
            return {"logits": out[0], "attention": out[1]["attention"]}
        rows = {"h_mm": out["h_mm"]}
        for name, prediction_BxD in out["prediction"].items():
            weight_BxD = jnp.broadcast_to(out["target_weight"][name], prediction_BxD.shape)
            rows[f"error_{name}"] = jnp.sum(weight_BxD * (prediction_BxD - out["target"][name]) ** 2, axis=1)
            rows[f"count_{name}"] = jnp.sum(weight_BxD, axis=1)
        return rows

    def encode(self, params: Any, batch: Batch) -> Array:
        """h_mm of a batch, B x Mk (autoencoder only)."""
        return self.module.apply({"params": params}, batch, method="encode")  # type: ignore[return-value]

    def monitored(self, sums: dict[str, Array]) -> Array:
        """The value early stopping maximises, from validation sums."""
        if self.name == "autoencoder":
            weights = self.settings.model.autoencoder.weights
            return -jnp.asarray(sum(weights.get(m, 1.0) * _mean(sums, m) for m in self.spec.modalities))
        if self.settings.train.monitor == "loss":
            return -_mean(sums, "loss")
        # Accuracy on few rows ties often: the log loss, scaled to stay below one row's worth, breaks ties.
        return _mean(sums, "accuracy") - 1e-6 * jnp.minimum(_mean(sums, "loss"), 100.0)

    def _apply(self, params: Any, batch_stats: Any, batch: Batch, key: Array | None) -> tuple[Any, Any]:
        variables = {"params": params, **({"batch_stats": batch_stats} if batch_stats else {})}
        if key is None:
            return self.module.apply(variables, batch, train=False), batch_stats
        out, updated = self.module.apply(variables, batch, train=True, rngs={"dropout": key}, mutable=["batch_stats"])  # type: ignore[misc]
        return out, updated.get("batch_stats", batch_stats)

    def _reconstruction_terms(self, out: Any, weight_B: Array, scale: float) -> dict[str, WeightedTerm]:
        weights = self.settings.model.autoencoder.weights
        terms = losses.reconstruction(out, weight_B)
        return {m: WeightedTerm(scale * weights.get(m, 1.0), *t) for m, t in terms.items()}


@dataclass(frozen=True, eq=False)
class Classification(Task):
    """The classifier (paper, section 3.2)."""

    stream: ClassVar[int] = 1
    needs_label: ClassVar[bool] = True
    predicts_classes: ClassVar[bool] = True

    @property
    def refits(self) -> bool:  # type: ignore[override]
        """Whether it is trained again on all training rows, for the epochs that early stopping found."""
        return self.settings.train.refit

    @property
    def convolves(self) -> bool:  # type: ignore[override]
        """Whether a tower has convolutions."""
        return bool({TEXT, IMAGE} & set(self.settings.model.modalities))

    @property
    def scans(self) -> bool:  # type: ignore[override]
        """Whether a dispatch is one program that scans over its steps.

        XLA's CPU backend computes a convolution by plain loops on one thread where it stands in a loop's body: twenty times
        slower (docs/RESULTS.md, Speed). Everything else wins by the loop: the state stays in place and dispatches are saved.
        """
        return not (jax.default_backend() == "cpu" and IMAGE in self.settings.model.modalities)

    @property
    def learning_rate(self) -> float:
        """Base rate of the steps."""
        return self.settings.optim.learning_rate

    @classmethod
    def labels(cls, dataset: "Dataset") -> np.ndarray:
        """Class indices, -1 for a row without a label."""
        return dataset.label

    def metrics(self, target_N: np.ndarray, out: dict[str, np.ndarray]) -> dict[str, float]:
        """Accuracy, qwk, macro_f1 and log_loss."""
        from mmjax.tasks import metrics  # noqa: PLC0415

        return metrics.classification(target_N, self.probabilities(out))

    def probabilities(self, out: dict[str, np.ndarray]) -> np.ndarray:
        """Softmax of the logits in float64, N x K (paper, equation 11)."""
        logits_NxK = out["logits"]
        exponent = np.exp(logits_NxK.astype(np.float64) - logits_NxK.max(axis=1, keepdims=True))
        return exponent / exponent.sum(axis=1, keepdims=True)

    def prediction_columns(self, dataset: "Dataset", rows: np.ndarray, out: dict[str, np.ndarray]) -> dict[str, Any]:
        """Label, prediction, p_<class> and attention_<modality>."""
        p_NxK = self.probabilities(out)
        names = np.array(self.spec.classes, dtype=object)
        columns: dict[str, Any] = {"label": names[dataset.label[rows]], "prediction": names[p_NxK.argmax(axis=1)]}
        columns |= {f"p_{name}": _digits(p_NxK[:, k]) for k, name in enumerate(self.spec.classes)}
        return columns | {f"attention_{n}": _digits(out["attention"][:, m]) for m, n in enumerate(self.spec.modalities)}

    @classmethod
    def summary(cls, dataset: "Dataset", fold_N: np.ndarray, done: Sequence[int], settings: Settings) -> dict[str, Any]:
        """Accuracy of always answering the training folds' most frequent class; of synthetic data, the best possible."""
        from mmjax.datasets.synthetic import ceiling  # noqa: PLC0415

        label_N = dataset.label
        answers = {f: np.bincount(label_N[(fold_N >= 0) & (fold_N != f)]).argmax() for f in done}
        entries = {"most_frequent_class": float(np.mean([np.mean(label_N[fold_N == f] == a) for f, a in answers.items()]))}
        return entries | ({"ceiling": ceiling(settings.model.modalities)} if dataset.name == "planted" else {})


def phases(settings: Settings) -> tuple[str, ...]:
    """The tasks of a run, in order."""
    if settings.task == "autoencoder":
        return ("autoencoder",)
    auto = settings.model.autoencoder
    return ("autoencoder", "classifier") if auto.kind != "none" and auto.mode != "joint" else ("classifier",)


def task_class(name: str) -> type[Task]:
    """The class of a task."""
    return {"autoencoder": Task, "classifier": Classification}[name]


def _digits(value_N: np.ndarray) -> list[str]:
    """Nine significant digits, a float32's; pandas' `float_format` takes six times as long."""
    return [f"{value:.9g}" for value in value_N.tolist()]


def make_task(name: str, settings: Settings, spec: InputSpec, axis_name: str | None = None) -> Task:
    """The task's module, built for `spec`.

    Args:
      name: "autoencoder" or "classifier".
      settings: the run's settings.
      spec: sizes of the inputs.
      axis_name: device axis BatchNorm averages over, or None.
    """
    build = build_autoencoder if name == "autoencoder" else build_classifier
    module = build(settings.model, spec, dtype=settings.train.dtype, axis_name=axis_name)
    return task_class(name)(name, module, settings, spec)


def _sums(terms: dict[str, WeightedTerm]) -> dict[str, Array]:
    sums = {name: jax.lax.stop_gradient(t.sum) for name, t in terms.items()}
    return sums | {f"{name}_count": t.count for name, t in terms.items()}


def _mean(sums: dict[str, Array], name: str) -> Array:
    return sums[name] / jnp.maximum(sums[f"{name}_count"], 1e-12)
