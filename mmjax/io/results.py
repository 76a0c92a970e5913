"""What a run leaves for people: by fold predictions.csv and done.json, and all folds' predictions as one table."""

import contextlib
import csv
import hashlib
import io
import json
import resource
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmjax.errors import WorkdirError
from mmjax.io.atomic import write_json, write_text
from mmjax.io.processes import is_primary
from mmjax.io.workdir import damaged, read_json

DONE, SUMMARY, PREDICTIONS, RUN = "done.json", "summary.json", "predictions.csv", "run.json"
_ADVICE = "delete it and run the same `mmjax train` command again, which predicts the fold's rows anew"


def content_key(files: Sequence[Path], *values: object) -> str:
    """A hash of files' content and of values: what was computed from them need not be computed again."""
    whole = hashlib.sha256(repr(values).encode())
    for file in files:
        whole.update(hashlib.sha256(file.read_bytes() if file.exists() else b"").digest())
    return whole.hexdigest()


def write_fold(workdir: Path, number: int, columns: dict[str, Any], done: dict[str, Any]) -> None:
    """Writes a finished fold's predictions.csv, then done.json.

    Args:
      workdir: of the run.
      number: of the fold.
      columns: of the held-out rows, in the table's order; the first two are `id` and `fold`.
      done: `rows`, how many they are, their `metrics`, and facts about the training.
    """
    if not is_primary():
        return
    folder = workdir / f"fold_{number}"
    write_text(folder / PREDICTIONS, pd.DataFrame(columns).to_csv(index=False))
    write_json(folder / DONE, done)


def read_finished(workdir: Path, folds: int) -> dict[int, dict[str, Any]]:
    """done.json of every finished fold.

    Raises:
      WorkdirError: one is damaged.
    """
    files = {f: workdir / f"fold_{f}" / DONE for f in range(folds)}
    finished = {f: read_json(file, dict, _ADVICE) for f, file in files.items() if file.exists()}
    for f, done in finished.items():
        metrics = done.get("metrics")
        numbers = [done.get("rows"), *(metrics.values() if isinstance(metrics, dict) else ())]
        if len(numbers) < 2 or not all(isinstance(number, int | float) for number in numbers):
            raise damaged(files[f], "it has no rows and metrics", _ADVICE)
    return finished


def join_predictions(workdir: Path, rows: Sequence[tuple[int, str]]) -> None:
    """Writes the folds' predictions as one table: line by line, since a million rows of parsed text would take a gigabyte.

    By row, not by id: where two rows have one id, neither may take the other's place.

    Args:
      workdir: holds fold_K/predictions.csv, each in the table's order.
      rows: fold and id of each row, in the table's order.

    Raises:
      WorkdirError: a file is missing or damaged, or the table cannot be written.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    counts = Counter(f for f, _ in rows)
    with contextlib.ExitStack() as stack:
        lines = {f: stack.enter_context(contextlib.closing(_lines(workdir, f, counts[f]))) for f in sorted(counts)}
        headers = [next(parts) for parts in lines.values()]
        writer.writerow(headers[0])
        for f, name in rows:
            line = next(lines[f])
            if line[0] != str(name):
                raise _damaged(workdir, f, f"it has {line[0]!r} in the place of {str(name)!r}")
            writer.writerow(line)
        for parts in lines.values():  # none has a row too many
            next(parts, None)
    if is_primary():
        write_text(workdir / PREDICTIONS, out.getvalue())


def read_fold_columns(workdir: Path, folds: Sequence[int], names: Sequence[str]) -> pd.DataFrame:
    """Some columns of finished folds' predictions, as text, fold by fold; without the rest a million rows are small.

    Raises:
      WorkdirError: a file is missing or damaged.
    """
    found = []
    for fold in folds:
        try:
            file = workdir / f"fold_{fold}" / PREDICTIONS
            found.append(pd.read_csv(file, usecols=list(names), dtype=str, keep_default_na=False))
        except (OSError, ValueError) as error:
            raise _damaged(workdir, fold, error) from error
    return pd.concat(found, ignore_index=True)


def write_run(workdir: Path, seconds: float, versions: dict[str, Any]) -> None:
    """Writes run.json: what a run took, which differs each time, so that summary.json does not.

    Args:
      workdir: of the run.
      seconds: wall time of this session; those of earlier ones, if they came to their end, are added.
      versions: of what ran.

    Raises:
      WorkdirError: the file cannot be written.
    """
    if not is_primary():
        return
    before = 0.0
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # it only tells: a damaged one is made anew
        before = float(json.loads((workdir / RUN).read_text(encoding="utf-8"))["seconds"])
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts kibibytes
    write_json(workdir / RUN, {"seconds": round(before + seconds, 3), "peak_memory_bytes": peak, "versions": versions})


def read_summary(workdir: Path) -> dict[str, Any]:
    """summary.json; `by_fold` holds the metrics of every finished fold.

    Raises:
      WorkdirError: it is missing or damaged.
    """
    file, advice = workdir / SUMMARY, "run the same training command again to write it"
    summary = read_json(file, dict, advice)
    try:
        for done in summary["by_fold"].values():
            dict(done["metrics"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(file, error, advice) from error
    return summary


def read_predictions(workdir: Path, needed: Sequence[str] = ("label", "prediction")) -> pd.DataFrame:
    """predictions.csv; ids, labels and predictions as text; the columns `needed` must be there.

    Raises:
      WorkdirError: it is missing or damaged.
    """
    file, advice = workdir / PREDICTIONS, "run the same training command again to write it"
    try:
        text = {"id": str, "label": str, "prediction": str}
        found = pd.read_csv(file, dtype=text, keep_default_na=False)  # type: ignore[call-overload]
        return found.astype(dict.fromkeys(("id", *needed), str))
    except FileNotFoundError as error:
        raise WorkdirError(f"{file} is missing; {advice}.") from error
    except (OSError, ValueError, KeyError) as error:
        raise damaged(file, error, advice) from error


def _lines(workdir: Path, fold: int, rows: int) -> Generator[list[str], None, None]:
    """Header and rows of a fold's predictions, as many as there must be."""
    found = 0
    try:
        with (workdir / f"fold_{fold}" / PREDICTIONS).open(newline="", encoding="utf-8") as content:
            reader = csv.reader(content)
            header = next(reader, [])
            if header[:2] != ["id", "fold"]:
                raise _damaged(workdir, fold, "it has no header")
            yield header
            for found, line in enumerate(reader, 1):
                if len(line) != len(header):
                    raise _damaged(workdir, fold, f"row {found} has {len(line)} columns instead of {len(header)}")
                if found > rows:
                    raise _damaged(workdir, fold, f"it has more than the fold's {rows} rows")
                yield line
    except (OSError, ValueError, csv.Error) as error:
        raise _damaged(workdir, fold, error) from error
    if found != rows:
        raise _damaged(workdir, fold, f"it has {found} rows instead of {rows}")


def _damaged(workdir: Path, fold: int, reason: object) -> WorkdirError:
    return damaged(workdir / f"fold_{fold}" / PREDICTIONS, reason, _ADVICE)
