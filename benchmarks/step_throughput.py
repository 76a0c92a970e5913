"""Time of one training step of each of the eight models and of the autoencoders, ours against PyTorch.

  python -m benchmarks.step_throughput [--size small] [--cases row1,row8,mmae] [--modes eager,compile] [--out runs/bench]

Ours is production's own dispatch: `train_chunk` over as many steps as the plan chooses, rows on the device. PyTorch has its
batches ready on the device. Rows #7 and #8 read the codes of a frozen autoencoder: ours computes them once per row before
training, a straightforward PyTorch loop runs the encoder at every step. Both sides are timed both ways.

Each contender is a process of its own, as its users run it: ours sets malloc's options (mmjax/train/runtime.py), PyTorch's do
not. The mode eager_kept is PyTorch with ours' options: what of a ratio is malloc's.
"""

import argparse
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from benchmarks.apart import Apart, run_apart, worker_command
from benchmarks.contenders import Contender, Entrant, interleave, ratio
from benchmarks.harness import Report, arguments, run_cases
from benchmarks.machine import say
from benchmarks.sizes import CASES, SIZES, Case, make_settings

NAME = "step_throughput"
GRAPHS = "reduce-overhead"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Flags."""
    parser = arguments(__doc__ or "", NAME)
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument(
        "--modes",
        default="eager,eager_kept,channels_last,compile",
        help="of eager, eager_kept, one_thread, channels_last, compile, reduce-overhead",
    )
    parser.add_argument("--encode", default="eager", help="modes that also run the frozen encoder at every step; may be empty")
    parser.add_argument("--dtypes", default="float32", help="of float32, bfloat16")
    parser.add_argument("--seconds", type=float, default=0.5, help="of one measurement")
    parser.add_argument(
        "--patience", type=float, default=0.0, help="a PyTorch mode not ready so many s into a case is left out; 0: any"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Runs the benchmark, or one of its processes."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share a GPU
    run_cases(parse(argv), NAME, cases, work)


def cases(report: Report) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Every case in every dtype."""
    options, torch = report.options, importlib.util.find_spec("torch") is not None and not report.options.no_torch
    report.content["peaks"] = run_apart(NAME, {"mode": "peaks"}, options)
    if torch:
        report.content["skipped_modes"] = skipped_modes(options.modes.split(","))
    for dtype in options.dtypes.split(","):
        for name in options.cases.split(","):
            label = name if dtype == "float32" else f"{name}_{dtype}"
            yield label, partial(measure, CASES[name], dtype, options, report.content, torch=torch)


def work(job: dict[str, Any]) -> dict[str, Any] | Contender:
    """In a process of its own: what the device can do at most, or a contender (see `_apart`)."""
    mode = job["mode"]
    if mode in ("peaks", "ours", "eager_kept"):
        from mmjax.train.execution import runtime  # noqa: PLC0415

        if mode != "ours" or runtime.worth_keeping(make_settings(CASES[job["case"]].row, SIZES[job["size"]])):
            runtime.keep_memory()
    if mode == "peaks":
        from benchmarks.peaks import peaks  # noqa: PLC0415

        return peaks()
    case, size, options = CASES[job["case"]], SIZES[job["size"]], {"dtype": job["dtype"], "encode": job["encode"]}
    if mode == "ours":
        from benchmarks import ours  # noqa: PLC0415

        return ours.contender("ours", case, size, **options)
    from benchmarks import theirs  # noqa: PLC0415

    return theirs.contender(case, size, mode, **options)


def _apart(
    mode: str, case: Case, dtype: str, options: argparse.Namespace, *, encode: bool = False, optional: bool = False
) -> Apart:
    """Ours, or PyTorch's in a mode; `encode`: with the frozen autoencoder at every step."""
    job = {"mode": mode, "case": case.name, "size": options.size, "dtype": dtype, "encode": encode}
    name = ("" if mode == "ours" else "torch_") + mode + ("_encode" if encode else "")
    patience = options.patience if optional else 0.0
    return Apart(name, worker_command(NAME, job, options), optional=optional, patience=patience)


def skipped_modes(modes: list[str]) -> dict[str, str]:
    """Modes this machine cannot run, and why."""
    import torch  # noqa: PLC0415

    why = {}
    if torch.cuda.is_available():
        why["eager_kept"] = "malloc's options matter where a step's memory is the host's, on a CPU"
    else:
        if not any(shutil.which(c) for c in ("g++", "clang++")):
            why |= {m: "torch.compile needs a C++ compiler on a CPU; there is none" for m in modes if m in ("compile", GRAPHS)}
        why.setdefault(GRAPHS, "CUDA graphs are all it adds; on a CPU it is the program of 'compile'")
    return {m: w for m, w in why.items() if m in (*modes, GRAPHS)}


def measure(case: Case, dtype: str, options: argparse.Namespace, content: dict[str, Any], *, torch: bool) -> dict[str, Any]:
    """One case: all contenders in turns."""
    say(f"  {case.name} ({options.size}, {dtype})")
    first = _apart("ours", case, dtype, options)
    contenders = [first]
    if case.codes and options.encode:
        contenders.append(_apart("ours", case, dtype, options, encode=True))
    if torch:
        contenders += _theirs(case, dtype, options, content)
    interleave(contenders, rounds=options.rounds, seconds=options.seconds)
    for c in contenders:
        say(
            f"    {c.name:24s} "
            + (c.failed or f"{1e3 * c.to_dict()['step_s']['median']:9.3f} ms, compiled in {c.compile_seconds:.1f} s")
        )
    found = first.found
    result = {
        "row": case.row,
        "task": case.task,
        "dtype": dtype,
        "contenders": {c.name: c.to_dict() for c in contenders},
        "ratios": ratios(contenders),
        **found,
    }
    if not first.failed:
        step = first.to_dict()["step_s"]["median"]
        result["achieved"] = {
            "flops": found["step_flops"] / step,
            "bytes_at_least": found["minimum_bytes"] / step,
            "share_of_matmul_peak": found["step_flops"] / step / content["peaks"].get(f"matmul_{dtype}", float("inf")),
            "share_of_copy_peak": found["minimum_bytes"] / step / content["peaks"]["copy_bytes"],
        }
    return result


def _theirs(case: Case, dtype: str, options: argparse.Namespace, content: dict[str, Any]) -> list[Apart]:
    out = []
    pictures = case.task == "classifier" and case.row >= 3
    for mode in options.modes.split(","):
        # One thread can only win where steps are small, NHWC only where there are convolutions over pixels.
        if mode in content["skipped_modes"] or mode == ("one_thread" if pictures else "channels_last"):
            continue
        # A GPU's memory, or the paper's size on any device, may not hold it beside the others.
        optional = mode != "eager" or options.size == "paper" or content["facts"]["backend"] != "cpu"
        out.append(_apart(mode, case, dtype, options, optional=optional))
        if case.codes and mode in options.encode.split(","):
            out.append(_apart(mode, case, dtype, options, encode=True, optional=optional))
    return out


def ratios(contenders: Sequence[Entrant]) -> dict[str, Any]:
    """Times faster than each of theirs: `same` work on both sides; `as_run`: theirs encodes at each step, ours did before."""
    named = {c.name: c for c in contenders}
    out: dict[str, Any] = {"same": {}, "as_run": {}}
    for name, other in named.items():
        if not name.startswith("torch_"):
            continue
        encode = name.endswith("_encode")
        out["same"][name] = ratio(named["ours_encode" if encode else "ours"], other)
        if encode:
            out["as_run"][name] = ratio(named["ours"], other)
    return out


if __name__ == "__main__":
    main(sys.argv[1:])
