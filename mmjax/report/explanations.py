"""What a report says of why: importance of modalities and columns, and what spoke for its rows; kept in explanations.json."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.datasets.dataset import Dataset
from mmjax.datasets.locations import find_files
from mmjax.datasets.splits import FOLDS, load_folds
from mmjax.explain import Importance, permutation_importance
from mmjax.explain.answers import FoldAnswers
from mmjax.explain.cells import Rereader, read_cells
from mmjax.explain.details import row_details
from mmjax.explain.explanation import shapley_values
from mmjax.explain.pictures import data_uri
from mmjax.inference import Ensemble, Member
from mmjax.io.atomic import write_json
from mmjax.io.results import PREDICTIONS, content_key
from mmjax.new_table import open_training_table

EXPLANATIONS = "explanations.json"
HOW = "Nothing is explained here: the report was written with --no-explanations, or the table is not where it was."
_VERSION, _ROWS, _REPEATS = 1, 200, 2
"""Of the file; held-out rows a fold, and shuffles, that importance is measured with."""

Word = tuple[int, int, float]


@dataclass(frozen=True)
class RowExplanation:
    """What spoke for a class in one row, by the fold that did not see it.

    Attributes:
      name: of the class.
      base_value, prediction: its probability with nothing, and with all.
      shapley: what each modality added.
      effects: what each cell adds, by column.
      words: start, end and effect of the words of a text, by column.
      pictures: photos as data: URIs, marked where covering them changes the probability, by modality.
    """

    name: str
    base_value: float
    prediction: float
    shapley: Mapping[str, float]
    effects: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, Sequence[Word]] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanations:
    """All that the file says; empty where there is none."""

    permutation: Sequence[Importance] = ()
    rows: Mapping[str, RowExplanation] = field(default_factory=dict)


def find_explanations(workdir: Path, rows: Mapping[int, str], log: Callable[[str], None]) -> Explanations:
    """From explanations.json where it is of the same run and rows; else computed, and written there.

    Args:
      workdir: of the run.
      rows: those to explain, by number, with their ids.
      log: shows a line.

    Raises:
      MmjaxError: the table is not where it was, or a file is damaged.
    """
    file, key = workdir / EXPLANATIONS, content_key([workdir / PREDICTIONS], _VERSION, _ROWS, _REPEATS, sorted(rows))
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # whatever is wrong with it: it is made anew
        known = json.loads(file.read_text(encoding="utf-8"))
        if known["key"] == key:
            return _read(known)
    log("report: explaining held-out rows, once (explanations.json).")
    ensemble = Ensemble.load(workdir)
    dataset = open_training_table(ensemble)
    fold_N = load_folds(workdir / FOLDS, dataset.table.ids)
    permutation = permutation_importance(ensemble, dataset, fold_N, rows_per_fold=_ROWS, repeats=_REPEATS)
    explained = {}
    for member in ensemble.members:
        own = [row for row in sorted(rows) if fold_N[row] == member.number]
        explained |= {rows[row]: why for row, why in zip(own, _explain(ensemble, member, dataset, own), strict=True)}
    found = Explanations(permutation, explained)
    write_json(file, {"key": key, **_plain(found)})
    return found


def _explain(ensemble: Ensemble, member: Member, dataset: Dataset, rows: Sequence[int]) -> list[RowExplanation]:
    """Some held-out rows of one fold, each for the class that it predicts."""
    if not rows:
        return []
    arrays = {name: values[np.array(rows)] for name, values in member.encoders.encode(dataset).items()}
    values = shapley_values([FoldAnswers(ensemble, member, arrays)])
    cells = read_cells(find_files(ensemble.settings.data, ensemble.schema).table, np.array(rows))
    rereader, found = Rereader(ensemble), []
    for i, row in enumerate(rows):
        class_index = int(values.class_N[i])
        own = cells.iloc[[i]].reset_index(drop=True)
        details = row_details(ensemble, dataset.part(slice(row, row + 1)), own, class_index, rereader, [member])
        found.append(
            RowExplanation(
                name=ensemble.spec.classes[class_index],
                base_value=float(values.base_value_N[i]),
                prediction=float(values.probability_N[i]),
                shapley={m: float(v) for m, v in zip(ensemble.spec.modalities, values.value_NxM[i], strict=True)},
                effects={cell.column: cell.effect for cell in details.cells},
                words={cell.column: cell.words for cell in details.cells if cell.words},
                pictures={p.modality: data_uri(p.overlay(p.occlusion)) for p in details.pictures},
            )
        )
    return found


def _plain(found: Explanations) -> dict[str, Any]:
    return {"permutation": [asdict(i) for i in found.permutation], "rows": {k: asdict(r) for k, r in found.rows.items()}}


def _read(known: Mapping[str, Any]) -> Explanations:
    rows = {name: RowExplanation(**values) for name, values in known["rows"].items()}
    return Explanations([Importance(**values) for values in known["permutation"]], rows)
