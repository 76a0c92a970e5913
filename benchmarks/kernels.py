"""Sums a profiler's trace by kind of GPU kernel: where a training step's time goes, and how much of it is gaps.

`python train.py --config=... --workdir=W --config.train.profile=20`, then `python -m benchmarks.kernels W/profile/classifier`.
A folder with any other trace of `jax.profiler` will do, with --steps.
"""

import argparse
import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmjax.train.profiling import STEPS

Event = dict[str, Any]

KINDS = {
    "between GPUs": r"nccl",
    "convolution weight gradients": r"wgrad|backward_?filter|bwd_?filter",
    "convolution input gradients": r"dgrad|backward_?data|bwd_?data",
    "convolutions forward": r"fprop|convol|implicit_gemm|conv[123]d|winograd",
    "matrix products": r"gemm|gemv|nvjet|cutlass|cublas|splitk|(^|[._])dot([._]|$)",
    "softmax and other Triton fusions": r"triton|softmax",
    "reductions": r"reduce",
    "concatenations, memsets, copies, scatter": r"memset|memcpy|copy|concatenate|scatter|gather|nchwtonhwc|nhwctonchw",
    "elementwise": r"^(loop|input|wrapped)_|fusion",
}
"""What a kernel's name (lower case) has in it; the first that fits counts: `wgrad` kernels have `gemm` in their names, too."""
OTHER = "other"
SHORT = 3.0
"""Microseconds below which a kernel is mostly its launch."""
MOST_EVENTS = 1_000_000
"""XLA writes no more events into a trace.json.gz, and leaves out the last ones."""
LARGEST = 10


def kind(name: str) -> str:
    """The kind of a kernel, by its name."""
    return next((k for k, pattern in KINDS.items() if re.search(pattern, name.lower())), OTHER)


def gpu_kernels(events: Iterable[Event]) -> list[Event]:
    """The complete events of the GPUs' streams, of all events of a Chrome trace; copies and memsets are among them."""
    devices: set[Any] = set()
    streams: set[tuple[Any, Any]] = set()
    complete = []
    for event in events:
        if event.get("ph") == "X":
            complete.append(event)
        elif event.get("name") == "process_name" and "GPU" in event["args"]["name"]:
            devices.add(event["pid"])
        elif event.get("name") == "thread_name" and event["args"]["name"].startswith("Stream"):
            streams.add((event["pid"], event["tid"]))
    return [e for e in complete if e["pid"] in devices and (e["pid"], e.get("tid")) in streams]


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals (start, end)."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def summarise(events: Iterable[Event], steps: int) -> dict[str, Any]:
    """Kernels by kind.

    Args:
      events: of a Chrome trace; times in microseconds.
      steps: training steps in the trace.

    Returns:
      `kernels` in all, and where there are any, each a step and in milliseconds: `kernels_a_step`, `busy_ms` (while at least
      one kernel runs), `window_ms` (from the first kernel's start to the last one's end), `kernel_ms` (the kernels' own times:
      more than `busy_ms` where streams overlap), `short_kernels_a_step` (under 3 us), `kinds` (launches, ms, share of
      `kernel_ms`; largest first) and `largest` (name, kind, launches, ms of the ten with the largest total time). `gap_share`
      is the part of the window in which no kernel runs. Of several GPUs everything is the sum.
    """
    found = gpu_kernels(events)
    if not found:
        return {"steps": steps, "kernels": 0}
    intervals: dict[Any, list[tuple[float, float]]] = defaultdict(list)
    launches: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for event in found:
        intervals[event["pid"]].append((event["ts"], event["ts"] + event["dur"]))
        launches[event["name"]] += 1
        times[event["name"]] += event["dur"]
    busy = sum(covered(i) for i in intervals.values())
    window = sum(max(end for _, end in i) - min(start for start, _ in i) for i in intervals.values())
    return {
        "steps": steps,
        "kernels": len(found),
        "kernels_a_step": len(found) / steps,
        "busy_ms": busy / 1e3 / steps,
        "window_ms": window / 1e3 / steps,
        "kernel_ms": times.total() / 1e3 / steps,
        "gap_share": 1 - busy / window if window else 0.0,
        "short_kernels_a_step": sum(e["dur"] < SHORT for e in found) / steps,
        "kinds": _by_kind(launches, times, steps),
        "largest": [
            {"name": name, "kind": kind(name), "launches": launches[name] / steps, "ms": time / 1e3 / steps}
            for name, time in times.most_common(LARGEST)
        ],
    }


def _by_kind(launches: Counter[str], times: Counter[str], steps: int) -> dict[str, dict[str, float]]:
    count: Counter[str] = Counter()
    time: Counter[str] = Counter()
    for name in launches:
        count[kind(name)] += launches[name]
        time[kind(name)] += times[name]
    total = max(time.total(), 1e-9)
    return {k: {"launches": count[k] / steps, "ms": t / 1e3 / steps, "share": t / total} for k, t in time.most_common()}


def shown(summary: dict[str, Any]) -> str:
    """The summary as Markdown."""
    if not summary["kernels"]:
        return "The trace holds no GPU kernels: it is of a run on another device, or the profiler could not read the GPU's."
    lines = ["| kind | launches a step | ms a step | share |", "|---|---|---|---|"]
    lines += [f"| {k} | {v['launches']:.4g} | {v['ms']:.3f} | {v['share']:.0%} |" for k, v in summary["kinds"].items()]
    lines += [
        "",
        f"- steps: {summary['steps']}",
        f"- kernels a step: {summary['kernels_a_step']:.4g}",
        f"- busy: {summary['busy_ms']:.3f} ms a step (the kernels' own times: {summary['kernel_ms']:.3f} ms)",
        f"- gaps: {summary['gap_share']:.1%} of the {summary['window_ms']:.3f} ms a step from the first kernel to the last",
        f"- kernels under {SHORT:g} us: {summary['short_kernels_a_step']:.4g} a step",
        "",
        "| largest kernels | kind | launches a step | us each | ms a step |",
        "|---|---|---|---|---|",
    ]
    for k in summary["largest"]:
        name = k["name"].replace("|", "\\|")
        lines.append(f"| `{name}` | {k['kind']} | {k['launches']:.4g} | {1e3 * k['ms'] / k['launches']:.1f} | {k['ms']:.3f} |")
    if summary.get("cut"):
        lines += ["", f"XLA left events out of this trace (it writes {MOST_EVENTS:,} at most): trace fewer steps."]
    return "\n".join(lines)


def read(folder: Path, steps: int = 0) -> dict[str, Any]:
    """Summary of the one trace in a folder, with `trace` (its file) and `cut` (whether XLA left out events).

    Args:
      folder: a task's folder in a workdir's `profile`, or any folder above one trace.
      steps: training steps in it; 0: as the run noted beside its trace.

    Raises:
      SystemExit: there is no trace, more than one, or nothing says how many steps it holds.
    """
    traces = sorted(folder.rglob("*.trace.json.gz"))
    if len(traces) != 1:
        names = f": name the folder of one of {', '.join(str(t.parent) for t in traces)}" if traces else ""
        raise SystemExit(f"{folder} holds {len(traces)} traces (*.trace.json.gz){names}.")
    noted = [parent / STEPS for parent in traces[0].parents[:4] if (parent / STEPS).exists()]
    if not steps and not noted:
        raise SystemExit(f"Nothing beside {traces[0]} says how many training steps it holds: add --steps=N.")
    with gzip.open(traces[0], "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    summary = summarise(events, steps or json.loads(noted[0].read_text(encoding="utf-8"))["steps"])
    return {"trace": str(traces[0]), "cut": len(events) >= MOST_EVENTS} | summary


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the tables, and writes the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="WORKDIR/profile/TASK, or a folder with another trace of jax.profiler")
    parser.add_argument("--steps", type=int, default=0, help="training steps in the trace; 0: as the run noted")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    options = parser.parse_args(argv)
    summary = read(options.folder, options.steps)
    print(shown(summary))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
