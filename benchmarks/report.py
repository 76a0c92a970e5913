"""Markdown and a plot from the JSON files of a benchmark folder.

  python -m benchmarks.report --out runs/bench [--no-figure]

Reads every file whose name begins with a script's (step_throughput_paper.json); writes report.md and speed.png there. Every
ratio is ours against theirs in the same run: 2 means ours is twice as fast. The range in brackets is the least and the largest
of the rounds.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.targets import Files, Found, of_script, targets

MODES = {"eager_kept": "eager with ours' malloc options", "one_thread": "eager on one thread", "channels_last": "eager, NHWC"}
"""PyTorch's modes whose names say too little."""


def main(argv: list[str] | None = None) -> None:
    """Writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--no-figure", action="store_true", help="write report.md alone, without matplotlib")
    options = parser.parse_args(argv)
    folder, files = options.out, read(options.out)
    if not files:
        print(f"{folder} holds none of {', '.join(f'{n}*.json' for n in SECTIONS)}; run `make bench` first.", file=sys.stderr)
        raise SystemExit(1)
    (folder / "report.md").write_text(markdown(files), encoding="utf-8")
    print(folder / "report.md", flush=True)
    if not options.no_figure:
        from benchmarks.plot import draw  # noqa: PLC0415 - matplotlib

        draw(files, folder / "speed.png")
        print(folder / "speed.png", flush=True)


def read(folder: Path) -> Files:
    """The folder's files by name, script by script, the one of a script's own name first."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    return {stem: file for name in SECTIONS for stem, file in of_script(found, name).items()}


def markdown(files: Files) -> str:
    """The whole report."""
    first = next(iter(files.values()))["facts"]
    parts = ["# Benchmarks", facts(first), aims(files)]
    for name, (title, section) in SECTIONS.items():
        for stem, found in of_script(files, name).items():
            which = stem.removeprefix(name).replace("_", " ")
            parts.append(f"## {title}" + (f":{which}" if which else ""))
            if found["facts"].get("git") != first.get("git"):
                parts.append(facts(found["facts"]))
            parts.append(section(found) if found["cases"] else "Nothing was measured.")
            if found["left_out"]:
                parts.append(f"Left out, for want of time: {', '.join(found['left_out'])}.")
            parts += [f"Failed: {case}: {why.splitlines()[-1]}" for case, why in found.get("failed", {}).items()]
    return "\n\n".join(p for p in parts if p) + "\n"


def facts(known: Found) -> str:
    """Where and with what."""
    versions = ", ".join(f"{n} {known['versions'][n]}" for n in ("jax", "flax", "torch") if known["versions"].get(n))
    git = known.get("git") or {}
    commit = f"commit {git['commit'][:12]}{' with changes' if git['dirty'] else ''}" if git else "no commit known"
    lines = [f"{known['date']}, {known['device']} ({known['processor']}, {known['cores']} cores), {versions}, {commit}."]
    if known["busy_cores_before"] > 0.3:
        lines.append(f"**Other programs kept {known['busy_cores_before']:.1f} cores busy: these numbers mean little.**")
    return " ".join(lines)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, without columns that say nothing."""
    kept = [i for i in range(len(header)) if any(row[i] not in ("-", "- / -") for row in rows)]
    header, *rows = ([line[i] for i in kept] for line in (header, *rows))
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(values: Found | None) -> str:
    """Median and range of a ratio."""
    return f"{values['median']:.2f} ({values['min']:.2f}-{values['max']:.2f})" if values else "-"


def aims(files: Files) -> str:
    """Every target beside what was measured, also those that were not."""
    rows = []
    for target in targets(files):
        found, wanted = target.find(files), f"< {100 * target.wanted:.0f} %" if target.share else f"{target.wanted:.1f}x"
        rows.append([target.work, wanted, *((target.show(found), target.verdict(found)) if found else ("-", "not measured"))])
    if all(row[-1] == "not measured" for row in rows):
        return ""
    return "## Targets\n\n" + table(["work", "target", "measured, ours / theirs", ""], rows)


def best(case: Found, kind: str = "same") -> tuple[str, Found] | None:
    """PyTorch's fastest way of a case and the ratio to it."""
    found = {n: r for n, r in case["ratios"][kind].items() if r and (kind == "as_run" or not n.endswith("_encode"))}
    name = min(found, key=lambda n: found[n]["median"], default="")
    return (name.removeprefix("torch_"), found[name]) if name else None


def peak_bytes(found: Found) -> int:
    """Largest memory of a process, on a GPU the GPU's; 0 if it is not known."""
    return found.get("device_peak_bytes", found.get("peak_bytes", 0))


def gib(found: Found | None) -> str:
    """`peak_bytes` in GiB."""
    peak = peak_bytes(found or {})
    return f"{peak / 2**30:.2f}" if peak else "-"


def memories(*found: Found | None) -> str:
    """Ours / theirs."""
    return " / ".join(map(gib, found))


def steps(found: Found) -> str:
    """Training steps; a column for each of PyTorch's modes that ran."""
    cases = found["cases"].values()
    ran = dict.fromkeys(n for c in cases for n, r in c["ratios"]["same"].items() if r and not n.endswith("_encode"))
    rows = []
    for name, case in found["cases"].items():
        ours, theirs = case["contenders"]["ours"], case["contenders"].get("torch_eager", {})
        fastest, same = best(case), case["ratios"]["same"]
        compiled = case["contenders"].get("torch_compile", {}).get("compile_s")
        row = [name, milliseconds(ours), milliseconds(theirs), *(show(same.get(n)) for n in ran)]
        row.append(f"{show(fastest[1])} {fastest[0]}" if fastest else "-")
        row += [
            show(case["ratios"]["as_run"].get("torch_eager_encode")),
            f"{ours['compile_s']:.1f} / {f'{compiled:.1f}' if compiled is not None else '-'}",
            f"{100 * case['achieved']['share_of_matmul_peak']:.1f} / {100 * case['achieved']['share_of_copy_peak']:.1f}",
            memories(ours, case["contenders"].get(f"torch_{fastest[0]}") if fastest else None),
        ]
        rows.append(row)
    header = ["case", "ours ms", "eager ms", *(f"x {MODES.get(n[6:], n[6:])}" for n in ran), "x PyTorch's best"]
    header += [
        "x eager that encodes at each step",
        "compile s, ours / torch.compile",
        "% of matmul / copy peak",
        "peak GiB, ours / best",
    ]
    peak = ", ".join(f"{k} {v:.3g}" for k, v in found["peaks"].items())
    notes = [f"Size {found['options']['size']}. Measured peaks (FLOP/s, bytes/s): {peak}."]
    notes += [f"{mode}: not run, {why}." for mode, why in found.get("skipped_modes", {}).items()]
    notes += [
        f"{c}: {n} failed, {r['failed']}."
        for c, v in found["cases"].items()
        for n, r in v["contenders"].items()
        if "failed" in r
    ]
    return table(header, rows) + "\n\n" + "\n".join(f"- {n}" for n in notes)


def milliseconds(contender: Found) -> str:
    """Median of a step."""
    return f"{1e3 * contender['step_s']['median']:.3f}" if "step_s" in contender else "-"


def largest(runs: list[Found]) -> Found | None:
    """The run that took most memory."""
    return max(runs, key=peak_bytes, default=None)


def crossvals(found: Found) -> str:
    """Five folds end to end."""
    rows = []
    for name, case in found["cases"].items():
        ratios, runs = case.get("ratios", {}), case["runs"]
        theirs = f"{case['theirs_s']['median']:.1f} ({runs['theirs'][0]['workers']} workers)" if "theirs_s" in case else "-"
        rows.append(
            [
                name,
                f"{case['table_rows']} x {case['epochs']}"
                + (f" + {case['autoencoder_epochs']}" if case["autoencoder_epochs"] else ""),
                f"{case['first_s']['median']:.1f}",
                f"{runs['first'][0]['compile_s']:.1f}",
                f"{case['later_s']['median']:.1f}",
                theirs,
                *(show(ratios.get(k)) for k in ("first", "later")),
                memories(largest(runs["first"] + runs["later"]), largest(runs["theirs"])),
            ]
        )
    header = ["case", "rows x epochs", "ours first s", "compiling meanwhile s", "ours later s", "PyTorch s"]
    header += ["x first", "x later", "peak GiB, ours / PyTorch"]
    return table(header, rows)


def photos(found: Found) -> str:
    """Photos to batches."""
    rows = []
    for name, case in found["cases"].items():
        cells = [
            f"{case[k][s]['median']:.3f}" if s in case[k] else "-" for k in ("first_s", "later_s") for s in ("ours", "theirs")
        ]
        wait = [
            f"{100 * case['wait_share'][s]['median']:.1f} %" if s in case["wait_share"] else "-" for s in ("ours", "theirs")
        ]
        ratios = case.get("ratios", {})
        rows.append([f"{name}, {case['photos']} photos", *cells, show(ratios.get("first")), show(ratios.get("later")), *wait])
        rows[-1].append(memories(*(largest(case["runs"][s]) for s in ("ours", "theirs"))))
    header = [
        "case",
        "first epoch s, ours",
        "PyTorch",
        "later epoch s, ours",
        "PyTorch",
        "x first",
        "x later",
        "waiting, ours",
        "PyTorch",
        "peak GiB, ours / PyTorch",
    ]
    return table(header, rows)


def scalings(found: Found) -> str:
    """Cost against size."""
    parts = {"rows": [], "image": [], "folds": [], "loops": [], "evaluation": [], "devices": []}
    for case in found["cases"].values():
        value = case["value"]
        if case["part"] == "rows":
            peak = f"{case['peak_bytes'] / 2**30:.2f}"
            parts["rows"].append([f"{value:,}", f"{case['ready_s']:.1f}", f"{case['seconds']:.1f}", peak])
        elif case["part"] == "devices":
            parts["devices"].append([str(value), *map(milliseconds, case["cases"].values()), gib(case)])
        else:
            both = ([*case["contenders"].values(), None])[:2]
            ms = [milliseconds(c or {}) for c in both]
            parts[case["part"]].append([str(value), *ms, show(case.get("ratio")), memories(*both)])
    folds = "five folds" if found["options"].get("all_folds") else "one fold"
    headers = {
        "rows": ["rows of table + text", "s until rows are ready", f"s in all, {folds}, one epoch", "largest GiB resident"],
        "image": ["photo's side", "ours ms", "eager ms", "x eager", "peak GiB, ours / eager"],
        "folds": ["folds together (row #1)", "ours ms a fold's step", "eager ms", "x eager", "peak GiB, ours / eager"],
        "loops": ["row of Table 1", "steps in a loop, ms", "one by one, ms", "x faster in a loop", "peak GiB, each way"],
        "evaluation": [
            "row of Table 1",
            "256 rows predicted by 32, ms",
            "all at once, ms",
            "x faster by 32",
            "peak GiB, each way",
        ],
        "devices": [
            "virtual devices",
            "row #1, batch sharded, ms",
            "row #2, batch sharded, ms",
            "row #1, five folds placed, ms",
            "peak GiB",
        ],
    }
    tables = [table(headers[name], rows) for name, rows in parts.items() if rows]
    return "\n\n".join(tables)


SECTIONS = {
    "step_throughput": ("Training steps", steps),
    "crossval_throughput": ("Five folds, end to end", crossvals),
    "input_pipeline": ("Photos to batches", photos),
    "scaling": ("Scaling", scalings),
}

if __name__ == "__main__":
    main(sys.argv[1:])
