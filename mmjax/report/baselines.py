"""Simple models on a run's folds, trained once and kept in its workdir as baselines.json."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mmjax.config import Settings
from mmjax.datasets.splits import FOLDS
from mmjax.io.atomic import write_json
from mmjax.io.results import content_key
from mmjax.io.workdir import SCHEMA
from mmjax.reproduce.baselines import NAMES, baselines_of_run
from mmjax.schema import Schema

BASELINES, MOST_ROWS = "baselines.json", 20_000
"""Training rows of a fold: more are sampled."""
_VERSION, _FILES = 1, ("data_fingerprint.json", FOLDS, SCHEMA)
"""Of baselines.json; what it depends on."""


@dataclass(frozen=True)
class Baseline:
    """A simple model's metrics by fold."""

    name: str
    by_fold: Mapping[str, Mapping[str, float]]


def find_baselines(workdir: Path, settings: Settings, folds: Sequence[int], log: Callable[[str], None]) -> list[Baseline]:
    """From baselines.json where it is of the same data, folds and schema; else trained, and written there.

    Raises:
      MmjaxError: the data are not where they were.
    """
    file, key = workdir / BASELINES, content_key([workdir / name for name in _FILES], _VERSION, MOST_ROWS, list(folds))
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # whatever is wrong with it: it is made anew
        known = json.loads(file.read_text(encoding="utf-8"))
        if known["key"] == key:
            return [_baseline(name, by_fold) for name, by_fold in known["by_fold"].items()]
    log("report: training simple baselines on the same folds, once (baselines.json).")
    schema = Schema.load(workdir / SCHEMA)
    found = baselines_of_run(settings, schema, workdir / FOLDS, lambda line: None, only=tuple(folds), most_rows=MOST_ROWS)
    plain = {name: {str(f): values for f, values in by_fold.items()} for name, by_fold in found.items()}
    write_json(file, {"key": key, "most_rows": MOST_ROWS, "by_fold": plain})
    return [_baseline(name, by_fold) for name, by_fold in plain.items()]


def known_baselines(workdir: Path) -> list[Baseline]:
    """Those of baselines.json; none where it is not there."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        known = json.loads((workdir / BASELINES).read_text(encoding="utf-8"))
        return [_baseline(name, by_fold) for name, by_fold in known["by_fold"].items()]
    return []


def _baseline(name: str, by_fold: Mapping[str, Mapping[str, float]]) -> Baseline:
    return Baseline(NAMES[name], {fold: {m: float(v) for m, v in values.items()} for fold, values in by_fold.items()})
