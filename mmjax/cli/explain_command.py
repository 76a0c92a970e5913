"""`mmjax explain`: what each modality, cell, word and patch of a photo adds to the predictions of a table's rows."""

from collections.abc import Sequence
from pathlib import Path

from mmjax.cli.arguments import Parser, existing_file, given_paths
from mmjax.errors import ConfigError
from mmjax.io.atomic import write_text

_PAGE = (".html", ".htm")


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Raises:
      MmjaxError: a wrong argument, workdir or table, or OUT cannot be written.
    """
    args = _parser().parse(arguments)
    data, out = existing_file(args.data, "table"), Path(args.out)
    if out.suffix.lower() not in (".csv", *_PAGE):
        raise ConfigError(f"explain: --out={out}: name a .csv file (a line a row) or an .html file (each row to look at).")
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(
            f"explain: --out={out}: {'is a folder' if out.is_dir() else 'its folder is not there; make it first'}."
        )
    if out.exists() and out.samefile(data):
        raise ConfigError(f"explain: --out={out}: is the input itself; name another.")
    if args.rows < 1:
        raise ConfigError(f"explain: --rows={args.rows}: must be at least 1.")
    import pandas as pd  # noqa: PLC0415

    # jax is imported once the arguments are known to be right
    from mmjax.data.data_report import DataReport  # noqa: PLC0415
    from mmjax.explain import explain, page  # noqa: PLC0415
    from mmjax.explain.cells import read_cells  # noqa: PLC0415
    from mmjax.inference import Ensemble, load_settings  # noqa: PLC0415
    from mmjax.io.progress import Progress  # noqa: PLC0415
    from mmjax.train.execution import runtime  # noqa: PLC0415

    runtime.set_up(load_settings(Path(args.workdir)))
    ensemble, report, progress = Ensemble.load(args.workdir), DataReport(), Progress(runtime.log)
    html = out.suffix.lower() in _PAGE
    cells = read_cells(data)
    table, rows = (cells.head(args.rows), min(args.rows, len(cells))) if html else (data, len(cells))
    progress.start(f"explaining {rows} rows by {len(ensemble.members)} folds", rows)
    paths = {name: path for name, path in given_paths(args).items() if path}
    try:
        found = explain(ensemble, table, of=args.of, paths=paths, report=report, log=runtime.log, advance=progress.advance)
    finally:
        progress.finish()
    for line in report.summary_lines():
        runtime.log(line)
    if html:
        names = [f"{i} ({name})" for i, name in enumerate(found.index, 1)]  # two rows may have one id
        found.index = pd.Index(names)
        write_text(out, page.whole(f"{data.name} explained", [str(found.show(name)) for name in names]))
    else:
        write_text(out, found.to_csv(index_label="id", lineterminator="\n", float_format="%.9g"))
    shown = f"the first {len(found)} of {len(cells)} rows (--rows)" if len(found) < len(cells) else f"{len(found)} rows"
    runtime.log(f"Written: {shown} in {out}")
    return 0


def _parser() -> Parser:
    parser = Parser("explain", "Shapley values of every row's modalities; in a page, cells, words and photos too.")
    parser.add_argument("--workdir", required=True, help="as given to train")
    parser.add_argument("--data", required=True, help="table (CSV or Parquet) with the training table's columns")
    parser.add_argument("--out", required=True, help="FILE.csv: a line a row; FILE.html: the first rows to look at")
    parser.add_argument("--of", default="", help="class whose probability is explained; the predicted one if left out")
    parser.add_argument("--rows", type=int, default=20, help="rows of a page")
    parser.add_paths()
    return parser
