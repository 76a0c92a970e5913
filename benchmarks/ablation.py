"""What each optimisation for a CPU is worth: each switched off alone, and all together, against the package as it is.

  python -m benchmarks.ablation [--rows 1,2,6,8,mmae] [--variants memory,all] [--parts steps,folds] [--rounds N] [--out DIR]

`steps` times training steps (as step_throughput does), `folds` five folds end to end (as crossval_throughput, but shorter),
first with no compiled program cached and then with all, `photos` the loop behind photos on the host (as input_pipeline). Every
variant is a process of its own; a few of them take turns with one that has everything on, and a ratio (off over on: what the
optimisation is worth) is formed within a round. `cpu` is the same ratio of processor time: other programs on the machine
disturb it less, but waiting is not in it. The table pools all files of --out that begin with the script's name.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.apart import PAUSE, Apart, run_apart, worker_command
from benchmarks.contenders import Contender, interleave
from benchmarks.harness import Report, arguments, run_cases
from benchmarks.machine import say
from benchmarks.sizes import CASES, SIZES, Case, Size, make_settings

NAME = "ablation"
ROWS = "1,2,8,mmae,6,6@128"
PLANS = {
    "tiny": {"1": (120, 1, 0), "2": (120, 1, 0), "8": (80, 1, 1)},
    "small": {"1": (6000, 5, 0), "2": (400, 2, 0), "8": (240, 1, 1)},
}
"""Rows of the table, epochs and epochs of the autoencoder of five folds."""
DISPATCH = 8
"""Steps of a timed dispatch, except of a table's: a variant's turn then takes about half a second."""
GROUP = 4
"""Variants that take turns with one that has everything on."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Flags."""
    parser = arguments(__doc__ or "", NAME)
    parser.add_argument("--size", choices=sorted(PLANS), default="small")
    parser.add_argument("--rows", default=ROWS, help="of Table 1, mmae, or a row @ pixels of its photos")
    parser.add_argument("--variants", default="", help="of benchmarks/switches.py; empty: all of them")
    parser.add_argument("--parts", default="steps,folds,photos")
    parser.add_argument("--seconds", type=float, default=0.5, help="of one measurement of steps")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Runs the benchmark and prints the table, or runs one of its processes."""
    options = parse(argv)
    if options.worker:
        run_cases(options, NAME, cases, work)
        return
    from benchmarks.switches import table  # noqa: PLC0415 - starts jax, which a worker may still have to configure

    try:
        run_cases(options, NAME, cases, work)
    finally:  # a case may have failed
        files = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(options.out.glob(f"{NAME}*.json"))]
        (options.out / f"{NAME}.md").write_text(table(files), encoding="utf-8")
        say(table(files))


def cases(report: Report) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Every part of every row, a few variants at a time."""
    from benchmarks.switches import SWITCHES  # noqa: PLC0415 - as `main`

    options = report.options
    known = [*SWITCHES, "all"]
    wanted = options.variants.split(",") if options.variants else known
    if unknown := sorted({*wanted} - {*known}):
        raise SystemExit(f"no variant {', '.join(unknown)}; there are {', '.join(known)}")

    measures = {"steps": steps, "folds": folds, "photos": photos}
    rows_of = {n: {part: getattr(s, part) for part in measures} for n, s in SWITCHES.items()}
    rows_of["all"] = {"steps": tuple(options.rows.split(",")), "folds": tuple(PLANS["small"]), "photos": ()}
    for part in options.parts.split(","):
        for row in options.rows.split(",") if part != "photos" else ("photos",):
            names = [n for n in wanted if row in rows_of[n][part]]
            for i in range(0, len(names), GROUP):
                yield f"{part}_{row}_{i // GROUP}", partial(measures[part], row, names[i : i + GROUP], options)


def of_row(row: str, size: str) -> tuple[Case, Size]:
    """What `--rows` names."""
    name, _, side = row.partition("@")
    image = {"image": int(side)} if side else {}
    return CASES[name if name in CASES else f"row{name}"], replace(SIZES[size], **image)


def work(job: dict[str, Any]) -> dict[str, Any] | Contender:
    """In a process of its own: switches off, then times steps, trains folds or loads photos."""
    from benchmarks.switches import switch_off  # noqa: PLC0415

    switch_off(job["variant"])
    if job["part"] == "steps":
        from benchmarks import ours  # noqa: PLC0415
        from mmjax.train.execution import runtime  # noqa: PLC0415

        case, size = of_row(job["row"], job["size"])
        if runtime.worth_keeping(make_settings(case.row, size)):  # as `mmjax train` does
            runtime.keep_memory()
        train = {} if job["row"] == "1" else {"steps_per_dispatch": DISPATCH}
        return ours.contender(job["variant"], case, size, train=train)
    if job["part"] == "folds":
        from benchmarks.crossval_throughput import run_ours  # noqa: PLC0415

        found = run_ours(job | {"row": int(job["row"])}, SIZES[job["size"]])
    else:
        from benchmarks import input_pipeline  # noqa: PLC0415

        found = input_pipeline.run_ours(job)
    return found | {"cpu_s": time.process_time()}


_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class _Timed(Apart):
    """A contender whose processor time is measured too."""

    cpu: list[float] = field(default_factory=list)
    ready: Future[int] = field(default_factory=Future)

    def prepare(self, pool: Executor, seconds: float) -> None:
        """Begins what `warm` waits for."""
        self.ready = pool.submit(super().warm, seconds)

    def warm(self, seconds: float) -> int:
        """As `Apart.warm`."""
        del seconds
        return self.ready.result()

    def measure(self, repeats: int) -> float:
        """As `Apart.measure`; notes the processor time of a step."""
        before, start = self._used(), time.perf_counter()
        step = super().measure(repeats)
        used = max(self._used() - before, 1 / _TICKS)  # it is counted in ticks
        self.cpu.append(used * step / (time.perf_counter() - start - PAUSE))
        return step

    def _used(self) -> float:
        """Seconds of processor time of all its threads so far (proc(5): utime and stime)."""
        assert self._process
        values = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(values[11]) + int(values[12])) / _TICKS


def steps(row: str, names: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Training steps of some variants in turns."""
    from benchmarks.switches import shown  # noqa: PLC0415 - as `main`

    def contender(name: str) -> _Timed:
        job = {"part": "steps", "variant": name, "row": row, "size": options.size}
        return _Timed(name, worker_command(NAME, job, options), optional=name != "on")

    on, *others = contenders = [contender(name) for name in ("on", *names)]
    with ThreadPoolExecutor(2) as pool:  # imports and tracing use one core
        for each in contenders:
            each.prepare(pool, options.seconds)
    interleave(contenders, rounds=options.rounds, seconds=options.seconds)
    variants: dict[str, Any] = {}
    for other in others:
        pair = {"on": on.seconds, "off": other.seconds, "on_cpu": on.cpu, "off_cpu": other.cpu}
        compiled = {"compile_s": [on.compile_seconds, other.compile_seconds]}
        variants[other.name] = {"failed": other.failed} if other.failed else {"step": pair} | compiled
        say(f"  steps {row:6s} {other.name:13s} {other.failed or shown(pair)}")
    return {"variants": variants}


def folds(row: str, names: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Five folds end to end, round by round: each variant with an empty cache of programs, then with its own."""
    from benchmarks.synth import write_data  # noqa: PLC0415 - needs Pillow, the workers' flags do not

    rows, epochs, coder_epochs = PLANS[options.size][row]
    _, size = of_row(row, options.size)
    side = max(256, size.image)
    runs: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        write_data(data, rows, tokens=size.tokens if row != "1" else 0, photo=(side * 4 // 3, side) if row == "8" else None)
        job = {"part": "folds", "row": row, "size": options.size, "data": str(data)}
        job |= {"epochs": epochs, "coder_epochs": coder_epochs}
        for _ in range(options.rounds):
            for name in ("on", *names):
                cache = Path(tempfile.mkdtemp(dir=temporary))
                env = {"JAX_COMPILATION_CACHE_DIR": str(cache / "compiled")}
                for kind in ("first", "later"):
                    found = run_apart(NAME, job | {"variant": name, "cache": str(cache)}, options, env)
                    runs.setdefault(f"{kind} {name}", []).append(found)
                    say(f"  folds {row:6s} {name:13s} {kind} {found['seconds']:7.1f} s, cpu {found['cpu_s']:7.1f} s")
                shutil.rmtree(cache)
    return _compared(runs, names, ("first", "later"), "seconds")


def photos(row: str, names: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """A training loop's step with photos on the host."""
    del row
    from benchmarks.synth import write_photos  # noqa: PLC0415 - needs Pillow, the workers' flags do not

    sides = (16,) if options.size == "tiny" else (224, 512)
    runs: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        write_photos(folder, 64, 640, 480)
        for side, name in [(side, name) for _ in range(options.rounds) for side in sides for name in ("on", *names)]:
            with tempfile.TemporaryDirectory() as cache:
                job = {"part": "photos", "variant": name, "side": side, "photos": str(folder), "count": 64, "cache": cache}
                found = run_apart(NAME, job | {"steps": 12}, options)
            runs.setdefault(f"{side}px {name}", []).append(found)
            say(f"  photos {side} {name:13s} {found['step_ms']:.1f} ms, cpu {found['cpu_s']:.1f} s")
    return _compared(runs, names, [f"{side}px" for side in sides], "step_ms")


def _compared(runs: dict[str, Any], names: Sequence[str], kinds: Sequence[str], key: str) -> dict[str, Any]:
    def pair(kind: str, name: str) -> dict[str, list[float]]:
        on, off = runs[f"{kind} on"], runs[f"{kind} {name}"]
        wall = {"on": [r[key] for r in on], "off": [r[key] for r in off]}
        return wall | {"on_cpu": [r["cpu_s"] for r in on], "off_cpu": [r["cpu_s"] for r in off]}

    return {"variants": {name: {kind: pair(kind, name) for kind in kinds} for name in names}, "runs": runs}


if __name__ == "__main__":
    main(sys.argv[1:])
