"""`mmjax schema`: proposes which column of a table is what, and says why."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmjax.cli.arguments import Parser, existing_file
from mmjax.errors import ConfigError
from mmjax.io.atomic import write_text


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Raises:
      MmjaxError: a wrong argument, a table that cannot be read, or `--out` cannot be written.
    """
    parser = Parser("schema", "Proposes a schema for a table: a role for every column, and the reason.")
    parser.add_argument("table", help="CSV or Parquet file")
    parser.add_argument("--label", default="", help="column to predict")
    parser.add_argument("--out", default="", help="TOML file to write; printed if left out")
    args = parser.parse(arguments)
    file = existing_file(args.table, "table")
    out = Path(args.out) if args.out else None
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise ConfigError(f"schema: --out={out}: {'is a folder' if out.is_dir() else 'its folder is not there'}.")
    if out is not None and out.exists():  # it may have been edited by hand
        raise ConfigError(f"schema: --out={out}: is there already; delete it first, or name another file.")
    from mmjax.datasets.infer_schema import propose_schema  # noqa: PLC0415 - pandas or numpy are not needed to refuse an argument

    schema, reasons = propose_schema(file, label=args.label)
    console = Console()
    table = Table(title=f"{file.name}: proposed roles")
    for name in ("column", "role", "why"):
        table.add_column(name, overflow="fold")
    for column, role, why in reasons:
        table.add_row(column, role or "-", why)
    console.print(table)
    if not schema.label:
        print("No label yet: add --label=COLUMN, the column to predict; a classifier cannot be trained without.")
    if out is None:
        print(schema.dumps(), end="")
    else:
        write_text(out, schema.dumps())
        options = f"--config=recommended:table --config.data.table={file} --config.data.schema={out}"
        print(f"Written: {out}; look it over, then train with mmjax train --workdir=DIR {options}")
    return 0
