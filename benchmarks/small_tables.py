"""The recommended model beside simple ones on small tables: made here, from scikit-learn, and parts of real data.

python -m benchmarks.small_tables --out DIR [--tables names,sum] [--seeds 0,1,2] [--data ../shared/data]

Every model sees the same five folds. A small table must not lose to logistic regression on its words or to boosting.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets

from mmjax.config import Settings
from mmjax.configs import get_config
from mmjax.io.environment import environment
from mmjax.reproduce.baselines import open_for_baselines, run_baselines
from mmjax.train.cross_validation import cross_validate

Table = tuple[pd.DataFrame, dict[str, Any]]
ROWS = 1000
SIMPLE = ("logistic", "boosting", "boosting_entity")
_SYLLABLES = [c + v for c in "bdklmnr" for v in "aeiou"]


def _numbers(rng: np.random.Generator) -> Table:
    """Friedman's function (1991) of five of ten numbers, cut into three classes."""
    x = rng.random((ROWS, 10))
    value = (
        10 * np.sin(np.pi * x[:, 0] * x[:, 1])
        + 20 * (x[:, 2] - 0.5) ** 2
        + 10 * x[:, 3]
        + 5 * x[:, 4]
        + rng.normal(0, 1.5, ROWS)
    )
    return _frame(x, np.digitize(value, np.quantile(value, [1 / 3, 2 / 3])))


def _steps(rng: np.random.Generator) -> Table:
    """Thresholds and their crossings, on numbers of very different sizes, a twentieth of them far off."""
    x = np.exp(rng.normal(0, 2, (ROWS, 6)))
    label = (x[:, 0] > 1).astype(int) ^ (x[:, 1] > 2) | 2 * (x[:, 2] > 3)
    x[rng.random(x.shape) < 0.05] *= 1e4
    return _frame(x, np.where(rng.random(ROWS) < 0.15, rng.integers(0, 4, ROWS), label))


def _categories(rng: np.random.Generator) -> Table:
    """Six columns of 3 to 60 values, each with an effect of its own, and one pair that only says something together."""
    sizes = (3, 5, 8, 15, 30, 60)
    codes = np.stack([rng.integers(0, s, ROWS) for s in sizes], axis=1)
    score = sum(rng.normal(0, 0.7, (s, 3))[codes[:, i]] for i, s in enumerate(sizes))
    score += 2 * np.eye(3)[(codes[:, 0] + codes[:, 1]) % 3]
    frame = pd.DataFrame({f"c{i}": [f"v{v}" for v in codes[:, i]] for i in range(6)})
    return _label(frame, (score + rng.gumbel(0, 1, score.shape)).argmax(1)), {"categorical": list(frame.columns)}


def _topics(rng: np.random.Generator) -> Table:
    """Texts of 30 words: a third of them from the class's own hundred."""
    label = rng.integers(0, 5, ROWS)
    texts = [_words(rng, 20, 2000) + _words(rng, 10, 100, 5000 + 60 * k) for k in label]
    return _label(pd.DataFrame({"text": [" ".join(rng.permutation(t)) for t in texts]}), label), {"text": "text"}


def _keyword(rng: np.random.Generator) -> Table:
    """One word of sixty decides, four times in five."""
    label = rng.integers(0, 4, ROWS)
    said = np.where(rng.random(ROWS) < 0.8, label, rng.integers(0, 4, ROWS))
    texts = [" ".join(rng.permutation(_words(rng, 59, 3000) + _words(rng, 1, 8, 9000 + 8 * k))) for k in said]
    return _label(pd.DataFrame({"text": texts}), label), {"text": "text"}


def _names(rng: np.random.Generator) -> Table:
    """Names whose ending says their class: no word occurs twice."""
    label, endings = rng.integers(0, 6, ROWS), ["ova", "sen", "ini", "oglu", "ides", "mann"]
    names = ["".join(rng.choice(_SYLLABLES, 3)) + (endings[k] if rng.random() < 0.8 else "") for k in label]
    return _label(pd.DataFrame({"name": names}), label), {"short_text": ["name"]}


def _mixed(rng: np.random.Generator) -> Table:
    """Text, categories and numbers, each of which says a little."""
    label = rng.integers(0, 4, ROWS)
    frame, schema = _frame(rng.normal(0, 1, (ROWS, 5)) + 0.4 * np.eye(4, 5)[label], label)
    frame["kind"] = [f"k{k if rng.random() < 0.4 else rng.integers(4)}" for k in label]
    frame["text"] = [" ".join(_words(rng, 12, 1500) + _words(rng, 2, 60, 5000 + 30 * k)) for k in label]
    return frame, schema | {"categorical": ["kind"], "text": "text"}


def _uneven(rng: np.random.Generator) -> Table:
    """Eighteen uneven classes: eight numbers and three texts, one of them a name."""
    label = rng.choice(18, ROWS, p=(weight := 0.8 ** np.arange(18)) / weight.sum())
    frame, schema = _frame(rng.normal(0, 1, (ROWS, 8)) + 0.8 * rng.normal(0, 1, (18, 8))[label], label)
    frame["title"] = [" ".join(_words(rng, 2, 400) + _words(rng, 1, 12, 5000 + 6 * k)) for k in label]
    frame["text"] = [" ".join(_words(rng, 25, 2000) + _words(rng, 3, 80, 8000 + 40 * k)) for k in label]
    frame["note"] = [" ".join(_words(rng, 6, 300)) for _ in label]
    return frame, schema | {"text": ["text", "note"], "short_text": ["title"]}


def _sellers(rng: np.random.Generator) -> Table:
    """Each of 120 sellers has a habit; numbers and a text say little."""
    seller, habit = rng.integers(0, 120, ROWS), rng.dirichlet([0.4] * 4, 120)
    label = np.array([rng.choice(4, p=habit[s]) for s in seller])
    frame, schema = _frame(rng.normal(0, 1, (ROWS, 3)) + 0.3 * np.eye(4, 3)[label], label)
    frame["seller"] = [f"seller {s}" for s in seller]
    frame["text"] = [" ".join(_words(rng, 10, 500)) for _ in seller]
    return frame, schema | {"entity": ["seller"], "text": "text"}


def _digits(rng: np.random.Generator) -> Table:
    """Handwritten digits, 64 numbers (scikit-learn's own copy)."""
    x, y = datasets.load_digits(return_X_y=True)
    kept = rng.permutation(len(y))[:ROWS]
    return _frame(x[kept], y[kept])


def _tumours(rng: np.random.Generator) -> Table:
    """Breast cancer in Wisconsin, 569 rows, 30 numbers (scikit-learn's own copy)."""
    del rng
    return _frame(*datasets.load_breast_cancer(return_X_y=True))


MADE: dict[str, Callable[[np.random.Generator], Table]] = {
    "numbers": _numbers,
    "steps": _steps,
    "categories": _categories,
    "topics": _topics,
    "keyword": _keyword,
    "names": _names,
    "mixed": _mixed,
    "uneven": _uneven,
    "sellers": _sellers,
    "digits": _digits,
    "tumours": _tumours,
}
REAL = {f"{name}_{rows}": (name, rows) for name in ("petfinder", "fashion") for rows in (500, 1000, 2000)}


def _frame(x: np.ndarray, label: np.ndarray) -> Table:
    frame = pd.DataFrame({f"n{i}": np.round(x[:, i], 5) for i in range(x.shape[1])})
    return _label(frame, label), {"continuous": list(frame.columns)}


def _label(frame: pd.DataFrame, label: np.ndarray) -> pd.DataFrame:
    return frame.assign(id=[f"r{i}" for i in range(len(frame))], label=[f"class {k}" for k in label])


def _words(rng: np.random.Generator, count: int, vocabulary: int, first: int = 0) -> list[str]:
    """Words by Zipf's law; a word is its number in syllables."""
    numbers = first + np.minimum(rng.zipf(1.3, count) - 1, rng.integers(0, vocabulary, count))
    return ["".join(_SYLLABLES[n // 35**i % 35] for i in range(3)) for n in numbers]


def make(name: str, folder: Path, data: Path, seed: int) -> Settings:
    """Writes a table and returns the recommended model's settings for it."""
    folder.mkdir(parents=True, exist_ok=True)
    changes: dict[str, Any] = {"cv.seed": seed, "train.seed": seed, "data.cache": str(folder / "cache")}
    if name in REAL:
        dataset, rows = REAL[name]
        table = data / dataset / {"petfinder": "train.csv", "fashion": "products.csv"}[dataset]
        frame = pd.read_csv(table, dtype=str, keep_default_na=False)
        frame = frame[frame["season"] != ""] if dataset == "fashion" else frame
        frame.sample(rows, random_state=seed).to_csv(folder / "rows.csv", index=False)
        changes |= {"data.root": str(data / dataset), "data.table": str(folder / "rows.csv")}
        return get_config(f"recommended:{dataset}", changes)
    frame, schema = MADE[name](np.random.default_rng([seed, list(MADE).index(name)]))
    frame.to_csv(folder / "rows.csv", index=False)
    lines = [f"{key} = {json.dumps(value)}" for key, value in ({"id": "id", "label": "label"} | schema).items()]
    (folder / "schema.toml").write_text("\n".join(lines) + "\n")
    changes |= {"data.table": str(folder / "rows.csv"), "data.schema": str(folder / "schema.toml")}
    return get_config("recommended:table", changes)


def measure(settings: Settings, folder: Path) -> dict[str, tuple[float, float]]:
    """Accuracy in per cent and log loss of each model over the folds."""

    def quiet(line: str) -> None:
        del line

    found = {}
    for model, by_fold in run_baselines(*open_for_baselines(settings, quiet), log=quiet).items():
        found[model] = tuple(np.mean([[100 * m["accuracy"], m["log_loss"]] for m in by_fold.values()], axis=0).tolist())
    mean = cross_validate(settings, folder / "run", quiet)["mean"]
    return found | {"recommended": (100 * mean["accuracy"], mean["log_loss"])}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line a table and seed, and writes them all to DIR/small_tables.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--tables", default=",".join([*MADE, *REAL]))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--data", default="../shared/data", type=Path)
    args = parser.parse_args(arguments)
    rows = []
    for name in args.tables.split(","):
        for seed in map(int, args.seeds.split(",")):
            if name in REAL and not args.data.is_dir():
                print(f"{name}: left out, there is no {args.data}")
                continue
            folder = args.out / name / str(seed)
            found = measure(make(name, folder, args.data.resolve(), seed), folder)
            best = max(found[m][0] for m in SIMPLE if m in found)
            rows.append({"table": name, "seed": seed, "difference": found["recommended"][0] - best, **found})
            figures = "  ".join(f"{m} {a:.1f} ({loss:.3f})" for m, (a, loss) in found.items() if m != "majority")
            print(f"{name:16} {seed}  {rows[-1]['difference']:+.1f}  {figures}", flush=True)
    (args.out / "small_tables.json").write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
