"""Markdown and a plot from the JSON files of a benchmark folder.

  python -m benchmarks.report --out runs/bench

Writes report.md and speed.png there. Every ratio is ours against theirs in the same run: 2 means ours is twice as fast. The
range in brackets is the least and the largest of the rounds.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.targets import targets

Found = dict[str, Any]
FILES = ("step_throughput", "crossval_throughput", "input_pipeline", "scaling")


def main(argv: list[str] | None = None) -> None:
    """Writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    folder = parser.parse_args(argv).out
    files = {n: json.loads((folder / f"{n}.json").read_text()) for n in FILES if (folder / f"{n}.json").exists()}
    if not files:
        print(f"{folder} holds none of {', '.join(f'{n}.json' for n in FILES)}; run `make bench` first.", file=sys.stderr)
        raise SystemExit(1)
    (folder / "report.md").write_text(markdown(files), encoding="utf-8")
    from benchmarks.plot import draw  # noqa: PLC0415 - matplotlib

    draw(files, folder / "speed.png")
    print(f"{folder / 'report.md'}, {folder / 'speed.png'}", flush=True)


def markdown(files: dict[str, Found]) -> str:
    """The whole report."""
    sections = {"step_throughput": steps, "crossval_throughput": crossvals, "input_pipeline": photos, "scaling": scalings}
    parts = ["# Benchmarks", facts(next(iter(files.values()))["facts"]), aims(files)]
    for name, found in files.items():
        parts.append(sections[name](found))
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
    """A Markdown table."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(values: Found | None) -> str:
    """Median and range of a ratio."""
    return f"{values['median']:.2f} ({values['min']:.2f}-{values['max']:.2f})" if values else "-"


def aims(files: dict[str, Found]) -> str:
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


def steps(found: Found) -> str:
    """Training steps."""
    rows = []
    for name, case in found["cases"].items():
        ours, theirs = case["contenders"]["ours"], case["contenders"].get("torch_eager", {})
        fastest, run = best(case), best(case, "as_run")
        compiled = case["contenders"].get("torch_compile", {}).get("compile_s")
        rows.append(
            [
                name,
                f"{1e3 * ours['step_s']['median']:.3f}",
                f"{1e3 * theirs['step_s']['median']:.3f}" if theirs else "-",
                show(case["ratios"]["same"].get("torch_eager")),
                show(case["ratios"]["same"].get("torch_eager_kept")),
                f"{show(fastest[1])} {fastest[0]}" if fastest else "-",
                show(case["ratios"]["as_run"].get("torch_eager_encode")) if run else "-",
                f"{ours['compile_s']:.1f} / {f'{compiled:.1f}' if compiled is not None else '-'}",
                f"{100 * case['achieved']['share_of_matmul_peak']:.1f} / {100 * case['achieved']['share_of_copy_peak']:.1f}",
            ]
        )
    peak = ", ".join(f"{k} {v:.3g}" for k, v in found["peaks"].items())
    notes = [f"Size {found['options']['size']}. Measured peaks (FLOP/s, bytes/s): {peak}."]
    notes += [f"{mode}: not run, {why}." for mode, why in found.get("skipped_modes", {}).items()]
    notes += [
        f"{c}: {n} failed, {r['failed']}."
        for c, v in found["cases"].items()
        for n, r in v["contenders"].items()
        if "failed" in r
    ]
    header = [
        "case",
        "ours ms",
        "eager ms",
        "x eager",
        "x eager with ours' malloc options",
        "x PyTorch's best",
        "x eager that encodes at each step",
    ]
    header += ["compile s, ours / torch.compile", "% of matmul / copy peak"]
    return "## Training steps\n\n" + table(header, rows) + "\n\n" + "\n".join(f"- {n}" for n in notes)


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
            ]
        )
    header = ["case", "rows x epochs", "ours first s", "compiling meanwhile s", "ours later s", "PyTorch s"]
    header += ["x first", "x later"]
    return "## Five folds, end to end\n\n" + table(header, rows)


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
    ]
    return "## Photos to batches\n\n" + table(header, rows)


def scalings(found: Found) -> str:
    """Cost against size."""
    parts = {"rows": [], "image": [], "folds": [], "loops": [], "devices": []}
    for case in found["cases"].values():
        value = case["value"]
        if case["part"] == "rows":
            peak = f"{case['peak_bytes'] / 2**30:.2f}"
            parts["rows"].append([f"{value:,}", f"{case['ready_s']:.1f}", f"{case['seconds']:.1f}", peak])
        elif case["part"] == "devices":
            parts["devices"].append([str(value), *(f"{1e3 * c['step_s']['median']:.3f}" for c in case["cases"].values())])
        else:
            ms = [f"{1e3 * c['step_s']['median']:.3f}" for c in case["contenders"].values()]
            parts[case["part"]].append([str(value), *([*ms, "-"])[:2], show(case.get("ratio"))])
    headers = {
        "rows": ["rows of table + text", "s until rows are ready", "s in all, one fold, one epoch", "largest GiB resident"],
        "image": ["photo's side", "ours ms", "eager ms", "x eager"],
        "folds": ["folds together (row #1)", "ours ms a fold's step", "eager ms", "x eager"],
        "loops": ["row of Table 1", "steps in a loop, ms", "one by one, ms", "x faster in a loop"],
        "devices": [
            "virtual devices",
            "row #1, batch sharded, ms",
            "row #2, batch sharded, ms",
            "row #1, five folds placed, ms",
        ],
    }
    tables = [table(headers[name], rows) for name, rows in parts.items() if rows]
    return "## Scaling\n\n" + "\n\n".join(tables)


if __name__ == "__main__":
    main(sys.argv[1:])
