"""Five folds, data loading included, to a fixed number of epochs: ours against a straightforward PyTorch loop.

  python -m benchmarks.crossval_throughput [--rows 1,8,2,6] [--rounds N] [--out runs/bench]

Both read the same CSV file and photos and train the same number of batches in the same folds, with early stopping off; both
validate after every epoch and predict the held-out rows. Each run is a process of its own, in turns: ours `first` (no compiled
program cached, no photo decoded before), PyTorch, ours `later` (both caches warm). `seconds` starts after the imports
and the start of the device; `process_s` holds them too. `compile_s` is what XLA spent compiling, or reading compiled programs,
most of it while rows are encoded and steps run, so a run without it would not be that much shorter.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.apart import run_apart
from benchmarks.contenders import spread
from benchmarks.harness import Report, arguments, run_cases
from benchmarks.machine import memory, say
from benchmarks.sizes import SIZES, Size, make_settings
from mmjax.train.execution.concurrent_folds import cores

NAME = "crossval_throughput"
FOLDS = 5
PLANS = {
    "tiny": {1: (300, 2, 0), 2: (200, 1, 0), 6: (120, 1, 0), 8: (120, 1, 1)},
    "small": {1: (14993, 10, 0), 2: (2000, 2, 0), 6: (800, 2, 0), 8: (800, 2, 2)},
    "paper": {1: (14993, 10, 0), 2: (14993, 2, 0), 6: (600, 2, 0), 8: (600, 2, 2)},
}
"""Rows of the table, epochs and epochs of the autoencoder: what a few minutes allow."""
ROUNDS = {1: 5, 2: 2, 6: 1, 8: 2}
"""Of small sizes where --rounds=0 leaves it open: a table's folds take half a minute a round, #8's five."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Flags."""
    parser = arguments(__doc__ or "", NAME)
    parser.set_defaults(rounds=0)
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--rows", default="1,8,2,6", help="of Table 1")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Runs the benchmark, or one of its processes."""
    run_cases(parse(argv), NAME, cases, _work)


def cases(report: Report) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Every row of Table 1 that was asked for."""
    with tempfile.TemporaryDirectory() as temporary:
        for row in map(int, report.options.rows.split(",")):
            yield f"row{row}", partial(measure, row, report.options, Path(temporary))


def measure(row: int, options: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """One row of Table 1: ours first, theirs, ours later, as often as --rounds says."""
    from benchmarks.synth import write_data  # noqa: PLC0415 - needs Pillow, the workers' flags do not

    rows, epochs, coder_epochs = PLANS[options.size][row]
    size, photos = SIZES[options.size], row >= 3
    side = max(256, size.image)
    data = temporary / f"data-{row}"
    write_data(data, rows, tokens=size.tokens if row > 1 else 0, photo=(side * 4 // 3, side) if photos else None)
    job = {"row": row, "size": options.size, "data": str(data), "epochs": epochs, "coder_epochs": coder_epochs}
    found: dict[str, list[dict[str, Any]]] = {"first": [], "later": [], "theirs": []}
    workers = None
    for _ in range(options.rounds or (ROUNDS[row] if options.size == "small" else 1)):
        cache = Path(tempfile.mkdtemp(dir=temporary))
        for kind in ("first", "theirs", "later"):
            if kind == "theirs" and options.no_torch:
                continue
            side_job = {"side": "theirs", "workers": workers} if kind == "theirs" else {"side": "ours", "cache": str(cache)}
            result = _run(job | side_job, options)
            workers = result.get("workers", workers)
            found[kind].append(result)
            say(f"  row{row} {kind:6s} {result['seconds']:8.1f} s  {_detail(result)}")
        shutil.rmtree(cache)
    return _summary(found) | {
        "row": row,
        "table_rows": rows,
        "epochs": epochs,
        "autoencoder_epochs": coder_epochs,
        "runs": found,
    }


def _detail(result: dict[str, Any]) -> str:
    shown = ("compile_s", "workers", "accuracy", "process_s")
    return ", ".join(f"{k} {result[k]:.3g}" for k in shown if k in result)


def _summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Times, and ratios by round."""
    first, later, theirs = ([r["seconds"] for r in found[k]] for k in ("first", "later", "theirs"))
    out: dict[str, Any] = {"first_s": spread(first), "later_s": spread(later)}
    if theirs:
        out["theirs_s"] = spread(theirs)
        out["ratios"] = {
            "first": spread([b / a for a, b in zip(first, theirs, strict=True)]),
            "later": spread([b / a for a, b in zip(later, theirs, strict=True)]),
        }
    return out


def _run(job: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    # The cache's folder must be known before jax starts.
    env = {"JAX_COMPILATION_CACHE_DIR": str(Path(job["cache"]) / "compiled")} if "cache" in job else {}
    return run_apart(NAME, job, options, env) | {"process_s": time.perf_counter() - start}


def _work(job: dict[str, Any]) -> dict[str, Any]:
    size = SIZES[job["size"]]
    return (run_ours if job["side"] == "ours" else _theirs)(job, size)


def run_ours(job: dict[str, Any], size: Size) -> dict[str, Any]:
    """Five folds by this process, ours; the job as `measure` makes it."""
    import jax  # noqa: PLC0415

    from benchmarks.ours import start_device  # noqa: PLC0415
    from mmjax.train import cross_validation  # noqa: PLC0415
    from mmjax.train.execution import runtime  # noqa: PLC0415

    compiling = [0.0]

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiling[0] += duration_secs

    never = job["epochs"] + job["coder_epochs"] + 1
    settings = make_settings(
        job["row"],
        size,
        train={
            "max_epochs": job["epochs"],
            "patience": never,
            "autoencoder_max_epochs": max(1, job["coder_epochs"]),
            "autoencoder_patience": never,
            "devices": 1,
        },
        data={"name": "table", "root": job["data"], "table": "rows.csv", "schema": "schema.toml", "cache": job["cache"]},
    )
    runtime.set_up(settings)
    start_device()
    jax.monitoring.register_event_duration_secs_listener(listen)
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        summary = cross_validation.cross_validate(settings, Path(folder) / "run", lines.append)
        seconds = time.perf_counter() - start
    plans = [line for line in lines if "steps a dispatch" in line]
    return {
        "seconds": seconds,
        "compile_s": compiling[0],
        "plans": plans,
        "accuracy": float(summary["mean"]["accuracy"]),
    } | memory()


def _theirs(job: dict[str, Any], size: Size) -> dict[str, Any]:
    from benchmarks.torch_crossval import Program  # noqa: PLC0415

    program = Program(Path(job["data"]), job["row"], size, job["epochs"], job["coder_epochs"], FOLDS)
    trial = {}
    if job["workers"] is None:
        trial = {"workers_tried_s": program.choose_workers()}
    else:
        program.workers = job["workers"]
    return program.run() | trial | {"threads": cores()} | memory()


if __name__ == "__main__":
    main(sys.argv[1:])
