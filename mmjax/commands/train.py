"""`mmjax train`: cross-validates a config in a work folder."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from mmjax.commands.config import read_flags

USAGE = "mmjax train --config=configs/X.py[:variant] --workdir=DIR [--config.key=value]"


def main(arguments: Sequence[str]) -> int:
    """Runs the command."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("workdir", "", "work folder; empty: runs/<config name>", flag_values=values)

    settings, values = read_flags("train", arguments, define, USAGE)
    named = next((a.split("=", 1)[1] for a in arguments if a.startswith("--config=")), "run")
    workdir = values["workdir"].value or str(Path("runs") / Path(named.split(":")[0]).stem)
    # Imported late: --help and a wrong flag answer at once, and the cache must be set before jax compiles.
    from mmjax.train import crossval, runtime  # noqa: PLC0415
    from mmjax.train.results import print_summary  # noqa: PLC0415

    runtime.set_up()
    print_summary(crossval.crossval(settings, workdir, runtime.say))
    return 0
