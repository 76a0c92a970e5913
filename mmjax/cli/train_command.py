"""`mmjax train`: cross-validates a config in a work folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from mmjax.cli.config_flags import joined, read_flags

USAGE = "mmjax train --config=configs/X.py[:variant] --workdir=DIR [--config.key=value]"


def main(arguments: Sequence[str]) -> int:
    """Runs the command."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("workdir", "", "work folder; empty: runs/<config name>", flag_values=values)
        several = "several processes train one run: "
        flags.DEFINE_bool("distributed", False, f"{several}found from SLURM, Kubernetes, TPU, ...", flag_values=values)
        flags.DEFINE_string("coordinator", "", f"{several}HOST:PORT of process 0", flag_values=values)
        flags.DEFINE_integer("processes", 0, f"{several}how many", flag_values=values)
        flags.DEFINE_integer("process", -1, f"{several}which one this is, from 0", flag_values=values)

    settings, values = read_flags("train", arguments, define, USAGE)
    named = next((a.split("=", 1)[1] for a in joined(arguments) if a.startswith("--config=")), "run")
    workdir = values["workdir"].value or str(Path("runs") / Path(named.split(":")[0]).stem)
    # Imported late: --help and a wrong flag answer at once, and the cache must be set before jax compiles.
    from mmjax.cli.closing_table import print_summary  # noqa: PLC0415
    from mmjax.io import processes  # noqa: PLC0415
    from mmjax.train import cross_validation  # noqa: PLC0415
    from mmjax.train.execution import runtime  # noqa: PLC0415

    runtime.set_up(settings)
    if values["distributed"].value or values["coordinator"].value:
        given: Any = [values[name].value for name in ("coordinator", "processes", "process")]  # absl knows no types
        processes.start(*given)
    summary = cross_validation.cross_validate(settings, workdir, runtime.log)
    if processes.is_primary():
        print_summary(summary)
    return 0
