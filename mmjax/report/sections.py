"""The sections of a run's report, from its files."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmjax.config import Settings
from mmjax.explain import Importance
from mmjax.io.workdir import decisive
from mmjax.report.baselines import MOST_ROWS, Baseline
from mmjax.report.contents import AnyPart, Facts, Note, Numbers
from mmjax.report.explanations import Explanations
from mmjax.report.plots import Scored, curves, dots, importance
from mmjax.report.run_files import RunFiles
from mmjax.tasks import metrics
from mmjax.tasks.parts import ValueTable

_MOST_BARS = 30


def glance(run: RunFiles, baselines: Sequence[Baseline]) -> Iterator[AnyPart]:
    """What a reader wants to know first."""
    name, summary = run.metric, run.summary
    items = [
        (metrics.title(name), metrics.show(name, summary["mean"][name], summary["std"][name]), "held-out rows, mean ± std")
    ]
    for baseline in baselines[-1:]:
        mean, std = _mean(baseline, name)
        items.append((metrics.title(name), metrics.show(name, mean, std), baseline.name.split(":")[0]))
    if "ceiling" in summary:
        items.append(("best possible", metrics.show(name, summary["ceiling"]), "of any model"))
    items.append(("rows", f"{summary['rows']:,}", f"held out in {len(run.folds)} folds"))
    if run.classes:
        items.append(("classes", str(len(run.classes)), f"of {run.schema.label}"))
    if "seconds" in run.run:
        items.append(
            ("time", _duration(run.run["seconds"]), f"peak memory {run.run.get('peak_memory_bytes', 0) / 2**30:.1f} GiB")
        )
    yield Numbers(items)


def trained(run: RunFiles) -> Iterator[AnyPart]:
    """What was trained, on what machine, when, and what was changed of the settings."""
    last = run.sessions[-1] if run.sessions else {}
    versions, git = last.get("versions", {}), last.get("git") or {}
    pairs = [
        ("model", run.summary["title"]),
        ("modalities", ", ".join(run.summary["modalities"])),
        ("folds", f"{run.summary['folds_finished']} of {run.summary['folds']} finished"),
        ("device", f"{last.get('device_count', '?')} x {last.get('device', '?')} ({last.get('backend', '?')})"),
        ("machine", f"{last.get('platform', '?')}, {last.get('cpu_count', '?')} CPU cores"),
        (
            "versions",
            ", ".join(f"{n} {versions[n]}" for n in ("mmjax", "jax") if versions.get(n))
            + f", Python {last.get('python', '?')}",
        ),
        ("began", run.sessions[0].get("date", "?") if run.sessions else "?"),
        ("sessions", str(len(run.sessions))),
    ]
    pairs += [("commit", f"{git['commit'][:12]}{', changed' if git.get('dirty') else ''}")] if git.get("commit") else []
    pairs += [("command", " ".join(map(str, [Path(last["argv"][0]).name, *last["argv"][1:]])))] if last.get("argv") else []
    yield Facts([pair for pair in pairs if "?" not in pair[1]])
    if rows := changed_settings(run.settings):
        caption = "All others are at their defaults."
        yield ValueTable(
            "Settings that differ from their default", caption, ("setting", "value", "default"), rows, (0, 1, 2), 15
        )


def changed_settings(settings: Settings) -> list[list[str]]:
    """Name, value and default of each setting that decides results and is not at its default."""
    now, usual = decisive(settings.record()), decisive(Settings().record())
    return [[name, _plain(value), _plain(usual.get(name, ""))] for name, value in now.items() if value != usual.get(name)]


def data(run: RunFiles) -> Iterator[AnyPart]:
    """Rows, classes, columns, and what was wrong."""
    roles, settings = run.schema.roles(), run.settings.data
    pairs = [("data set", run.name), ("rows", f"{run.rows:,}, {len(run.row_n):,} of them held out once")]
    pairs += [("label", run.schema.label)] if run.schema.label else []
    pairs += [("folder", str(settings.root))] if settings.root else []
    grouped = run.settings.cv.group
    pairs.append(
        ("folds", f"grouped by {grouped}: no group is in two" if grouped else "random, with equal shares of each class")
    )
    yield Facts(pairs)
    if run.classes and "label" in run.predictions:
        counts = Counter(run.predictions["label"].tolist())
        names = sorted(run.classes, key=lambda name: -counts[name]) if len(run.classes) > 12 else run.classes
        rows = [[name, f"{counts[name]:,}", f"{100 * counts[name] / len(run.predictions):.1f} %"] for name in names]
        yield ValueTable("Classes", "Rows of each label.", ("class", "rows", "share"), rows, shown=12)
    by_role: dict[str, list[str]] = {}
    for column, role in roles.items():
        by_role.setdefault(role, []).append(column)
    rows = [[role, ", ".join(columns)] for role, columns in by_role.items()]
    yield ValueTable("Columns", "What each column was taken for.", ("as", "columns"), rows, (0, 1))
    yield from problems(run.problems)


def problems(report: Mapping[str, Any]) -> Iterator[AnyPart]:
    """data_report.json, the most frequent first."""
    rows = []
    for kind, count in sorted(report.get("counts", {}).items(), key=lambda entry: -entry[1]):
        first = next(iter(report.get("entries", {}).get(kind, ())), {})
        place = [
            Path(str(first.get("file", ""))).name,
            *(f"{key} {first[key]}" for key in ("row", "column", "value") if key in first),
        ]
        rows.append([kind.replace("_", " "), f"{count:,}", ", ".join(filter(None, place)), str(first.get("action", ""))])
    if rows:
        caption = "All of them, up to a thousand of a kind, are in data_report.json."
        head = ("what", "how many", "first place", "what was done")
        yield ValueTable("What was not as it should be, or was read otherwise", caption, head, rows, (0, 2, 3), 12)
    else:
        yield Note("Nothing was wrong with the data.")


def scores(run: RunFiles, baselines: Sequence[Baseline], why_none: str) -> Iterator[AnyPart]:
    """Each fold, the mean, and the simple models beside it."""
    summary, names = run.summary, list(run.summary["mean"])
    titles, body = [metrics.title(name) for name in names], []
    strong = [0]
    body.append(["mean ± std", *(metrics.show(n, summary["mean"][n], summary["std"][n]) for n in names)])
    if "repeats" in summary:
        repeats = summary["repeats"]
        shown = [metrics.show(n, repeats["mean"][n], repeats["std"][n]) for n in names]
        body.append([f"mean of {len(repeats['means'])} seeds", *shown])
    for fold, done in summary["by_fold"].items():
        body.append([f"fold {fold}", *(metrics.show(n, done["metrics"][n]) for n in names)])
    caption = "Each row was predicted by the model that was trained without its fold. The deviation is over folds."
    yield ValueTable("This run", caption, ("", *titles), body, shown=12, strong=strong)
    if baselines:
        lines = [[b.name, *(metrics.show(n, *_mean(b, n)) if _has(b, n) else "" for n in names)] for b in baselines]
        lines.append([f"this run: {summary['title']}", *body[0][1:]])
        sampled = (
            f" They were trained on {MOST_ROWS:,} rows of each fold, drawn at random; this run on all." if _sampled(run) else ""
        )
        caption = f"Simple models on the same folds: what a network must beat to be worth its cost.{sampled}"
        yield ValueTable("Beside simple models", caption, ("", *titles), lines, strong=[len(lines) - 1])
    if why_none:
        yield Note(why_none)
    name = run.metric
    scale = 100.0 if name in run.task.percent else 1.0
    rows = [
        Scored(b.name.split(":")[0], [scale * v[name] for v in b.by_fold.values()], False) for b in baselines if _has(b, name)
    ]
    own = [scale * done["metrics"][name] for done in summary["by_fold"].values()]
    caption = "A dot is a fold, the stroke the mean. Where the dots of two models lie apart, there is a difference."
    yield dots([*rows, Scored("this run", own, True)], f"{metrics.title(name)} by fold", caption, metrics.title(name))


def learning(run: RunFiles) -> Iterator[AnyPart]:
    """A plot a phase."""
    plots = [plot for title, events in run.events().items() if (plot := curves(title, events))]
    yield from plots[:1]
    yield from (replace(plot, caption="") for plot in plots[1:])


def important(explained: Explanations, metric: str, why_none: str) -> Iterator[AnyPart]:
    """Modalities, then columns; or why there are none."""
    if not explained.permutation:
        yield Note(why_none)
        return
    kinds = dict.fromkeys(entry.kind for entry in explained.permutation)
    for kind, title in ((kind, {"modality": "Modalities", "column": "Columns"}.get(kind, kind)) for kind in kinds):
        found = sorted((e for e in explained.permutation if e.kind == kind), key=lambda e: -e.fall)
        caption = f"How much {metrics.title(metric)} falls on held-out rows if a {kind}'s values are shuffled among them. "
        caption += "Strokes are standard deviations over folds. What two inputs both know costs little when one is shuffled."
        left = len(found) - _MOST_BARS
        caption += f" The {left} least are left out." if left > 0 else ""
        percent = 100.0 if metrics.title(metric).endswith("%") else 1.0
        bars = [(e.name, percent * e.fall, percent * e.fall_std) for e in found[:_MOST_BARS]]
        yield importance(title, caption, bars, f"fall of {metrics.title(metric)}")
        yield _losses(found)


def _losses(found: Sequence[Importance]) -> ValueTable:
    rows = [[e.name, f"{e.fall:.4f} ± {e.fall_std:.4f}", f"{e.rise_loss:.4f} ± {e.rise_loss_std:.4f}"] for e in found]
    return ValueTable("", "", ("name", "fall of the metric", "rise of the loss"), rows, shown=8)


def _mean(baseline: Baseline, name: str) -> tuple[float, float]:
    found = metrics.summarise([dict(values) for values in baseline.by_fold.values()])
    return found["mean"][name], found["std"][name]


def _has(baseline: Baseline, name: str) -> bool:
    return all(name in values for values in baseline.by_fold.values())


def _sampled(run: RunFiles) -> bool:
    folds = run.settings.cv.folds
    return len(run.row_n) / max(len(run.folds), 1) * (folds - 1) > MOST_ROWS


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {left:02} s" if minutes else f"{left} s"


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value) if not isinstance(value, float) else f"{value:g}"
