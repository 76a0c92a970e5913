"""`mmjax predict`: one output row per input row, in the same order, by the mean of the folds."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from mmjax.cli.arguments import Parser, existing_file, given_paths
from mmjax.datasets import synthetic
from mmjax.errors import ConfigError, MmjaxError
from mmjax.io.atomic import sync_folder, write_error, write_text

if TYPE_CHECKING:  # jax is imported late
    from mmjax.inference import Ensemble, Predictions
    from mmjax.schema import Schema


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Raises:
      MmjaxError: a wrong argument, workdir or table, or OUT cannot be written; OUT is then as it was.
    """
    args = _parser().parse(arguments)
    data, out, paths = existing_file(args.data, "table"), Path(args.out), given_paths(args)
    if not out.parent.is_dir():
        raise ConfigError(f"predict: --out={out}: there is no folder {out.parent}; make it first.")
    if out.is_dir():
        raise ConfigError(f"predict: --out={out}: is a folder; name a file in it.")
    if out.resolve().is_relative_to(Path(args.workdir).resolve()):
        raise ConfigError(f"predict: --out={out}: is in the workdir, whose files are training's; name another.")
    _refuse_inputs(out, [data, *map(Path, filter(None, paths.values()))])
    # jax is imported once the arguments are known to be right
    from mmjax.data.data_report import DataReport  # noqa: PLC0415
    from mmjax.inference import Ensemble, load_settings  # noqa: PLC0415
    from mmjax.io.progress import Progress  # noqa: PLC0415
    from mmjax.new_table import open_new_table  # noqa: PLC0415
    from mmjax.train.execution import runtime  # noqa: PLC0415

    settings = load_settings(Path(args.workdir))
    runtime.set_up(settings)
    ensemble = Ensemble.load(args.workdir)
    _refuse_inputs(out, _trained_on(settings.data, ensemble.schema))
    report = DataReport()
    dataset = open_new_table(ensemble, data, report, paths=paths, log=runtime.log)
    for line in report.summary_lines():
        runtime.log(line)
    ids = dataset.table.ids
    progress = Progress(runtime.log)
    progress.start(f"predicting {len(ids)} rows by {len(ensemble.members)} folds", len(ids) * len(ensemble.members))
    try:
        predictions = ensemble.predict(dataset, progress.advance)
    finally:
        progress.finish()
    _write(out, ids, ensemble, predictions)
    folds = [member.number for member in ensemble.members]
    about = {"rows": len(ids), "folds": folds, "classes": ensemble.spec.classes, "modalities": ensemble.spec.modalities}
    text = json.dumps(about | report.to_dict(), indent=1, ensure_ascii=False)
    write_text(_report_of(out), f"{text}\n")
    runtime.log(f"Written: {len(ids)} rows in {out}, what was wrong with them in {_report_of(out).name}")
    return 0


def _parser() -> Parser:
    parser = Parser("predict", "Class, probabilities and attention of every row of a table, by the mean of the finished folds.")
    parser.add_argument("--workdir", required=True, help="as given to train")
    parser.add_argument(
        "--data", required=True, help="table (CSV or Parquet) with the training table's columns; no label needed"
    )
    parser.add_argument("--out", required=True, help="CSV file to write")
    parser.add_paths()
    return parser


def _report_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.report.json")


def _refuse_inputs(out: Path, inputs: Sequence[Path]) -> None:
    """Neither OUT nor the report beside it may take the place of a file that is read."""
    for target in (out, _report_of(out)):
        for file in inputs:
            if target.exists() and file.is_file() and target.samefile(file):
                what = "the input itself" if target is out else f"written with {target.name}, which is the input itself"
                raise ConfigError(f"predict: --out={out}: is {what} ({file}); name another.")


def _trained_on(data: Any, schema: "Schema") -> list[Path]:
    """Files the model was trained on, as far as they are still there; synthetic data can be made again."""
    if data.name == synthetic.NAME:
        return []
    from mmjax.datasets.locations import find_files  # noqa: PLC0415

    named = [value for value in vars(data).values() if isinstance(value, str) and value]
    named += [value for found in schema.inputs.values() for value in found]
    found = [folder / name for name in named for folder in (Path(), Path(data.root))]
    with suppress(MmjaxError):  # the data set has gone
        found += [table for table in (find_files(data, schema).table,) if isinstance(table, Path)]
    return found


def _write(out: Path, ids: np.ndarray, ensemble: "Ensemble", predictions: "Predictions") -> None:
    """One line a row: id, prediction, p_<class>..., attention_<modality>..."""
    spec = ensemble.spec
    names = np.array(spec.classes, dtype=object)[predictions.probabilities.argmax(axis=1)]
    with _whole(out) as handle:
        writer = csv.writer(handle, lineterminator="\n")
        columns = [*(f"p_{c}" for c in spec.classes), *(f"attention_{m}" for m in spec.modalities)]
        writer.writerow(["id", "prediction", *columns])
        for row, (name, chosen) in enumerate(zip(ids, names, strict=True)):
            numbers = (*predictions.probabilities[row], *predictions.attention[row])
            writer.writerow([name, chosen, *(f"{v:.9g}" for v in numbers)])


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """A file that takes its name only once it is complete: a million rows are never in memory as text."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        partial.unlink(missing_ok=True)
