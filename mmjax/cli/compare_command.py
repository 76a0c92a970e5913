"""`mmjax compare`: several runs on the same folds."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from mmjax.cli.arguments import Parser
from mmjax.errors import ConfigError


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Raises:
      ConfigError: an argument is wrong.
      WorkdirError: a workdir is not finished, or rows or folds differ.
    """
    parser = Parser("compare", "Several runs on the same folds in one table: means, and differences to the first, tested.")
    parser.add_argument("workdirs", nargs="+", metavar="WORKDIR", help="as given to train; the first is compared with")
    parser.add_argument("--out", default="", help="also writes a page with plots, such as compare.html")
    args = parser.parse(arguments)
    out = Path(args.out)
    if args.out and (out.is_dir() or not out.parent.is_dir()):
        raise ConfigError(f"compare: --out={out}: is a folder, or is in none that is there; name a file.")
    from mmjax.report import comparison  # noqa: PLC0415 - jax is imported once the arguments are known to be right
    from mmjax.train.run_tables import make_console  # noqa: PLC0415

    lines = comparison.compare_runs(args.workdirs)
    shown, found = Table(title=f"{len(args.workdirs)} runs on the same folds"), comparison.table(lines)
    for number, name in enumerate(found.head):
        shown.add_column(name, justify="left" if number in found.words else "right", no_wrap=number != 1)
    for row in found.rows:
        shown.add_row(*map(Text, row), end_section=False)
    console = make_console()
    console.print(shown)
    console.print(found.caption)
    if args.out:
        comparison.write_page(lines, out)
        console.print(f"Written: {out}", highlight=False)
    return 0
