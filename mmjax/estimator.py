"""A scikit-learn classifier whose model is the folds of a cross-validation in a workdir (docs/api.md)."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from mmjax import label_values
from mmjax.config import Settings
from mmjax.data.data_report import DataReport
from mmjax.errors import ConfigError, DataError, WorkdirError
from mmjax.io.atomic import write_json
from mmjax.io.results import PREDICTIONS, read_predictions, read_summary
from mmjax.io.workdir import DATA, SCHEMA, damaged, read_json
from mmjax.label_values import check_labels, class_values, kinds, named_columns, numbers_schema, parsed, with_labels
from mmjax.notebook import make_log
from mmjax.own_table import AnySchema, cross_validate, read_schema, set_up
from mmjax.schema import Schema

if TYPE_CHECKING:  # jax is imported late
    from mmjax.datasets.dataset import Dataset
    from mmjax.explain import Explanation
    from mmjax.inference import Ensemble, Predictions

FITTED = "fitted.json"
"""Beside a DataFrame's table.csv: its columns and classes, which have a type that a CSV file does not keep."""


class MultiModalClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of rows with a table, texts and photos: the mean of the models of all folds.

    Args:
      config: name, file or settings, see `get_config`; a name without a variant is its variant `table`. Modalities that the
        table lacks are left out, unless `overrides` names them.
      workdir: folder of the run, in which an interrupted `fit` goes on; None: a temporary one that goes with the model.
      folds: models that are trained, each without a fold of the rows.
      max_epochs: of the classifier; None, here and below: the config's.
      batch_size: rows a step.
      learning_rate: of the classifier, before schedule and warm-up.
      random_state: of folds and training.
      overrides: further settings by dotted name, such as {"model.width": 64}; see `get_config`.
      output: pandas (DataFrames and Series, but for an array) or numpy, which scorers of two classes' probabilities want.
      verbose: prints progress.

    Attributes:
      classes_: labels, of the label column's type, in the order of the probabilities.
      summary_: DataFrame of held-out metrics: a row a fold, then `mean` and `std`.
      out_of_fold_: DataFrame of held-out predictions, with the training table's index (a file's: row numbers).
      workdir_, schema_: of the run.
      feature_names_in_, n_features_in_: columns of the training table but for the label; an array's have no names.
    """

    def __init__(
        self,
        config: str | Settings = "recommended",
        *,
        workdir: str | Path | None = None,
        folds: int = 5,
        max_epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        random_state: int | None = None,
        overrides: Mapping[str, Any] | None = None,
        output: str = "pandas",
        verbose: bool = True,
    ):
        self.config = config
        self.workdir = workdir
        self.folds = folds
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.overrides = overrides
        self.output = output
        self.verbose = verbose

    def fit(
        self, X: Any, y: Any = None, *, label: str = "", images: str | Path = "", schema: AnySchema = None
    ) -> "MultiModalClassifier":
        """Trains all folds.

        Args:
          X: DataFrame, array, or a CSV or Parquet file.
          y: labels; None: X has them, in the column `label`.
          label: column to predict.
          images: folder of the photos, see `cross_validate`.
          schema: what each column is; None: as `propose_schema` says, and numbers in an array are numbers.

        Raises:
          MmjaxError: as `cross_validate`.
        """
        table, label = self._training_table(X, y, str(label), schema)
        said = None if schema is None else read_schema(schema, table, label)
        check_labels(table, label, (*said.classes, *said.missing) if said else ())
        if schema is None and isinstance(table, pd.DataFrame) and not isinstance(X, pd.DataFrame):
            schema = numbers_schema(table.drop(columns=label), label)
        workdir = Path(self.workdir or self._temporary_folder())
        more = {"label": label, "images": images, "schema": schema, "overrides": self._overrides(), "verbose": self.verbose}
        cross_validate(self.config, table, workdir=workdir, **more)
        if isinstance(table, pd.DataFrame):
            label = label or Schema.load(workdir / SCHEMA).label
            columns = [str(c) for c in table.columns if c != label]
            named = isinstance(X, pd.DataFrame)  # an array's columns have no names that a user knows
            write_json(workdir / DATA / FITTED, {"columns": columns, "classes": kinds(table[label]), "named": named})
        return self._restore(workdir, table.index if isinstance(table, pd.DataFrame) else None)

    def predict(self, X: Any, **paths: str) -> Any:
        """The class of every row.

        Args:
          X: as in `fit`, without labels or with; in any order of columns.
          **paths: `images`, a folder, and `features`, an .npz; those of `fit` if left out.

        Returns:
          A Series with X's index; an array for an array.
        """
        p_NxK = self._predictions(X, paths).probabilities
        return self._output(self.classes_[p_NxK.argmax(axis=1)], X, self.schema_.label)

    def predict_proba(self, X: Any, **paths: str) -> Any:
        """Probability of each class, the mean over folds: a DataFrame with a column a class."""
        return self._output(self._predictions(X, paths).probabilities, X, self.classes_)

    def attention(self, X: Any, **paths: str) -> Any:
        """Weight of each modality in each row's fusion, the mean over folds: a DataFrame, rows add up to 1."""
        if self._ensemble().settings.model.fusion == "concatenate":
            make_log(self.verbose)("The model has no attention, its fusion is concatenate: all that a row has weighs the same.")
        return self._output(self._predictions(X, paths).attention, X, list(self._ensemble().spec.modalities))

    def explain(self, X: Any, *, of: Any = None, **paths: str) -> "Explanation":
        """Shapley values of each row's modalities, which add up to the prediction (docs/EXPLANATIONS.md).

        Args:
          X: as in `predict`.
          of: class whose probability is explained; None: of each row the predicted one.
          **paths: as in `predict`.

        Returns:
          A DataFrame, with X's index: prediction, probability, base_value, shapley_<modality>; `show(row)` looks at one row.

        Raises:
          ConfigError: there is no class `of`.
        """
        from mmjax.explain import explain  # noqa: PLC0415 - imports jax

        ensemble, log, report = self._ensemble(), make_log(self.verbose), DataReport()
        table = self._frame(X)
        name = "" if of is None else dict(zip(self.classes_.tolist(), ensemble.spec.classes, strict=True)).get(of, str(of))
        found = explain(ensemble, table, of=name, paths={n: str(path) for n, path in paths.items()}, report=report, log=log)
        for line in report.summary_lines():
            log(line)
        return found

    def codes(self, X: Any, **paths: str) -> Any:
        """Joint codes h_mm of the autoencoder: a DataFrame whose columns are (fold, number).

        Each fold has an autoencoder of its own, whose numbers have nothing to do with another's: use one fold's, or all.

        Raises:
          ConfigError: the config trains no autoencoder of its own.
        """
        found = self._ensemble().codes(self._dataset(X, paths))
        columns = [(fold, k) for fold, code in found.items() for k in range(code.shape[1])]
        names = pd.MultiIndex.from_tuples(columns, names=["fold", "code"])
        return self._output(np.concatenate(list(found.values()), axis=1), X, names)

    def report(self, photos: bool = True) -> Path:
        """Writes report.html into the workdir, as `mmjax report` does; rows may be shown with their photos."""
        check_is_fitted(self, "workdir_")
        return import_module("mmjax.report").write_report(self.workdir_, photos=photos, log=make_log(self.verbose))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, **paths: str) -> float:
        """Accuracy; with `y` None X has the label column, and rows without one of the model's labels do not count."""
        right_N = np.asarray(self.predict(X, **paths), object)
        check_consistent_length(right_N, y, sample_weight)
        if y is not None:
            return float(np.average(right_N == np.asarray(y, object), weights=sample_weight))
        labels = label_values.known_labels(X, self.schema_.label, self.classes_)
        counts_N = np.array([label is not None for label in labels])
        weight_N = None if sample_weight is None else np.asarray(sample_weight)[counts_N]
        pairs = zip(right_N, labels, strict=True)
        return float(np.average([value == label for value, label in pairs if label is not None], weights=weight_N))

    def _training_table(self, X: Any, y: Any, label: str, schema: AnySchema) -> tuple[Any, str]:
        """The table to train on, with its labels, and their column."""
        if y is None and not label and schema is None:
            raise ValueError("fit requires y to be passed, but the target y is None; or name X's column with label=.")
        if isinstance(X, str | Path):
            if y is None:
                return X, label
            raise ValueError("X is a file, which has its labels: name their column with label= and leave y out.")
        if not isinstance(X, pd.DataFrame):
            if y is None:
                raise ValueError("fit requires y to be passed, but the target y is None: an array has no column of labels.")
            X, y = validate_data(self, X, y, dtype=None, ensure_all_finite="allow-nan")
            X = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
        if y is None:
            return named_columns(X), label.strip()
        check_classification_targets(y)
        if len(pd.Series(y).unique()) < 2:
            raise ValueError("y has 1 class; a classifier needs two.")
        return with_labels(named_columns(X), y, label)

    def _overrides(self) -> dict[str, Any]:
        named = {
            "cv.folds": self.folds,
            "train.max_epochs": self.max_epochs,
            "train.batch_size": self.batch_size,
            "optim.learning_rate": self.learning_rate,
            "train.seed": self.random_state,
            "cv.seed": self.random_state,
        }
        return {name: value for name, value in named.items() if value is not None} | dict(self.overrides or {})

    def _restore(self, workdir: Path, index: pd.Index | None = None) -> "MultiModalClassifier":
        self.workdir_, self._loaded = workdir, None
        from mmjax.tasks.base import task_class  # noqa: PLC0415 - imports jax

        ensemble = self._ensemble()
        if not task_class(ensemble.settings.task).predicts_classes:
            raise ConfigError(f"{workdir}: the config trains the task {ensemble.settings.task!r}, which has no classes.")
        self.schema_, summary = ensemble.schema, read_summary(workdir)
        fitted = read_json(file, dict) if (file := workdir / DATA / FITTED).is_file() else {}
        self.classes_ = class_values(ensemble.spec.classes, fitted.get("classes") or kinds(parsed(ensemble.spec.classes)))
        self._columns = fitted.get("columns") or [c for c, role in ensemble.schema.roles().items() if role != "label"]
        self.n_features_in_ = len(self._columns)
        if fitted.get("named", True):
            self.feature_names_in_ = np.array(self._columns, object)
        by_fold = {int(fold): done["metrics"] for fold, done in summary["by_fold"].items()}
        if gone := sorted(by_fold.keys() - {member.number for member in ensemble.members}):
            raise WorkdirError(f"{workdir}: fold {gone[0]} is not whole any more; run the same training again.")
        self.summary_ = pd.DataFrame(by_fold | {"mean": summary["mean"], "std": summary["std"]}).T.rename_axis("fold")
        self.out_of_fold_ = self._held_out(index, list(by_fold))
        return self

    def _held_out(self, index: pd.Index | None, folds: list[int]) -> pd.DataFrame:
        from mmjax.datasets.splits import FOLDS, read_folds  # noqa: PLC0415 - imports scikit-learn's splitters

        (_, fold_N), found = read_folds(self.workdir_ / FOLDS), read_predictions(self.workdir_)
        values = dict(zip(self._ensemble().spec.classes, self.classes_.tolist(), strict=True))
        rows = np.flatnonzero(np.isin(fold_N, folds))
        index = pd.RangeIndex(len(fold_N)) if index is None else index
        if len(rows) != len(found) or len(index) != len(fold_N) or not {*found["label"], *found["prediction"]} <= {*values}:
            raise damaged(self.workdir_ / PREDICTIONS, "its rows are not those of folds.csv")
        for name in ("label", "prediction"):
            found[name] = np.array([values[v] for v in found[name]], self.classes_.dtype)
        return found.set_index(index[rows])

    def _ensemble(self) -> "Ensemble":
        check_is_fitted(self, "workdir_")
        if self._loaded is None:
            from mmjax.inference import Ensemble  # noqa: PLC0415 - imports jax

            self._loaded = Ensemble.load(self.workdir_)
            set_up(self._loaded.settings)
        return self._loaded

    def _dataset(self, X: Any, paths: Mapping[str, str]) -> "Dataset":
        from mmjax.new_table import open_new_table  # noqa: PLC0415 - imports jax

        ensemble, log, report = self._ensemble(), make_log(self.verbose), DataReport()
        dataset = open_new_table(
            ensemble, self._frame(X), report, paths={name: str(path) for name, path in paths.items()}, log=log
        )
        for line in report.summary_lines():
            log(line)
        return dataset

    def _frame(self, X: Any) -> Any:
        """Rows to predict as a table: a DataFrame or a file."""
        if isinstance(X, pd.Series | Mapping):
            raise DataError("one row is a table of one row: give a DataFrame, such as df.iloc[[0]] or pd.DataFrame([row]).")
        if isinstance(X, pd.DataFrame | str | Path):
            return X
        X = validate_data(self, X, reset=False, dtype=None, ensure_all_finite="allow-nan")
        return pd.DataFrame(X, columns=self._columns)

    def _predictions(self, X: Any, paths: Mapping[str, str]) -> "Predictions":
        return self._ensemble().predict(self._dataset(X, paths))

    def _output(self, values: np.ndarray, X: Any, names: Any) -> Any:
        if self.output == "numpy" or not isinstance(X, pd.DataFrame | str | Path):
            return values
        index = X.index if isinstance(X, pd.DataFrame) else None
        return pd.Series(values, index, name=names) if values.ndim == 1 else pd.DataFrame(values, index, columns=names)

    def __getstate__(self) -> dict[str, Any]:
        """A temporary workdir is packed into the state, so that pickle and joblib keep the whole model."""
        state: dict[str, Any] = {**super().__getstate__(), "_loaded": None}  # type: ignore[dict-item]
        if state.pop("_remove", None) is not None:
            with tempfile.TemporaryDirectory() as folder:
                state["_packed"] = Path(shutil.make_archive(f"{folder}/run", "zip", self.workdir_)).read_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        packed = state.pop("_packed", None)
        super().__setstate__(state)
        if packed is not None:
            self.workdir_ = self._temporary_folder()
            (file := self.workdir_ / "run.zip").write_bytes(packed)
            shutil.unpack_archive(file, self.workdir_)
            file.unlink()

    def _temporary_folder(self) -> Path:
        """A folder that goes when the model goes, or is fitted again."""
        if hasattr(self, "_remove"):
            self._remove()
        folder = tempfile.mkdtemp(prefix="mmjax-")
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)


def load(workdir: str | Path, *, verbose: bool = True) -> MultiModalClassifier:
    """The model of a workdir, trained by Python or by `mmjax train`.

    Raises:
      WorkdirError: not a workdir, or no fold is finished.
      CheckpointError: a file is damaged.
    """
    from mmjax.inference import load_settings  # noqa: PLC0415 - imports jax

    settings = load_settings(Path(workdir))
    model = MultiModalClassifier(settings, workdir=workdir, folds=settings.cv.folds, verbose=verbose)
    return model._restore(Path(workdir))
