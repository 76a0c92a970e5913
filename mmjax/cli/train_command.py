"""`mmjax train`: cross-validates a config in a workdir."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmjax.cli.arguments import Parser, existing_file
from mmjax.configs import find, get_config, parse_overrides
from mmjax.errors import ConfigError


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Raises:
      MmjaxError: as `cross_validate`.
    """
    parser = Parser("train", "Trains and cross-validates a config; the same command goes on with an existing workdir.")
    parser.add_config(required=False)
    parser.add_argument("--workdir", default="", help="folder of the run; runs/<config name> if left out")
    own = "a table of your own"
    parser.add_argument("--table", default="", help=f"{own}: CSV, JSON or Parquet file; instead of the config's data set")
    parser.add_argument("--label", default="", help=f"{own}: column to predict")
    parser.add_argument("--images", default="", help=f"{own}: folder of its photos; the table's own folder if left out")
    parser.add_argument("--schema", default="", help=f"{own}: TOML file that says what each column is; proposed if left out")
    parser.add_argument("--time-limit", default=None, help="such as 10m: folds, epochs, sizes are cut to train in that time")
    parser.add_argument("--verbose", action="store_true", help="plans, and a line an epoch, too")
    parser.add_argument("--no-report", action="store_true", help="writes no report.html at the end")
    several = "several processes train one run"
    parser.add_argument("--distributed", action="store_true", help=f"{several}, found from SLURM, Kubernetes, TPU, ...")
    parser.add_argument("--coordinator", default="", help=f"{several}: HOST:PORT of process 0")
    parser.add_argument("--processes", type=int, default=0, help=f"{several}: how many")
    parser.add_argument("--process", type=int, default=-1, help=f"{several}: which one this is, from 0")
    args, overrides = parser.parse_with_overrides(arguments)
    if not args.config and not args.table:
        parser.error("the following arguments are required: --config")
    args.config = args.config or "recommended"
    changes = parse_overrides(overrides)
    settings = get_config(args.config, changes)
    own_data = _own_data(parser, args)
    # Imported late: --help and a wrong flag answer at once, and the cache must be set before jax compiles.
    from mmjax.io import processes  # noqa: PLC0415
    from mmjax.own_table import cross_validate  # noqa: PLC0415
    from mmjax.train.time_limit import seconds_of  # noqa: PLC0415

    if args.time_limit is not None:
        seconds_of(args.time_limit)  # refused before anything is read
    if args.distributed or args.coordinator:
        processes.start(args.coordinator, args.processes, args.process)
    workdir = Path(args.workdir or Path("runs") / find(args.config)[0].stem)
    config = {"config": args.config, "overrides": changes} if own_data else {"config": settings}
    shown = {"verbose": 2 if args.verbose else 1, "report": not args.no_report}
    cross_validate(**config, **own_data, workdir=workdir, time_limit=args.time_limit, **shown)
    return 0


def _own_data(parser: Parser, args: Namespace) -> dict[str, Any]:
    """What `cross_validate` is told of a table of one's own; nothing without `--table`.

    Raises:
      ConfigError: there is no such file or folder, or an option without its table.
    """
    given = {name: getattr(args, name) for name in ("label", "images", "schema") if getattr(args, name)}
    if not args.table:
        if given:
            parser.error(f"--{next(iter(given))} belongs to a table: name it with --table")
        return {}
    table = existing_file(args.table, "table")
    if not args.label and not args.schema:
        parser.error("--table needs --label=COLUMN, the column to predict, or a --schema that names it")
    if args.images and not Path(args.images).is_dir():
        raise ConfigError(f"{args.images}: there is no such folder of photos; check --images.")
    if args.schema:
        existing_file(args.schema, "schema")
    return {"table": table, **given}
