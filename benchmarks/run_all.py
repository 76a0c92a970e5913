"""Every benchmark, then the report: what `make bench` runs.

  python -m benchmarks.run_all --out runs/bench [--minutes 50] [--quick]

Each script is a process of its own. The minutes are shared: what one leaves, the next may use; a script starts no further case
when its share is over and names what it left out. --quick takes tiny sizes, to see that everything runs.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import busy_cores, say

SHARES = {"step_throughput": 0.44, "crossval_throughput": 0.35, "input_pipeline": 0.06, "scaling": 0.15}
"""Of the time."""
QUICK = {
    "step_throughput": ["--size", "tiny", "--rounds", "2", "--seconds", "0.1", "--modes", "eager"],
    "crossval_throughput": ["--size", "tiny"],
    "input_pipeline": ["--sides", "64", "--photos", "64", "--steps", "4", "--rounds", "1"],
    "scaling": [
        "--size",
        "tiny",
        "--rows",
        "1000,10000",
        "--sides",
        "16,32",
        "--folds",
        "1,5",
        "--devices",
        "1,2",
        "--rounds",
        "1",
    ],
}


def main(argv: list[str] | None = None) -> None:
    """Runs the scripts one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--minutes", type=float, default=50.0, help="for everything; a started case is finished")
    parser.add_argument("--only", default=",".join(SHARES), help=f"of {', '.join(SHARES)}")
    parser.add_argument("--threads", type=int, default=0, help="cores for both frameworks; 0: all")
    parser.add_argument("--no-torch", action="store_true", help="measure ours alone")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    options = parser.parse_args(argv)
    if busy_cores() > 0.3:
        say("WARNING: other programs are at work on this machine; stop them first, or these numbers will mean little.")
    start, names = time.monotonic(), options.only.split(",")
    failed = []
    for i, name in enumerate(names):
        left = options.minutes - (time.monotonic() - start) / 60
        share = SHARES[name] / sum(SHARES[n] for n in names[i:])
        say(f"{name} ({left * share:.1f} of {left:.1f} minutes)")
        command = [
            sys.executable,
            "-m",
            f"benchmarks.{name}",
            "--out",
            str(options.out),
            "--minutes",
            str(max(0.1, left * share)),
        ]
        command += ["--threads", str(options.threads)] + (["--no-torch"] if options.no_torch else [])
        code = subprocess.run([*command, *(QUICK[name] if options.quick else [])], check=False).returncode
        if code:
            failed.append(f"{name} (exit {code})")
    subprocess.run([sys.executable, "-m", "benchmarks.report", "--out", str(options.out)], check=True)
    say(f"{(time.monotonic() - start) / 60:.1f} minutes" + (f"; FAILED: {', '.join(failed)}" if failed else ""))
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
