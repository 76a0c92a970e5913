"""What was aimed at, and where a benchmark folder holds the number that says whether it was reached."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Found = dict[str, Any]
Files = dict[str, Found]


@dataclass(frozen=True)
class Target:
    """One aim.

    Attributes:
      work: what is measured.
      wanted: ours / theirs at least; with `share`, a share of time at most.
      find: its median, least and largest in the files; None where it was not measured.
      share: whether less is better.
    """

    work: str
    wanted: float
    find: Callable[[Files], Found | None]
    share: bool = False

    def met(self, found: Found) -> bool:
        """Whether the median reaches it."""
        return found["median"] < self.wanted if self.share else found["median"] >= self.wanted

    def verdict(self, found: Found) -> str:
        """Met, or missed and by how much."""
        if self.met(found):
            return "met"
        return f"missed by {100 * abs(1 - found['median'] / self.wanted):.0f} %"

    def show(self, found: Found) -> str:
        """Median and range."""
        if self.share:
            return f"{100 * found['median']:.1f} %"
        return f"{found['median']:.2f} ({found['min']:.2f}-{found['max']:.2f})"


def targets(files: Files) -> list[Target]:
    """Those of the device the files come from, all at the small size: photos of 64 x 64, batches of 32."""
    return CPU if next(iter(files.values()))["facts"]["backend"] == "cpu" else GPU


def of_script(files: Files, name: str) -> Files:
    """A script's files, the one of its own name first."""
    return {stem: found for stem, found in sorted(files.items()) if f"{stem}_".startswith(f"{name}_")}


def _case(name: str, case: str, *path: str) -> Callable[[Files], Found | None]:
    def find(files: Files) -> Found | None:
        for file in of_script(files, name).values():
            if file["options"].get("size", "small") != "small":
                continue
            found: Any = file["cases"].get(case)
            for key in path:
                found = (found or {}).get(key)
            if found:
                return found
        return None

    return find


def _step(case: str, other: str = "torch_eager", kind: str = "same") -> Callable[[Files], Found | None]:
    return _case("step_throughput", case, "ratios", kind, other)


def _fastest(case: str, *others: str) -> Callable[[Files], Found | None]:
    """The ratio to PyTorch's fastest of several modes, all of one file."""

    def find(files: Files) -> Found | None:
        ratios = _case("step_throughput", case, "ratios", "same")(files) or {}
        return min((ratios[n] for n in others if ratios.get(n)), key=lambda r: r["median"], default=None)

    return find


def _folds(case: str, run: str) -> Callable[[Files], Found | None]:
    return _case("crossval_throughput", case, "ratios", run)


def _photos(case: str) -> Callable[[Files], Found | None]:
    return _case("input_pipeline", case, "ratios", "later")


CPU = [
    Target("tabular step", 2.0, _step("row1")),
    Target("five tabular folds, end to end, programs compiled before", 6.0, _folds("row1", "later")),
    Target("five tabular folds, end to end, the first run", 6.0, _folds("row1", "first")),
    Target("TextCNN step", 1.5, _step("row2")),
    Target("MMAE step", 1.5, _step("mmae")),
    Target("DenseNet (6, 6) step", 1.0, _step("row3")),
    Target("full model #8 step, the same work", 1.2, _step("row8")),
    Target("full model #8 step, codes as each side gets them", 1.2, _step("row8", "torch_eager_encode", "as_run")),
    Target("five folds of #8, end to end, programs compiled before", 1.5, _folds("row8", "later")),
    Target("five folds of #8, end to end, the first run", 1.5, _folds("row8", "first")),
    Target("photo epochs after the first, 224 px", 10.0, _photos("photos_224")),
    Target("photo epochs after the first, 512 px", 10.0, _photos("photos_512")),
]
"""On two cores in float32, against PyTorch eager, DataLoader and PIL."""

GPU = [
    Target("full model #8 step, against torch.compile", 1.3, _step("row8", "torch_compile")),
    Target(
        "full model #8 step, against PyTorch's fastest mode",
        1.3,
        _fastest("row8", "torch_eager", "torch_compile", "torch_reduce-overhead"),
    ),
    Target("five tabular folds, end to end, programs compiled before", 8.0, _folds("row1", "later")),
    Target("five tabular folds, end to end, the first run", 8.0, _folds("row1", "first")),
    Target(
        "waiting for data, share of a step, 224 px", 0.02, _case("input_pipeline", "photos_224", "wait_share", "ours"), True
    ),
    Target(
        "waiting for data, share of a step, 512 px", 0.02, _case("input_pipeline", "photos_512", "wait_share", "ours"), True
    ),
]
