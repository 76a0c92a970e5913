"""Rows explained: Shapley values of their modalities in a table, and one row in detail on request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mmjax.data.data_report import DataReport
from mmjax.data.sources import Source
from mmjax.datasets.dataset import Dataset
from mmjax.errors import ConfigError, DataError
from mmjax.explain import page
from mmjax.explain.answers import FoldAnswers
from mmjax.explain.cells import Rereader, read_cells
from mmjax.explain.details import RowDetails, row_details
from mmjax.explain.shapley import coalitions
from mmjax.inference import Ensemble
from mmjax.new_table import open_new_table

SHAPLEY = "shapley_"
_VALUES = 1 << 23
"""Most probabilities of masked rows that are held at once."""


@dataclass(frozen=True)
class ShapleyValues:
    """Of N rows and M modalities.

    Attributes:
      class_N: index of the class that is explained.
      probability_N: its probability; `base_value_N` and the row's `value_NxM` add up to it.
      base_value_N: its probability where the row has nothing.
      value_NxM: what each modality adds; 0 where it is absent.
    """

    class_N: Int[np.ndarray, " N"]
    probability_N: Float[np.ndarray, " N"]
    base_value_N: Float[np.ndarray, " N"]
    value_NxM: Float[np.ndarray, "N M"]


def shapley_values(
    answers: list[FoldAnswers], class_N: Int[np.ndarray, " N"] | None = None, advance: Callable[[int], None] | None = None
) -> ShapleyValues:
    """Of the mean of some folds' probabilities, or of one fold's.

    Args:
      answers: each fold's, about the same rows.
      class_N: classes to explain; None: those that are predicted.
      advance: told how many more rows are explained.
    """
    rows, modalities = answers[0].arrays["present"].shape
    keep_SxM, weight_MxS = coalitions(modalities)
    block = max(1, _VALUES // (len(keep_SxM) * answers[0].classes))
    parts = []
    for start in range(0, rows, block):
        some = slice(start, min(start + block, rows))
        value_SxnxK = np.mean([fold.part(some).masked(keep_SxM) for fold in answers], axis=0)
        chosen_n = value_SxnxK[-1].argmax(axis=1) if class_N is None else class_N[some]
        value_Sxn = np.take_along_axis(value_SxnxK, chosen_n[None, :, None], axis=2)[..., 0]
        adds_nxM = np.where(answers[0].arrays["present"][some], (weight_MxS @ value_Sxn).T, 0.0)  # 1e-18 is 0, too
        parts.append((chosen_n, value_Sxn[-1], value_Sxn[0], adds_nxM))
        if advance is not None:
            advance(some.stop - some.start)
    return ShapleyValues(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class Explanation(pd.DataFrame):
    """A row a row: `prediction`, `probability` of it, `base_value`, `shapley_<modality>`, and `row`, its number in the table.

    base_value and the Shapley values add up to probability. `show(row)` explains one row in detail in a notebook, also of a
    part of the table, or of it in another order.
    """

    _metadata = ["rows"]  # noqa: RUF012 - pandas' own protocol

    @property
    def _constructor(self) -> type["Explanation"]:
        return Explanation

    def __getstate__(self) -> dict[str, Any]:
        """The numbers alone: the model that `show` asks lies in its workdir."""
        return {name: value for name, value in super().__getstate__().items() if name != "rows"}

    def show(self, row: object) -> "page.Html":
        """One row, by its label in the index: its modalities, cells, words and photos.

        Raises:
          DataError: there is no such row, or more than one; or the table has lost what is needed to show one.
        """
        try:
            place = self.index.get_loc(row)
        except (KeyError, TypeError) as error:
            raise DataError(f"there is no row {row!r} in the index of this explanation.") from error
        if not isinstance(place, int):
            raise DataError(f"the index names several rows {row!r}; give each its own name with reset_index().")
        needed = ["row", "prediction", "probability", "base_value"]
        if getattr(self, "rows", None) is None or not {*needed} <= {*self.columns}:
            raise DataError("this table is not all of an explanation any more; ask the model again, and show a row of that.")
        values = self.iloc[place]
        shapley = {name.removeprefix(SHAPLEY): float(values[name]) for name in self.columns if name.startswith(SHAPLEY)}
        details = self.rows.details(int(values["row"]), str(values["prediction"]))
        numbers = float(values["probability"]), float(values["base_value"])
        return page.Html(page.row(str(row), str(values["prediction"]), *numbers, shapley, details))


@dataclass(frozen=True)
class ExplainedRows:
    """What `Explanation.show` needs to look at a row again."""

    ensemble: Ensemble
    dataset: Dataset
    cells: pd.DataFrame
    rereader: Rereader

    def details(self, at: int, name: str) -> RowDetails:
        """Of the row at a place, for a class by its name."""
        one = self.dataset.part(slice(at, at + 1))
        cells = self.cells.iloc[[at]].reset_index(drop=True)
        return row_details(self.ensemble, one, cells, self.ensemble.spec.classes.index(name), self.rereader)


def explain(
    ensemble: Ensemble,
    table: Source,
    *,
    of: str = "",
    paths: Mapping[str, str] | None = None,
    report: DataReport | None = None,
    log: Callable[[str], None] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Explanation:
    """Explains every row of a table by the mean of all folds.

    Args:
      ensemble: the finished folds.
      table: rows to predict, see `open_new_table`.
      of: class whose probability is explained; '': of each row the predicted one.
      paths: where photos and other files lie, by `PathOption.flag`.
      report: told of every problem.
      log: prints a line.
      advance: told how many more rows are explained.

    Raises:
      ConfigError: there is no class `of`.
      MmjaxError: as `open_new_table`.
    """
    classes = ensemble.spec.classes
    if of and of not in classes:
        raise ConfigError(f"the model has no class {of!r}; its classes are {', '.join(classes)}.")
    dataset = open_new_table(ensemble, table, report or DataReport(), paths=paths, log=log)
    class_N = np.full(len(dataset), classes.index(of)) if of else None
    answers = [FoldAnswers(ensemble, member, member.encoders.encode(dataset)) for member in ensemble.members]
    found = _table(shapley_values(answers, class_N, advance), ensemble)
    found.index = pd.Index(dataset.table.ids, name=ensemble.schema.id or None)
    cells = read_cells(table)
    if isinstance(table, pd.DataFrame):
        found.index = table.index
    found.rows = ExplainedRows(ensemble, dataset, cells, Rereader(ensemble, dict(paths or {})))
    return found


def _table(values: ShapleyValues, ensemble: Ensemble) -> Explanation:
    names = np.array(ensemble.spec.classes, object)
    found = {
        "row": np.arange(len(values.class_N)),
        "prediction": names[values.class_N],
        "probability": values.probability_N,
        "base_value": values.base_value_N,
        **{f"{SHAPLEY}{m}": values.value_NxM[:, i] for i, m in enumerate(ensemble.spec.modalities)},
    }
    return Explanation(found)
