"""`mmjax evaluate`: restores every finished fold and scores its held-out rows again, or a labelled table with all folds."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from mmjax.commands.arguments import Parser, existing_file
from mmjax.errors import WorkdirError

if TYPE_CHECKING:  # jax is imported late
    from mmjax.ensemble import Ensemble

TOLERANCE = 1e-6
"""What another device or another number of threads may change in the last digits; the same machine gives the same bits."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command: 1 where the numbers differ from summary.json.

    Raises:
      MmjaxError: a wrong argument, work folder or table.
    """
    parser = Parser("evaluate", "Scores a work folder's folds on their held-out rows, or on a labelled table as an ensemble.")
    parser.add_argument("--workdir", required=True, help="as given to train")
    parser.add_argument("--data", default="", help="labelled CSV file; the folds' own held-out rows if left out")
    parser.add_argument("--images", default="", help="folder of its photos; as in training if left out")
    parser.add_argument("--features", default="", help=".npz of its image vectors; as in training if left out")
    parser.add_argument("--root", default="", help="where the data set has moved since training")
    parser.add_argument("--json", action="store_true", help="prints JSON alone")
    args = parser.parse(arguments)
    if args.data:
        existing_file(args.data, "table")
    from mmjax.ensemble import Ensemble  # noqa: PLC0415 - jax is imported once the arguments are known to be right
    from mmjax.train import runtime  # noqa: PLC0415

    runtime.set_up()
    ensemble = Ensemble.load(args.workdir)
    if args.root:
        data = replace(ensemble.settings.data, root=args.root)
        ensemble.settings = replace(ensemble.settings, data=data)
    if args.data:
        found = _score(ensemble, args)
    else:
        found = _again(ensemble, Path(args.workdir))
    if args.json:
        print(json.dumps(found))
    else:
        _print(found)
    return 0 if found.get("equal", True) else 1
