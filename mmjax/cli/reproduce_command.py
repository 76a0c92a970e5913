"""`mmjax reproduce`: runs the rows of the paper's Table 1 or 2 and sets ours beside the paper's."""

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mmjax import configs
from mmjax.cli.arguments import Parser
from mmjax.config import Settings
from mmjax.errors import ConfigError, WorkdirError
from mmjax.reproduce.paper import TABLES, PaperRow
from mmjax.reproduce.table_report import Report, RowReport

TIMES = "times.json"


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Raises:
      ConfigError: an argument is wrong; nothing was run.
      MmjaxError: as training.
    """
    args, overrides = _parser().parse_with_overrides(arguments)
    if args.root:
        overrides = [f"--config.data.root={args.root}", *overrides]
    folder, changes = Path(args.configs) if args.configs else configs.FOLDER, configs.parse_overrides(overrides)
    chosen = _rows(args.table, args.rows)
    variant = args.dataset
    if args.table == "table2" and variant.split("+")[0] == "petfinder_features":
        raise ConfigError("reproduce: table2 reconstructs photos: petfinder_features has no photos; use petfinder.")
    names = {row.number: row.config_file(variant) for row in chosen}
    # All configs are read before the first row is trained, so that a typo costs nothing.
    settings = {n: configs.get_config(str(folder / name), changes) for n, name in names.items()}
    # Imported late: --help and a wrong argument answer at once.
    from mmjax.io.workdir import environment  # noqa: PLC0415
    from mmjax.train.execution import runtime  # noqa: PLC0415

    runtime.set_up(*settings.values())
    command = shlex.join(["mmjax", "reproduce", *arguments])
    report = Report(args.table, args.dataset, [], environment(), command, _notes(args.dataset))
    for row in chosen:
        runtime.say(f"{args.table} row {row.number}: configs/{names[row.number]}")
        report.rows.append(_run(Path(args.workdir), row, names[row.number], settings[row.number], runtime.say))
        report.write(Path(args.workdir))  # after every row: a long table shows what it has
    console = Console() if sys.stdout.isatty() else Console(width=150)  # a log file has room for whole numbers
    head, body = report.cells()
    console.print(_table(f"{args.table} on {args.dataset}", head, body))
    head, body = report.pair_cells()
    if body:
        console.print(_table("paired differences, corrected resampled t-test", head, body))
    runtime.say(f"Written: report.md, report.json and plot.png in {args.workdir}")
    return 0


def _parser() -> Parser:
    parser = Parser("reproduce", "Runs the rows of the paper's Table 1 or 2 (resumable), paper vs ours, with a paired test.")
    parser.add_argument("table", choices=sorted(TABLES))
    parser.add_argument(
        "--dataset", default="synthetic", help="variant of mmjax/configs/base.py, such as petfinder or fashion+grouped"
    )
    parser.add_argument("--root", default="", help="folder of the data set")
    parser.add_argument("--workdir", required=True, help="row k is trained in WORKDIR/row<k>; the report goes into WORKDIR")
    parser.add_argument("--rows", default="", help="row numbers, such as 1,2,6; all if left out")
    parser.add_argument("--configs", default="", help="folder of the config files; the package's if left out")
    parser.epilog = "--config.key=value overrides a setting in every row."
    return parser


def _rows(table: str, text: str) -> list[PaperRow]:
    known = {row.number: row for row in TABLES[table]}
    if not text:
        return list(known.values())
    chosen = []
    for part in text.split(","):
        if not part.strip().isdigit() or int(part) not in known:
            raise ConfigError(f"reproduce: --rows={text}: {part!r} is not a row of {table}; use 1 to {max(known)}.")
        chosen.append(int(part))
    return [known[n] for n in sorted(set(chosen))]


def _notes(dataset: str) -> list[str]:
    notes = ["Time is wall time on one machine, compilation included; a killed session's time is not counted."]
    if dataset.startswith("petfinder_features"):
        notes.append("`image` stands for ready-made image vectors here: this data set has no photos.")
    if "grouped" in dataset:
        notes.append("Folds are grouped: no value of the group column is in two folds (the paper's folds are not).")
    return notes


def _run(workdir: Path, row: PaperRow, name: str, settings: Settings, say: Callable[[str], None]) -> RowReport:
    from mmjax.data.splits import read_folds  # noqa: PLC0415
    from mmjax.train import cross_validation as crossval  # noqa: PLC0415

    folder = workdir / f"row{row.number}"
    with _timed(workdir, folder, settings):
        summary = crossval.crossval(settings, folder, say)
    fold_file = folder / "folds.csv"
    _, fold_N = read_folds(fold_file)
    test_rows = np.count_nonzero(fold_N >= 0) / settings.cv.folds
    return RowReport(
        paper=row,
        config=f"configs/{name}",
        workdir=folder.name,
        summary=summary,
        seconds=_times(workdir).get(folder.name, 0.0),
        train_rows=test_rows * (settings.cv.folds - 1),
        test_rows=test_rows,
        folds_digest=hashlib.sha256(fold_file.read_bytes()).hexdigest(),
    )


@contextmanager
def _timed(workdir: Path, folder: Path, settings: Settings) -> Iterator[None]:
    """Adds the block's wall time to the row's, unless the row was finished before."""
    from mmjax.io.workdir import atomic_write_json  # noqa: PLC0415

    chosen = settings.cv.only or range(settings.cv.folds)
    finished = all((folder / f"fold_{f}" / "done.json").exists() for f in chosen)
    start = time.monotonic()
    try:
        yield
    finally:
        if not finished:
            times = _times(workdir)
            times[folder.name] = times.get(folder.name, 0.0) + time.monotonic() - start
            atomic_write_json(workdir / TIMES, times)


def _times(workdir: Path) -> dict[str, float]:
    file = workdir / TIMES
    try:
        seconds = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return {str(name): float(value) for name, value in seconds.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WorkdirError(f"{file}: cannot be read ({error}); delete it, the rows' times are lost then.") from error


def _table(title: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title)
    for name in head:
        words = name in ("#", "inputs", "fusion", "rows")
        table.add_column(name, justify="left" if words else "right", no_wrap=not words)
    for line in body:
        table.add_row(*line)
    return table
