"""The classifier (paper, section 3.2): towers, fusion, codes; one class a row."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mmjax.config import Settings
from mmjax.data.data_report import DataReport
from mmjax.datasets import synthetic
from mmjax.datasets.dataset import Dataset
from mmjax.datasets.infer_schema import unfit_label
from mmjax.errors import DataError
from mmjax.modalities.base import Batch, InputSpec
from mmjax.models.classifier import MultiModalClassifier, modality_scores
from mmjax.models.members import Members
from mmjax.ops import on_cpu
from mmjax.registry import register_task
from mmjax.schema import Schema
from mmjax.tasks import class_parts
from mmjax.tasks.base import Start, Task, digits
from mmjax.tasks.labels import find_schema_classes, in_order, number_labels
from mmjax.tasks.metrics import classification_metrics
from mmjax.tasks.parts import Examples, Part
from mmjax.tasks.reconstruction import Reconstruction, code_width, reconstruction_terms
from mmjax.tasks.stacking import stacking_scales
from mmjax.tasks.terms import WeightedTerm, correct, cross_entropy, mean_of, sums_of

if TYPE_CHECKING:
    import pandas as pd


@register_task("classifier")
class Classification(Task):
    """Softmax over classes, cross-entropy; reads the codes of an autoencoder where the config has one."""

    stream = 1
    needs_label = True
    predicts_classes = True
    primary = "accuracy"
    percent = ("accuracy", "balanced_accuracy")
    titles: ClassVar[dict[str, str]] = {
        "accuracy": "accuracy %",
        "balanced_accuracy": "balanced accuracy %",
        "qwk": "QWK",
        "macro_f1": "macro-F1",
        "log_loss": "log loss",
    }
    detail_columns = ("label", "prediction")

    @classmethod
    def phases(cls, settings: Settings) -> tuple[str, ...]:
        """The autoencoder first, unless there is none or both are trained by one loss."""
        auto = settings.model.autoencoder
        return (Reconstruction.name, cls.name) if auto.kind != "none" and auto.mode != "joint" else (cls.name,)

    @classmethod
    def build(cls, settings: Settings, spec: InputSpec, axis_name: str | None) -> MultiModalClassifier:
        """The classifier of `config.model`."""
        model, auto, dtype = settings.model, settings.model.autoencoder, jnp.dtype(settings.train.dtype)
        codes = "none" if auto.kind == "none" else {"frozen": "batch", "finetune": "encoder", "joint": "joint"}[auto.mode]
        towers = {n: m.tower(sizes, model, dtype=dtype, axis_name=axis_name) for n, m, sizes in spec.each()}
        head = model.head
        members = Members(len(spec.classes), head.members, head.width, head.dropout, dtype, axis_name, parent=None)
        return MultiModalClassifier(
            outputs=len(spec.classes),
            fusion=model.fusion,
            towers=towers,
            codes=codes,
            coder=Reconstruction.build(settings, spec, axis_name) if codes in ("encoder", "joint") else None,
            code_norm=auto.code_norm,
            dtype=dtype,
            head=members if head.members else None,
            attention=model.attention,
            modality_dropout=model.modality_dropout,
            axis_name=axis_name,
        )

    @classmethod
    def title(cls, settings: Settings) -> str:
        """How modalities are fused, members, codes."""
        model = settings.model
        fusion = {"none": "", "concatenate": "concatenation", "gated": "gated fusion"}.get(model.fusion, model.fusion)
        members = f"{model.head.members} members" if model.head.members else ""
        codes = f"{Reconstruction.title(settings)} code" if model.autoencoder.kind != "none" else ""
        trees = "" if model.blend == "none" else f"blended with {model.blend}"
        return " + ".join(part for part in (fusion, members, codes, trees) if part) or "classifier"

    @property
    def watched(self) -> str:
        """`config.train.monitor`."""
        return f"validation {self.settings.train.monitor}"

    @property
    def refits(self) -> bool:
        """`config.train.refit`."""
        return self.settings.train.refit

    @property
    def code_width(self) -> int:
        """M k where codes are frozen inputs."""
        auto = self.settings.model.autoencoder
        frozen = auto.kind != "none" and auto.mode == "frozen"
        return code_width(self.settings, self.spec) if frozen else 0

    @property
    def convolves(self) -> bool:
        """If a tower does."""
        return any(modality.convolves for _, modality, _ in self.spec.each())

    @property
    def scans(self) -> bool:
        """Not on a CPU if a tower does not: see `Modality.scans`."""
        return not on_cpu() or all(modality.scans for _, modality, _ in self.spec.each())

    def start(self, arrays: Mapping[str, np.ndarray], train_rows: np.ndarray, valid_rows: np.ndarray) -> Start:
        """Scales of the modalities' scores by stacking; members add nothing at first, so the scores alone are a candidate."""
        score_of = modality_scores(self.module.towers, arrays) if self.settings.model.scores == "stacked" else {}
        if not score_of:
            return Start({}, -np.inf)
        score_MxNxK, label_N = np.stack([np.asarray(score_NxK) for score_NxK in score_of.values()]), arrays["label"]
        scale_M = stacking_scales(score_MxNxK[:, train_rows], label_N[train_rows])
        values = {(f"scale_{name}",): scale_M[m : m + 1] for m, name in enumerate(score_of)}
        if self.module.head is None or not len(valid_rows):
            return Start(values, -np.inf)
        logits_nxK = np.tensordot(scale_M, score_MxNxK[:, valid_rows], axes=1)
        return Start(values, float(self.monitored(self._plain_sums(jnp.asarray(logits_nxK), jnp.asarray(label_N[valid_rows])))))

    def _plain_sums(self, logits_nxK: Array, label_n: Array) -> dict[str, Array]:
        """Sums of rows of weight 1: log loss and accuracy."""
        one_n, one_K = jnp.ones(len(label_n)), jnp.ones(logits_nxK.shape[1])
        sums = sums_of({"loss": WeightedTerm(1.0, *cross_entropy(logits_nxK, label_n, one_n, one_K))})
        sums["accuracy"], sums["accuracy_count"] = correct(logits_nxK, label_n, one_n)
        return sums

    def losses(
        self, params: Any, batch_stats: Any, batch: Batch, key: Array | None
    ) -> tuple[dict[str, WeightedTerm], dict[str, Array], Any]:
        """Cross-entropy, and the reconstruction's terms where both are trained by one loss."""
        (logits_BxK, extra), batch_stats = self.apply(params, batch_stats, batch, key)
        # Training alone knows class weights and smoothing: validation reports the plain log loss.
        smoothing = self.settings.optim.label_smoothing if key is not None else 0.0
        class_weight_K = batch["class_weight"] if key is not None else jnp.ones(logits_BxK.shape[-1])
        label_B, weight_B, scores = batch["label"], batch["weight"], logits_BxK
        if key is not None and "members" in extra:  # each learns by itself; their mean is what is evaluated
            members = extra["members"].shape[1]
            scores = extra["members"].reshape(-1, logits_BxK.shape[-1])
            label_B, weight_B = jnp.repeat(label_B, members), jnp.repeat(weight_B / members, members)
        entropy = cross_entropy(scores, label_B, weight_B, class_weight_K, smoothing)
        terms = {"loss": WeightedTerm(1.0, *entropy)}
        if "reconstruction" in extra:
            joint = self.settings.model.autoencoder.joint_weight
            terms |= reconstruction_terms(self.settings, extra["reconstruction"], batch["weight"], joint)
        sums = sums_of(terms)
        sums["accuracy"], sums["accuracy_count"] = correct(logits_BxK, batch["label"], batch["weight"])
        return terms, sums, batch_stats

    def outputs(self, params: Any, batch_stats: Any, batch: Batch) -> dict[str, Array]:
        """`logits` and `attention`."""
        (logits_BxK, extra), _ = self.apply(params, batch_stats, batch, None)
        return {"logits": logits_BxK, "attention": extra["attention"]}

    def monitored(self, sums: dict[str, Array]) -> Array:
        """`config.train.monitor` on the validation rows."""
        if self.settings.train.monitor == "loss":
            return -mean_of(sums, "loss")
        # Accuracy on few rows ties often: the log loss, scaled to stay below one row's worth, breaks ties.
        return mean_of(sums, "accuracy") - 1e-6 * jnp.minimum(mean_of(sums, "loss"), 100.0)

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
        """Class index of each row, -1 where the label is missing or no class; both are reported."""
        known = classes if classes is not None else find_schema_classes(labels, schema, path, report)
        fold = schema.label in schema.one_spelling
        label_N = number_labels(labels, known, file=path, name=schema.label, report=report, fold=fold)
        kinds = len(np.unique(label_N[label_N >= 0]))
        if required and classes is None and kinds < 2:
            raise DataError(f"{path}: the label {schema.label!r} has {kinds} class(es); a classifier needs two.")
        if required and classes is None and not schema.classes and (why := unfit_label(labels)):
            raise DataError(f"{path}: the label {schema.label!r} {why}.")
        return label_N, known

    @classmethod
    def ordered(cls, dataset: Dataset) -> bool:
        """As the schema says; else numbers are, two classes are in either order, and words are not.

        A workdir of before 0.2.0 keeps its metrics.
        """
        schema, classes = dataset.schema, dataset.classes
        if dataset.reading == 1:
            return True
        return schema.ordered if schema.ordered is not None else bool(schema.classes) or in_order(classes)

    @classmethod
    def report(cls, dataset: Dataset) -> None:
        """Says that kappa is left out."""
        if not cls.ordered(dataset):
            how = "classes = [...] in the schema, lowest first, or ordered = true, gives them one"
            action = f"balanced accuracy in place of weighted kappa: the classes have no order; {how}"
            found, column = ", ".join(dataset.classes), dataset.schema.label
            dataset.report.add(
                "classes_unordered", file=dataset.table.path, column=column, value=found, action=action, refuse=False
            )

    @classmethod
    def labels(cls, dataset: Dataset) -> Int[np.ndarray, " N"]:
        """The class; rows without one are in no fold."""
        return dataset.label

    def fold_constants(self, label_N: np.ndarray, train_rows: np.ndarray) -> dict[str, np.ndarray]:
        """Class weights: ones, or N / (K n_k) as scikit-learn's 'balanced'."""
        if self.settings.optim.class_weights == "none":
            return super().fold_constants(label_N, train_rows)
        classes = len(self.spec.classes)
        counts_K = np.bincount(label_N[train_rows], minlength=classes)
        weight_K = np.where(counts_K > 0, len(train_rows) / (classes * np.maximum(counts_K, 1)), 0.0)
        return {"class_weight": weight_K.astype(np.float32)}

    def metrics(self, label_N: np.ndarray, out: Mapping[str, np.ndarray]) -> dict[str, float]:
        """See `classification_metrics`."""
        return classification_metrics(label_N, self.probabilities(out), self.spec.ordered)

    def probabilities(self, out: Mapping[str, np.ndarray]) -> Float[np.ndarray, "N K"]:
        """Softmax of the logits in float64 (paper, equation 11)."""
        logits_NxK = out["logits"]
        exponent_NxK = np.exp(logits_NxK.astype(np.float64) - logits_NxK.max(axis=1, keepdims=True))
        return exponent_NxK / exponent_NxK.sum(axis=1, keepdims=True)

    def prediction_columns(self, label_N: np.ndarray, out: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """label, prediction, p_<class> and attention_<modality>."""
        p_NxK, names = self.probabilities(out), np.array(self.spec.classes, dtype=object)
        columns: dict[str, Any] = {"label": names[label_N], "prediction": names[p_NxK.argmax(axis=1)]}
        columns |= {f"p_{name}": digits(p_NxK[:, k]) for k, name in enumerate(self.spec.classes)}
        return columns | {f"attention_{n}": digits(out["attention"][:, m]) for m, n in enumerate(self.spec.modalities)}

    @classmethod
    def summary(cls, dataset: Dataset, fold_N: np.ndarray, done: Sequence[int]) -> dict[str, float]:
        """Accuracy of always answering the class that is most frequent in the training folds; the best on synthetic data."""
        label_N = dataset.label
        answers = {f: np.bincount(label_N[(fold_N >= 0) & (fold_N != f)]).argmax() for f in done}
        found = {"most_frequent_class": float(np.mean([np.mean(label_N[fold_N == f] == a) for f, a in answers.items()]))}
        if dataset.name == synthetic.NAME:
            found["ceiling"] = synthetic.ceiling_of([c for m in dataset.modalities for c in m.reads])
        return found

    @classmethod
    def details(cls, predictions: "pd.DataFrame", classes: Sequence[str]) -> dict[str, Any]:
        """`by_class`: precision, recall, F1 and support."""
        return {"by_class": class_parts.by_class(predictions, classes)}

    @classmethod
    def parts(cls, predictions: "pd.DataFrame", classes: Sequence[str]) -> list[Part]:
        """Confusions, scores by class, calibration."""
        p_NxK = class_parts.probabilities(predictions, classes)
        matrix = class_parts.confusion_matrix(predictions, classes)
        return [matrix, class_parts.class_table(predictions, classes), class_parts.reliability(predictions, p_NxK)]

    @classmethod
    def examples(cls, predictions: "pd.DataFrame", classes: Sequence[str]) -> list[Examples]:
        """Four rows each: the surest that are right, the surest that are wrong, the most unsure."""
        return class_parts.examples(predictions, class_parts.probabilities(predictions, classes), classes)
