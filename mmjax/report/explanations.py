"""explanations.json of a workdir, where it is there: which modalities and columns count, what spoke for a prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmjax.io.workdir import damaged, read_json

EXPLANATIONS = "explanations.json"
HOW = "Nothing has been explained yet: `mmjax explain` on this workdir writes explanations.json, and the next report shows it."
_ADVICE = "delete it; the report is written without"


@dataclass(frozen=True)
class Importance:
    """What is lost if a modality or a column is shuffled among the held-out rows.

    Attributes:
      name: of the modality or column.
      kind: modality | column.
      fall, fall_std: of the task's first metric; mean and deviation over folds.
      rise_loss, rise_loss_std: of its loss.
    """

    name: str
    kind: str
    fall: float
    fall_std: float
    rise_loss: float
    rise_loss_std: float


@dataclass(frozen=True)
class RowExplanation:
    """What each modality added to a probability, and the probability without any."""

    base_value: float
    prediction: float
    shapley: Mapping[str, float]
    name: str


@dataclass(frozen=True)
class Explanations:
    """All that the file says; empty where there is none."""

    permutation: Sequence[Importance] = ()
    rows: Mapping[str, RowExplanation] = field(default_factory=dict)


def read_explanations(workdir: Path) -> Explanations:
    """The file's content.

    Raises:
      WorkdirError: it is damaged.
    """
    file = workdir / EXPLANATIONS
    if not file.exists():
        return Explanations()
    content = read_json(file, dict, _ADVICE)
    try:
        permutation = [_importance(entry) for entry in content.get("permutation", ())]
        rows = {str(name): _row(entry) for name, entry in content.get("rows", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(file, f"{type(error).__name__}: {error}", _ADVICE) from error
    return Explanations(permutation, rows)


def _importance(entry: Mapping[str, Any]) -> Importance:
    numbers = (float(entry[key]) for key in ("fall", "fall_std", "rise_loss", "rise_loss_std"))
    return Importance(str(entry["name"]), str(entry["kind"]), *numbers)


def _row(entry: Mapping[str, Any]) -> RowExplanation:
    shapley = {str(name): float(value) for name, value in entry["shapley"].items()}
    return RowExplanation(float(entry["base_value"]), float(entry["prediction"]), shapley, str(entry.get("class", "")))
