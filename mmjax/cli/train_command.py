"""`mmjax train`: cross-validates a config in a workdir."""

from collections.abc import Sequence
from pathlib import Path

from mmjax.cli.arguments import Parser
from mmjax.configs import find


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Raises:
      MmjaxError: as `cross_validate`.
    """
    parser = Parser("train", "Trains and cross-validates a config; the same command goes on with an existing workdir.")
    parser.add_config()
    parser.add_argument("--workdir", default="", help="folder of the run; runs/<config name> if left out")
    parser.add_argument("--verbose", action="store_true", help="plans, and a line an epoch, too")
    parser.add_argument("--no-report", action="store_true", help="writes no report.html at the end")
    several = "several processes train one run"
    parser.add_argument("--distributed", action="store_true", help=f"{several}, found from SLURM, Kubernetes, TPU, ...")
    parser.add_argument("--coordinator", default="", help=f"{several}: HOST:PORT of process 0")
    parser.add_argument("--processes", type=int, default=0, help=f"{several}: how many")
    parser.add_argument("--process", type=int, default=-1, help=f"{several}: which one this is, from 0")
    args, settings = parser.parse_config(arguments)
    # Imported late: --help and a wrong flag answer at once, and the cache must be set before jax compiles.
    from mmjax.io import processes  # noqa: PLC0415
    from mmjax.own_table import cross_validate  # noqa: PLC0415

    if args.distributed or args.coordinator:
        processes.start(args.coordinator, args.processes, args.process)
    workdir = Path(args.workdir or Path("runs") / find(args.config)[0].stem)
    cross_validate(settings, workdir=workdir, verbose=2 if args.verbose else 1, report=not args.no_report)
    return 0
