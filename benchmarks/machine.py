"""The machine a benchmark runs on: its cores, what else is at work, versions and memory."""

import importlib.util
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from mmjax.train.execution.concurrent_folds import cores


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)


def use_cores(count: int) -> None:
    """Leaves this process (and both frameworks, if not started yet) `count` cores; 0: all."""
    if count:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def busy_cores() -> float:
    """How many cores other programs keep busy just now, looked at for half a second."""

    def read() -> tuple[float, float]:
        values = [float(v) for v in Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:]]
        return sum(values), values[3] + values[4]

    if not Path("/proc/stat").exists():
        return 0.0
    before = read()
    time.sleep(0.5)
    after = read()
    total = max(after[0] - before[0], 1.0)
    return (os.cpu_count() or 1) * (1.0 - (after[1] - before[1]) / total)


def facts() -> dict[str, Any]:
    """Machine, versions, commit, date, load and arguments."""
    from mmjax.io.environment import environment  # noqa: PLC0415 - starts jax, which a worker may still have to configure

    known: dict[str, Any] = environment() | {"argv": sys.argv[1:]}
    known["cores"] = cores()
    known["processor"] = _processor()
    known["busy_cores_before"] = busy_cores()
    if known["busy_cores_before"] > 0.3:
        say(f"WARNING: other programs keep {known['busy_cores_before']:.1f} cores busy; these numbers will mean little.")
    if importlib.util.find_spec("torch"):
        import torch  # noqa: PLC0415

        known["versions"]["torch"] = torch.__version__
        known["torch_threads"] = torch.get_num_threads()
    return known


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would start at the memory of the process that started this one
        line = next(v for v in status.read_text(encoding="utf-8").splitlines() if v.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory() -> dict[str, int]:
    """`peak_memory`, and on a GPU the largest memory of it that this process's framework held so far."""
    found = {"peak_bytes": peak_memory()}
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if torch is not None and torch.cuda.is_initialized():
        found["device_peak_bytes"] = int(torch.cuda.max_memory_allocated())
    elif jax is not None and jax.default_backend() != "cpu":
        stats = jax.local_devices()[0].memory_stats() or {}
        found |= {"device_peak_bytes": int(stats["peak_bytes_in_use"])} if "peak_bytes_in_use" in stats else {}
    return found
