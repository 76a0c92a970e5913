"""Which parts of benchmarks/gpu.sh this machine can run, found by importing what they need, and what the others lack.

  python -m benchmarks.ready [--any-device]

Prints the parts that can run, and `torch` where PyTorch can, in one line; the reasons of the rest go to stderr. Each import is
in a process of its own that may take LIMIT seconds: a broken package, or one that hangs, costs its own part alone.
"""

import argparse
import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

LIMIT = 120
"""A machine that has just started reads its packages from a cold disk."""
CHECKS = {
    "gpu": "import jax; jax.numpy.zeros(1).block_until_ready(); assert jax.default_backend() == 'gpu', 'jax sees no GPU'",
    "any": "import jax; jax.numpy.zeros(1).block_until_ready()",
    "torch": "import benchmarks.theirs",
    "torch_gpu": "import benchmarks.theirs, torch; torch.zeros(1, device='cuda').cpu()",
    "step": "import benchmarks.ours, mmjax.train.execution.runtime, mmjax.io.environment",
    "photos": "import PIL.Image, mmjax.data.image_store, mmjax.data.loader, benchmarks.ours",
    "folds": "import sklearn, mmjax.train.cross_validation, tensorboard.summary.writer.record_writer; import platformdirs",
}
NEEDS = {
    "row8": "step",
    "folds": "folds",
    "photos": "photos",
    "steps": "step",
    "paper": "step",
    "bf16": "step",
    "scaling": "step",
}
"""What each part of gpu.sh imports."""
CARRIED = ("grain", "array_record", "portpicker", "platformdirs")
"""Packages that machines for JAX and PyTorch mostly lack."""


def main(argv: list[str] | None = None) -> None:
    """Prints what can run.

    Raises:
      SystemExit: jax does not see the device.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--any-device", action="store_true", help="a CPU will do")
    options = parser.parse_args(argv)
    device, torch = ("any", "torch") if options.any_device else ("gpu", "torch_gpu")
    wanted = (device, torch, "step", "photos", "folds")
    with ThreadPoolExecutor(len(wanted)) as pool:
        why = dict(zip(wanted, pool.map(lambda name: failure(CHECKS[name]), wanted), strict=True))
    for name in wanted:
        print(f"{name}: {why[name] or 'ok'}", file=sys.stderr, flush=True)
    missing = [name for name in CARRIED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"missing, and can be brought as wheels (see benchmarks/gpu.sh): {', '.join(missing)}", file=sys.stderr)
    if why[device]:
        raise SystemExit(1)
    print(*(part for part, need in NEEDS.items() if not why[need]), *([] if why[torch] else ["torch"]))


def failure(code: str) -> str:
    """The last line a Python process says that cannot run this code; empty where it can."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return f"not done after {LIMIT} s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]


if __name__ == "__main__":
    main(sys.argv[1:])
