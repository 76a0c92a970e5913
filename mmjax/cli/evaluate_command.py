"""`mmjax evaluate`: restores every finished fold and scores its held-out rows again, or a labelled table with all folds."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from mmjax.cli.arguments import Parser, existing_file, given_paths

if TYPE_CHECKING:  # jax is imported late
    from mmjax.data.data_report import DataReport
    from mmjax.inference import Ensemble

TOLERANCE = 1e-6
"""What another device or another number of threads may change in the last digits; the same machine gives the same bits."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command: 1 where the numbers differ from summary.json.

    Raises:
      MmjaxError: a wrong argument, workdir or table.
    """
    parser = Parser("evaluate", "Scores a workdir's folds on their held-out rows, or on a labelled table as an ensemble.")
    parser.add_argument("--workdir", required=True, help="as given to train")
    parser.add_argument("--data", default="", help="labelled table (CSV or Parquet); the folds' own held-out rows if left out")
    parser.add_paths()
    parser.add_argument("--root", default="", help="where the data set has moved since training")
    parser.add_argument("--json", action="store_true", help="prints JSON alone")
    args = parser.parse(arguments)
    if args.data:
        existing_file(args.data, "table")
    elif paths := [flag for flag, path in given_paths(args).items() if path]:
        parser.error(f"--{paths[0]} belongs to a table: name it with --data")
    from mmjax.data.data_report import DataReport  # noqa: PLC0415
    from mmjax.inference import Ensemble, load_settings  # noqa: PLC0415 - jax is imported once the arguments are known to be right
    from mmjax.train.execution import runtime  # noqa: PLC0415

    runtime.set_up(load_settings(Path(args.workdir)))
    ensemble = Ensemble.load(args.workdir)
    if args.root:
        data = replace(ensemble.settings.data, root=args.root)
        ensemble.settings = replace(ensemble.settings, data=data)
    report = DataReport()
    found = _score(ensemble, args, report) if args.data else _again(ensemble, Path(args.workdir))
    if args.json:
        print(json.dumps(found))
    else:
        _print(found, report.summary_lines())
    if args.data:
        report.write(_report_of(args))
        if not args.json:
            print(f"What was wrong with the rows: {_report_of(args)}")
    return 0 if found.get("equal", True) else 1


def _again(ensemble: "Ensemble", workdir: Path) -> dict[str, Any]:
    """The folds' own held-out rows, and whether the metrics are those of summary.json."""
    from mmjax.datasets.splits import FOLDS, load_folds  # noqa: PLC0415
    from mmjax.io.results import read_summary  # noqa: PLC0415
    from mmjax.new_table import open_training_table  # noqa: PLC0415
    from mmjax.tasks import metrics  # noqa: PLC0415

    dataset = open_training_table(ensemble)
    found = ensemble.held_out(dataset, load_folds(workdir / FOLDS, dataset.table.ids))
    recorded = {fold: done["metrics"] for fold, done in read_summary(workdir)["by_fold"].items()}
    differ = [
        f"fold {fold}: {name} is {value!r} and was {recorded.get(str(fold), {}).get(name)!r}"
        for fold, values in found.items()
        for name, value in values.items()
        if not _equal(value, recorded.get(str(fold), {}).get(name))
    ]
    by_fold = {str(fold): values for fold, values in found.items()}
    head = {"dataset": dataset.name, "rows": "held out", "by_fold": by_fold}
    return {**head, **metrics.summarise(list(found.values())), "equal": not differ, "differ": differ}


def _equal(value: float, recorded: object) -> bool:
    return isinstance(recorded, int | float) and abs(value - recorded) <= TOLERANCE


def _score(ensemble: "Ensemble", args: Any, report: "DataReport") -> dict[str, Any]:
    """A labelled table by the mean of the folds, and by each fold alone."""
    import numpy as np  # noqa: PLC0415

    from mmjax.new_table import open_new_table  # noqa: PLC0415
    from mmjax.tasks import metrics  # noqa: PLC0415
    from mmjax.tasks.metrics import classification_metrics  # noqa: PLC0415

    dataset = open_new_table(ensemble, Path(args.data), report, paths=given_paths(args), labelled=True)
    label_N = dataset.label
    predictions = ensemble.predict(dataset)
    by_fold = {
        str(member.number): classification_metrics(label_N, p_NxK.astype(np.float64), ensemble.spec.ordered)
        for member, p_NxK in zip(ensemble.members, predictions.by_fold, strict=True)
    }
    return {
        "dataset": str(args.data),
        "rows": len(label_N),
        "rows_scored": int(np.sum(label_N >= 0)),
        "rows_trained_on": _trained_on(Path(args.workdir), dataset.table.ids, ensemble),
        "ensemble": classification_metrics(label_N, predictions.probabilities, ensemble.spec.ordered),
        "by_fold": by_fold,
        **metrics.summarise(list(by_fold.values())),
        "data_report": report.counts(),
        "data_report_file": str(_report_of(args)),
    }


def _report_of(args: Any) -> Path:
    return Path(args.workdir) / f"evaluate_{Path(args.data).name}.report.json"


def _trained_on(workdir: Path, ids: Any, ensemble: "Ensemble") -> int:
    """Rows whose id is in the training table: the ensemble has seen their labels. Numbered rows are not compared."""
    from mmjax.datasets.splits import FOLDS, read_folds  # noqa: PLC0415

    if not ensemble.schema.id:
        return 0
    names, fold_N = read_folds(workdir / FOLDS)
    trained = {name for name, fold in zip(names, fold_N.tolist(), strict=True) if fold >= 0}
    return sum(str(name) in trained for name in ids)


def _print(found: dict[str, Any], report_lines: Sequence[str]) -> None:
    from mmjax.tasks import metrics  # noqa: PLC0415

    names: list[str] = list(found["mean"])
    console = Console()
    table = Table(title=f"{found['dataset']}: {found['rows']} rows")
    table.add_column("fold")
    for name in names:
        table.add_column(metrics.title(name), justify="right")
    for fold, values in found["by_fold"].items():
        table.add_row(fold, *(metrics.show(n, values[n]) for n in names))
    table.add_section()
    table.add_row("mean ± std", *(metrics.show(n, found["mean"][n], found["std"][n]) for n in names))
    if "ensemble" in found:
        table.add_row("ensemble", *(metrics.show(n, found["ensemble"][n]) for n in names))
    console.print(table)
    if found.get("rows_scored", found["rows"]) != found["rows"]:
        left = found["rows"] - found["rows_scored"]
        console.print(f"{left} rows have no label among the model's classes and are not scored.", soft_wrap=True)
    if seen := found.get("rows_trained_on"):
        console.print(f"{seen} rows have the id of a training row: the folds have seen their labels.", soft_wrap=True)
    for line in report_lines:
        print(line)  # rich would take a value in brackets for a style
    if found.get("equal") is True:
        console.print("Equal to summary.json.")
    elif found.get("equal") is False:
        console.print(f"Not equal to summary.json: {'; '.join(found['differ'])}.", soft_wrap=True)
