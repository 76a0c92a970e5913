"""Photos to batches: the first epoch and later ones, and how long a training step waits for its data; against DataLoader + PIL.

  python -m benchmarks.input_pipeline [--sides 224,512] [--photos 256] [--out runs/bench]

Ours decodes every photo once into a store (mmjax/data/image_store.py) and gathers batches from its memory map ever after;
PyTorch's DataLoader decodes at every epoch, with its best number of workers. Both end with uint8 batches in host memory. Each
side of a round is a process of its own, since DataLoader's workers fork and jax must not be there when they do. `wait_share` is
the share of a training loop's time spent in `next(loader)`, rows on the host, before a DenseNet of the size in WAIT;
`later_fresh_s` is `later_s` of batches in new memory each (data/arrays.py, Reused).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.apart import run_apart
from benchmarks.contenders import spread
from benchmarks.harness import Report, arguments, run_cases
from benchmarks.machine import memory, say
from benchmarks.sizes import Case, Size, make_settings, make_spec

NAME = "input_pipeline"
BATCH = 32
WAIT = {"cpu": Size(layers=(2, 2), growth=12, stem=24), "gpu": Size()}
"""Image tower behind the loader while waiting is measured: on a CPU a small one, the hardest case that still takes seconds."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Flags."""
    parser = arguments(__doc__ or "", NAME)
    parser.set_defaults(rounds=2)
    parser.add_argument("--sides", default="224,512", help="pixels of a decoded photo")
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--steps", type=int, default=12, help="training steps of the waiting measurement")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Runs the benchmark, or one of its processes."""
    run_cases(parse(argv), NAME, cases, lambda job: (run_ours if job["kind"] == "ours" else _theirs)(job) | memory())


def cases(report: Report) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Every size of photos, out of one folder of files."""
    from benchmarks.synth import write_photos  # noqa: PLC0415 - needs Pillow, the workers' flags do not

    with tempfile.TemporaryDirectory() as temporary:
        photos = Path(temporary) / "photos"
        write_photos(photos, report.options.photos, 640, 480)
        for side in map(int, report.options.sides.split(",")):
            yield f"photos_{side}", partial(measure, side, photos, report.options)


def measure(side: int, photos: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One size: ours and theirs in turns, each with an empty store."""
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    workers = None
    for _ in range(options.rounds):
        for kind in ("ours",) if options.no_torch else ("ours", "theirs"):
            with tempfile.TemporaryDirectory() as cache:
                job = {"kind": kind, "side": side, "photos": str(photos), "count": options.photos, "cache": cache}
                result = run_apart(NAME, job | {"steps": options.steps, "workers": workers}, options)
            workers = result.get("workers", workers)
            found[kind].append(result)
            shown = ", ".join(f"{k} {v:.4g}" for k, v in result.items() if isinstance(v, int | float))
            say(f"  photos_{side} {kind:6s} {shown}")
    out: dict[str, Any] = {"side": side, "photos": options.photos, "runs": found}
    for name in ("first_s", "later_s", "wait_share"):
        out[name] = {kind: spread([r[name] for r in runs]) for kind, runs in found.items() if runs}
    if found["theirs"]:
        pairs = list(zip(found["ours"], found["theirs"], strict=True))
        out["ratios"] = {epoch: spread([b[f"{epoch}_s"] / a[f"{epoch}_s"] for a, b in pairs]) for epoch in ("first", "later")}
    return out


def _epoch(batches: Iterable[Any]) -> float:
    start = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start


def _waiting(batches: Iterable[Any], step: Callable[[Any], Any], finish: Callable[[], None]) -> dict[str, float]:
    """Share of a loop's time in `next`; the first batch starts the loader and warms the step, and is not counted."""
    iterator = iter(batches)
    step(next(iterator))
    finish()
    waited, start, steps = 0.0, time.perf_counter(), 0
    while True:
        asked = time.perf_counter()
        batch = next(iterator, None)
        waited += time.perf_counter() - asked
        if batch is None:
            break
        step(batch)
        steps += 1
    finish()
    total = time.perf_counter() - start
    return {"wait_share": waited / total, "wait_ms": 1e3 * waited / max(steps, 1), "step_ms": 1e3 * total / max(steps, 1)}


def run_ours(job: dict[str, Any]) -> dict[str, Any]:
    """Our loader's epochs and waiting by this process; the job as `measure` makes it."""
    from benchmarks.ours import start_device  # noqa: PLC0415 - a worker imports its own side alone
    from mmjax.data.data_report import DataReport  # noqa: PLC0415
    from mmjax.data.image_store import open_image_store  # noqa: PLC0415
    from mmjax.data.loader import DispatchSource, Loader, gather_rows  # noqa: PLC0415
    from mmjax.train.execution import runtime  # noqa: PLC0415

    if runtime.worth_keeping(make_settings(3, _wait_size(job["side"], gpu=False))):  # as `mmjax train` does
        runtime.keep_memory()
    start_device()
    names = [f"{i}.jpg" for i in range(job["count"])]

    def epoch(gather: Any, seed: int, steps: int = 1) -> Loader:
        size = {"batch_size": BATCH, "steps_per_dispatch": steps, "dispatches": job["count"] // BATCH // steps, "epochs": 1}
        return Loader(DispatchSource(np.arange(job["count"]), seed=seed, **size), gather)

    start = time.perf_counter()
    store = open_image_store(names, Path(job["photos"]), job["side"], Path(job["cache"]), DataReport())
    gather = gather_rows({"image": store.pixels})
    _epoch(epoch(gather, 0))
    first = time.perf_counter() - start
    later = min(_epoch(epoch(gather, 1 + i)) for i in range(3))
    fresh = min(_epoch(epoch(lambda index: {"image": store.pixels[index]}, 1 + i)) for i in range(3))
    label = np.zeros(job["count"], np.int32)
    rows = {"image": store.pixels, "label": label, "present": np.ones((job["count"], 1), bool)}
    return {"first_s": first, "later_s": later, "later_fresh_s": fresh} | _ours_waiting(job, rows)


def _ours_waiting(job: dict[str, Any], rows: dict[str, np.ndarray]) -> dict[str, float]:
    """Production's way with rows on the host: grain gathers ahead, the loop looks at a dispatch one dispatch late."""
    import jax  # noqa: PLC0415

    from benchmarks.ours import random_parameters  # noqa: PLC0415
    from mmjax.data.loader import DispatchSource, Loader, gather_rows  # noqa: PLC0415
    from mmjax.tasks.base import make_task  # noqa: PLC0415
    from mmjax.train import state  # noqa: PLC0415
    from mmjax.train.execution.parallel import jit  # noqa: PLC0415
    from mmjax.train.optim import make_optimizer  # noqa: PLC0415
    from mmjax.train.step import FoldArrays, train_chunk  # noqa: PLC0415

    size = _wait_size(job["side"], gpu=jax.default_backend() != "cpu")
    settings, spec = make_settings(3, size), make_spec(3, size)
    task, optimizer = make_task("classifier", settings, spec), make_optimizer(settings.optim)
    params, stats = random_parameters(task.variables)
    held = {
        "state": state.create(params, stats, optimizer, np.zeros(2, np.uint32), steps_per_epoch=1, max_epochs=1),
        "late": None,
    }
    chunk = jit(partial(train_chunk, task, optimizer, None), donate_argnums=0)
    constant = FoldArrays(shared={}, fold={}, constant={"class_weight": np.ones(len(spec.classes), np.float32)})
    active = np.ones(1, bool)

    def step(batch: Any) -> None:
        held["state"], sums = chunk(held["state"], constant, batch, active)
        if held["late"] is not None:
            jax.block_until_ready(held["late"])
        held["late"] = sums

    source = DispatchSource(
        np.arange(job["count"]), batch_size=BATCH, steps_per_dispatch=1, dispatches=job["count"] // BATCH, epochs=1000, seed=0
    )
    loader = Loader(source, gather_rows(rows))
    batches = (next(loader) for _ in range(job["steps"] + 1))
    return _waiting(batches, step, lambda: jax.block_until_ready(held["state"]))


def _wait_size(side: int, *, gpu: bool) -> Size:
    from dataclasses import replace  # noqa: PLC0415

    return replace(WAIT["gpu" if gpu else "cpu"], image=side)


def _theirs(job: dict[str, Any]) -> dict[str, Any]:
    import torch  # noqa: PLC0415 - a worker imports its own side alone

    from benchmarks.theirs import build, make_step, set_up  # noqa: PLC0415
    from benchmarks.torch_crossval import Rows, best_workers, loader  # noqa: PLC0415
    from benchmarks.torch_models import rmsprop  # noqa: PLC0415

    device = set_up()
    arrays = {"label": torch.zeros(job["count"], dtype=torch.int64)}
    rows = Rows(arrays, [Path(job["photos"]) / f"{i}.jpg" for i in range(job["count"])], job["side"])
    everything, workers, tried = np.arange(job["count"]), job["workers"], {}
    if workers is None:
        workers, tried = best_workers(rows, everything[: 4 * BATCH], BATCH)
    batches = loader(rows, everything, BATCH, workers, train=True)
    first = _epoch(batches)
    later = min(_epoch(batches) for _ in range(2))
    module = build(Case("", 3), _wait_size(job["side"], gpu=device.type == "cuda")).to(device)
    train = make_step(module, rmsprop(module), device, "float32")

    def step(batch: Any) -> None:
        train({k: v.to(device, non_blocking=True) for k, v in batch.items()})

    def again() -> Iterable[Any]:
        taken = 0
        while taken <= job["steps"]:
            for batch in batches:
                if taken <= job["steps"]:
                    yield batch
                taken += 1

    finish = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    return {"first_s": first, "later_s": later, "workers": workers, "tried_s": tried} | _waiting(again(), step, finish)


if __name__ == "__main__":
    main(sys.argv[1:])
