"""`mmjax train`: cross-validates a config in a workdir."""

from collections.abc import Sequence
from pathlib import Path

from mmjax.cli.arguments import Parser
from mmjax.cli.own_table_options import add_own_table, own_table
from mmjax.configs import find, get_config, parse_overrides


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Raises:
      MmjaxError: as `cross_validate`.
    """
    parser = Parser("train", "Trains and cross-validates a config; the same command goes on with an existing workdir.")
    parser.add_config(required=False)
    parser.add_argument("--workdir", default="", help="folder of the run; runs/<config name> if left out")
    add_own_table(parser)
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
    own_data = own_table(parser, args)
    # Imported late: --help and a wrong flag answer at once, and the cache must be set before jax compiles.
    from mmjax.io import processes  # noqa: PLC0415
    from mmjax.own_table import cross_validate  # noqa: PLC0415
    from mmjax.train.budget.limit import seconds_of  # noqa: PLC0415

    if args.time_limit is not None:
        seconds_of(args.time_limit)  # refused before anything is read
    if args.distributed or args.coordinator:
        processes.start(args.coordinator, args.processes, args.process)
    workdir = Path(args.workdir or Path("runs") / find(args.config)[0].stem)
    config = {"config": args.config, "overrides": changes} if own_data else {"config": settings}
    shown = {"verbose": 2 if args.verbose else 1, "report": not args.no_report}
    cross_validate(**config, **own_data, workdir=workdir, time_limit=args.time_limit, **shown)
    return 0
