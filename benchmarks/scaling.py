"""How cost grows: with rows (10^3 to 10^6), a photo's side, folds trained together (1 to 10), devices (virtual 1, 2, 4, 8).

  python -m benchmarks.scaling [--parts rows,image,folds,loops,evaluation,devices] [--rows 1000,1000000] [--out runs/bench]

rows: one fold (--all-folds: five), one epoch of a table with text from CSV to held-out predictions, in a process whose
largest resident memory is recorded: 1,000,000 rows must stay under 4 GiB. image: DenseNet's step, ours and PyTorch's. folds:
row #1's steps of F folds together, against PyTorch's one fold at a time. loops: a row's steps looped over inside one
program and sent one by one: why `make_plan` decides as it does. evaluation: predictions in batches of 32 and of 256, why
`mmjax.train.fold_data.evaluation_batch` does. devices: virtual CPU devices share the same cores, so what shows is the cost of
splitting, not a gain.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.apart import Apart, run_apart, worker_command
from benchmarks.contenders import Contender, interleave, ratio
from benchmarks.harness import Report, arguments, run_cases
from benchmarks.machine import memory, say
from benchmarks.sizes import CASES, SIZES, Size, make_settings

NAME = "scaling"
LIMIT = 4 << 30
"""Bytes that 1,000,000 rows may keep resident."""
BATCH = 512
"""Of the rows part: what is timed is the data's way, not small steps."""
TEXT = Size(tokens=100, embed=16, maps=8, tabular_hidden=64, width=32, batch=BATCH)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Flags."""
    parser = arguments(__doc__ or "", NAME)
    parser.set_defaults(rounds=3)
    parser.add_argument("--parts", default="rows,image,folds,loops,evaluation,devices", help="of these")
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--rows", default="1000,10000,100000,1000000")
    parser.add_argument("--all-folds", action="store_true", help="rows: train all five folds, not the first alone")
    parser.add_argument("--sides", default="32,64,128")
    parser.add_argument("--folds", default="1,2,5,10")
    parser.add_argument("--loops", default="1,2,3", help="rows of Table 1")
    parser.add_argument("--evaluation", default="2,3,8", help="rows of Table 1")
    parser.add_argument("--devices", default="1,2,4,8")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Runs the benchmark, or one of its processes."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share a GPU
    work = {"rows": _train_rows, "devices": _split, "step": _step}
    run_cases(parse(argv), NAME, cases, lambda job: work[job["part"]](job))


def cases(report: Report) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Every value of every part."""
    options = report.options
    parts = {"rows": rows_part, "image": image_part, "folds": folds_part, "loops": loops_part}
    parts |= {"evaluation": evaluation_part, "devices": devices_part}
    for name in options.parts.split(","):
        for value in map(int, getattr(options, "sides" if name == "image" else name).split(",")):
            yield f"{name}_{value}", partial(_measure, name, parts[name], value, options)


def _measure(name: str, part: Callable[..., dict[str, Any]], value: int, options: argparse.Namespace) -> dict[str, Any]:
    return {"part": name, "value": value} | part(value, options)


def rows_part(rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """Reads, encodes and trains one fold of a table of so many rows, in a process of its own."""
    from benchmarks.synth import TABLE, write_data  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as temporary:
        data = write_data(Path(temporary) / "data", rows, tokens=TEXT.tokens, vocabulary=TEXT.vocabulary)
        only = () if options.all_folds else (0,)
        job = {"part": "rows", "data": str(data), "cache": str(Path(temporary) / "cache"), "only": only}
        result = run_apart(NAME, job, options)
        result["csv_bytes"] = (data / TABLE).stat().st_size
    say(
        f"  {rows} rows: {result['seconds']:.1f} s ({result['ready_s']:.1f} s until rows are ready), "
        f"{result['peak_bytes'] / 2**30:.2f} GiB resident"
    )
    return result | {"under_limit": result["peak_bytes"] < LIMIT}


def image_part(side: int, options: argparse.Namespace) -> dict[str, Any]:
    """DenseNet's step at a photo's side."""
    return _against_torch(f"photos of {side} px", options, {"case": "row3", "sizes": {"image": side, "rows": 256}})


def folds_part(folds: int, options: argparse.Namespace) -> dict[str, Any]:
    """Row #1: steps of all folds together as the plan says; a step is one fold's."""
    return _against_torch(f"{folds} folds", options, {"case": "row1", "sizes": {}}, folds=folds)


def loops_part(row: int, options: argparse.Namespace) -> dict[str, Any]:
    """A row's training steps in a loop of one program, and one by one."""
    job = {"case": f"row{row}", "sizes": {}}
    ways = [_apart(name, job, options, scan=name == "looped") for name in ("looped", "one_by_one")]
    return _compared(f"row #{row}", ways, options)


def evaluation_part(row: int, options: argparse.Namespace) -> dict[str, Any]:
    """A classifier's predictions of 256 rows, in small batches and in one."""
    job = {"case": f"row{row}", "sizes": {"rows": 256}}
    ways = [_apart(f"batches_of_{batch}", job, options, evaluate=batch) for batch in (32, 256)]
    return _compared(f"row #{row}, evaluation", ways, options)


def _against_torch(label: str, options: argparse.Namespace, job: dict[str, Any], **ours: Any) -> dict[str, Any]:
    contenders = [_apart("ours", job, options, **ours)]
    if not options.no_torch:
        contenders.append(_apart("torch_eager", job, options))
    return _compared(label, contenders, options) | contenders[0].found


def _apart(name: str, job: dict[str, Any], options: argparse.Namespace, **ours: Any) -> Apart:
    """A contender in a process of its own, so that its peak memory is its own, too; `ours`: as `ours.prepare`."""
    whole = job | {"part": "step", "name": name, "size": options.size, "options": ours}
    return Apart(name, worker_command(NAME, whole, options))


def _compared(label: str, contenders: list[Apart], options: argparse.Namespace) -> dict[str, Any]:
    interleave(contenders, rounds=options.rounds, seconds=0.5)
    out: dict[str, Any] = {"contenders": {c.name: c.to_dict() for c in contenders}}
    times = {c.name: f"{1e3 * c.to_dict()['step_s']['median']:.3f} ms" for c in contenders}
    if len(contenders) > 1:
        out["ratio"] = ratio(*contenders)
    say(f"  {label}: {times}")
    return out


def devices_part(devices: int, options: argparse.Namespace) -> dict[str, Any]:
    """Rows #1 and #2 on so many virtual devices: the batch sharded, and five folds placed."""
    job = {"part": "devices", "devices": devices, "size": options.size, "rounds": options.rounds}
    env = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
    result = run_apart(NAME, job, options, env)
    say(f"  {devices} devices: " + ", ".join(f"{k} {1e3 * v['step_s']['median']:.3f} ms" for k, v in result["cases"].items()))
    return result


def _train_rows(job: dict[str, Any]) -> dict[str, Any]:
    from mmjax.train import cross_validation  # noqa: PLC0415 - heavy, and only workers need it
    from mmjax.train.execution import runtime  # noqa: PLC0415 - heavy, and only workers need it

    runtime.keep_memory()
    settings = make_settings(
        4,
        TEXT,
        train={"max_epochs": 1, "devices": 1},
        data={"name": "table", "root": job["data"], "table": "rows.csv", "schema": "schema.toml", "cache": job["cache"]},
    )
    settings = replace(
        settings,
        model=replace(settings.model, modalities=("tabular", "text")),
        cv=replace(settings.cv, only=tuple(job["only"])),
    )
    start = time.perf_counter()
    said: list[tuple[float, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        cross_validation.cross_validate(
            settings, Path(folder) / "run", lambda line: said.append((time.perf_counter() - start, line))
        )
    ready = next(at for at, line in said if "steps a dispatch" in line)
    return {"seconds": time.perf_counter() - start, "ready_s": ready} | memory()


def _step(job: dict[str, Any]) -> Contender:
    case, size = CASES[job["case"]], replace(SIZES[job["size"]], **job["sizes"])
    if job["name"] == "torch_eager":
        from benchmarks import theirs  # noqa: PLC0415 - a worker imports its own side alone

        return theirs.contender(case, size, "eager", optional=False)
    from benchmarks import ours  # noqa: PLC0415
    from mmjax.train.execution import runtime  # noqa: PLC0415

    if runtime.worth_keeping(make_settings(case.row, size)):  # as `mmjax train` does
        runtime.keep_memory()
    make = ours.evaluation if "evaluate" in job["options"] else ours.contender
    return make(job["name"], case, size, **job["options"])


def _split(job: dict[str, Any]) -> dict[str, Any]:
    from benchmarks import ours  # noqa: PLC0415

    size = replace(SIZES[job["size"]], rows=256)
    contenders = {}
    for name, placement, folds in (("row1_batch", "batch", 1), ("row2_batch", "batch", 1), ("row1_folds", "folds", 5)):
        train = {"devices": job["devices"], "placement": placement}
        contenders[name] = ours.contender(name, CASES[name.split("_")[0]], size, folds=folds, train=train)
    interleave(list(contenders.values()), rounds=job["rounds"], seconds=0.5)
    return {"cases": {n: c.to_dict() | {"plan": c.found["plan"]["why"]} for n, c in contenders.items()}} | memory()


if __name__ == "__main__":
    main(sys.argv[1:])
