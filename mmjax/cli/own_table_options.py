"""Options that name a table of one's own, of `mmjax train` and `mmjax inspect`."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from mmjax.cli.arguments import Parser, existing_file
from mmjax.errors import ConfigError


def add_own_table(parser: Parser) -> None:
    """Adds the options, which `own_table` reads."""
    own = "a table of your own"
    parser.add_argument("--table", default="", help=f"{own}: CSV, JSON or Parquet file; instead of the config's data set")
    parser.add_argument("--label", default="", help=f"{own}: column to predict")
    parser.add_argument("--images", default="", help=f"{own}: folder of its photos; the table's own folder if left out")
    parser.add_argument("--schema", default="", help=f"{own}: TOML file that says what each column is; proposed if left out")


def own_table(parser: Parser, args: Namespace) -> dict[str, Any]:
    """What `mmjax.cross_validate` is told of a table of one's own; nothing without `--table`.

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
