"""`mmjax reproduce`: runs the rows of the paper's Table 1 or 2 and sets ours beside the paper's."""

import hashlib
import json
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mmjax import configs
from mmjax.cli.arguments import Parser
from mmjax.config import Settings
from mmjax.errors import ConfigError, WorkdirError
from mmjax.reproduce.paper import TABLES, PaperRow
from mmjax.reproduce.row_report import RowReport
from mmjax.reproduce.table_report import Report
from mmjax.train.run_tables import make_console

BASELINES = "baselines"


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Raises:
      ConfigError: an argument is wrong; nothing was run.
      MmjaxError: as training.
    """
    parser = Parser("reproduce", "Runs the rows of the paper's Table 1 or 2 (resumable), paper vs ours, with a paired test.")
    parser.add_argument("table", choices=[*sorted(TABLES), BASELINES], help=f"{BASELINES}: simple models on the same folds")
    parser.add_argument("--dataset", default="synthetic", help="variant of mmjax/configs/base.py, such as fashion+grouped")
    parser.add_argument("--root", default="", help="folder of the data set")
    parser.add_argument("--workdir", required=True, help="row k is trained in WORKDIR/row<k>; the report goes into WORKDIR")
    parser.add_argument("--rows", default="", help="row numbers, such as 1,2,6; all if left out")
    parser.add_argument("--configs", default=str(configs.FOLDER), help="folder of the config files; the package's if left out")
    parser.epilog = "--config.key=value overrides a setting in every row."
    args, overrides = parser.parse_with_overrides(arguments)
    changes = ({"data.root": args.root} if args.root else {}) | configs.parse_overrides(overrides)
    if args.table == "table2" and args.dataset.split("+")[0] == "petfinder_features":
        raise ConfigError("reproduce: table2 reconstructs photos: petfinder_features has no photos; use petfinder.")
    if args.table == BASELINES:
        # Logistic regression as a baseline of its own, however large the table.
        changes = {"data.linear_rows": 1 << 40, "data.linear_characters": 1e18} | changes
        return _baselines(configs.get_config(f"recommended:{args.dataset}", changes), Path(args.workdir))
    # All configs are read before the first row is trained, so that a typo costs nothing.
    files = {row: row.config_file(args.dataset) for row in _rows(args.table, args.rows)}
    rows = {row: configs.get_config(f"{args.configs}/{name}", changes) for row, name in files.items()}
    # Imported late: --help and a wrong argument answer at once.
    from mmjax.io.environment import environment  # noqa: PLC0415
    from mmjax.train.execution import runtime  # noqa: PLC0415

    runtime.set_up(*rows.values())
    command = shlex.join(["mmjax", "reproduce", *arguments])
    notes = _notes(args.dataset, max(settings.cv.repeats for settings in rows.values()))
    report, workdir = Report(args.table, args.dataset, [], environment(), command, notes), Path(args.workdir)
    for row, settings in rows.items():
        runtime.log(f"{args.table} row {row.number}: configs/{files[row]}")
        report.rows.append(_run(workdir, row, files[row], settings))
        report.write(workdir)  # after every row: a long table shows what it has
    _show(report, runtime.log)
    runtime.log(f"Written: report.md, report.json and plot.png in {workdir}")
    return 0


def _show(report: Report, log: Callable[[str], None]) -> None:
    console = make_console()
    over = f", mean ± standard deviation over {report.over}" if report.rows[0].repeats > 1 else ""
    _print(console, f"{report.table} on {report.dataset}{over}", *report.cells())
    if verdicts := report.verdicts():
        log("\n".join(["The paper's claims:", *(f"- {verdict.sentence}" for verdict in verdicts)]))
    _print(console, "paired differences, corrected resampled t-test", *report.pair_cells())


def _baselines(settings: Settings, workdir: Path) -> int:
    from mmjax.datasets.dataset import group_column  # noqa: PLC0415
    from mmjax.io.atomic import write_json  # noqa: PLC0415
    from mmjax.reproduce.baselines import NAMES, open_for_baselines, run_baselines  # noqa: PLC0415
    from mmjax.tasks.classification import Classification  # noqa: PLC0415
    from mmjax.tasks.metrics import show, summarise  # noqa: PLC0415
    from mmjax.train.execution import runtime  # noqa: PLC0415

    dataset, fold_N = open_for_baselines(settings, runtime.log)
    found = run_baselines(dataset, fold_N, group_column(settings.cv.group, dataset.schema), runtime.log)
    summaries = {name: summarise(list(by_fold.values())) for name, by_fold in found.items()}
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / "baselines.json", {n: {**summaries[n], "by_fold": found[n]} for n in found})
    titles = {m: title for m, title in Classification.titles.items() if all(m in s["mean"] for s in summaries.values())}
    body = [[NAMES[n], *(show(m, s["mean"][m], s["std"][m]) for m in titles)] for n, s in summaries.items()]
    _print(make_console(), f"baselines on {dataset.name}", ["rows", *titles.values()], body)
    runtime.log(f"Written: {workdir / 'baselines.json'}")
    return 0


def _rows(table: str, text: str) -> list[PaperRow]:
    known = {str(row.number): row for row in TABLES[table]}
    chosen = {part.strip() for part in text.split(",")} if text else set(known)
    if unknown := chosen - set(known):
        raise ConfigError(f"reproduce: --rows={text}: {min(unknown)!r} is not a row of {table}; use 1 to {len(known)}.")
    return [row for number, row in known.items() if number in chosen]


def _notes(dataset: str, repeats: int) -> list[str]:
    notes = ["Time is wall time on one machine, compilation included; a killed session's time is not counted."]
    if repeats > 1:
        notes.append("Times are of all seeds together.")
    if dataset.startswith("petfinder_features"):
        notes.append("`image` stands for ready-made image vectors here: this data set has no photos.")
    if "grouped" in dataset:
        notes.append("Folds are grouped: no value of the group column is in two folds (the paper's folds are not).")
    return notes


def _run(workdir: Path, row: PaperRow, name: str, settings: Settings) -> RowReport:
    from mmjax.datasets.splits import FOLDS, read_folds  # noqa: PLC0415
    from mmjax.io.atomic import write_json  # noqa: PLC0415
    from mmjax.train import cross_validation  # noqa: PLC0415
    from mmjax.train.execution import runtime  # noqa: PLC0415

    folder, seconds = workdir / f"row{row.number}", _times(workdir)
    folders, folds = cross_validation.repeat_folders(folder, settings.cv.repeats), settings.cv.only or range(settings.cv.folds)
    finished = all((repeat / f"fold_{f}" / "done.json").exists() for repeat in folders for f in folds)
    start = time.monotonic()
    try:
        summary = cross_validation.cross_validate(settings, folder, runtime.log)
    finally:
        if not finished:
            seconds[folder.name] = seconds.get(folder.name, 0.0) + time.monotonic() - start
            write_json(workdir / "times.json", seconds)
    _, fold_N = read_folds(folder / FOLDS)
    test_rows = np.count_nonzero(fold_N >= 0) / settings.cv.folds
    train_rows, took = test_rows * (settings.cv.folds - 1), seconds.get(folder.name, 0.0)
    digests = tuple(hashlib.sha256((repeat / FOLDS).read_bytes()).hexdigest() for repeat in folders)
    return RowReport(row, f"configs/{name}", folder.name, summary, took, train_rows, test_rows, digests)


def _times(workdir: Path) -> dict[str, float]:
    file = workdir / "times.json"
    try:
        seconds = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return {str(name): float(value) for name, value in seconds.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WorkdirError(f"{file}: cannot be read ({error}); delete it, the rows' times are lost then.") from error


def _print(console: Console, title: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> None:
    table = Table(title=title)
    for name in head:
        words = name in ("#", "inputs", "fusion", "rows")
        table.add_column(name, justify="left" if words else "right", no_wrap=not words)
    for line in body:
        table.add_row(*line)
    if body:
        console.print(table)
