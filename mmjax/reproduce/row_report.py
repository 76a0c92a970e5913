"""One row of a table after its run: the paper's numbers, and ours by seed and fold."""

from dataclasses import asdict, dataclass
from typing import Any

from mmjax.reproduce.paper import PaperRow


@dataclass(frozen=True)
class RowReport:
    """One row of a table, run.

    Attributes:
      paper: what the paper printed.
      config: config file and variant.
      workdir: name of its folder.
      summary: the workdir's summary.json.
      seconds: wall time of the commands that trained it, all repeats together, up to their last orderly end.
      train_rows: mean number of rows the folds were trained on (inner validation rows included).
      test_rows: mean number of rows the folds held out.
      folds_digests: of each repeat's row-to-fold assignment; folds are paired only where it is the same.
    """

    paper: PaperRow
    config: str
    workdir: str
    summary: dict[str, Any]
    seconds: float
    train_rows: float
    test_rows: float
    folds_digests: tuple[str, ...]

    @property
    def repeats(self) -> int:
        """How often the cross-validation was done, each time with other seeds."""
        return len(self._by_repeat)

    @property
    def averages(self) -> dict[str, dict[str, float]]:
        """`mean` and `std` of each metric: over folds, or with repeats over the repeats' means."""
        return self.summary.get("repeats", self.summary)

    def values(self, metric: str) -> dict[tuple[int, str], float]:
        """The metric by repeat and fold."""
        return {(r, fold): done["metrics"][metric] for r, folds in enumerate(self._by_repeat) for fold, done in folds.items()}

    def ours(self, metric: str) -> tuple[float, float]:
        """Mean and standard deviation, of what `averages` says."""
        return self.averages["mean"][metric], self.averages["std"][metric]

    def to_dict(self) -> dict[str, Any]:
        """What report.json holds of the row."""
        printed = {k: v for k, v in asdict(self.paper).items() if k not in ("value", "std")}
        kept = ("mean", "std", "by_fold", "folds_finished", "folds", "rows", "repeats")
        return {
            **printed,
            "paper": {"mean": self.paper.value, "std": self.paper.std},
            "config": self.config,
            "workdir": self.workdir,
            "ours": {k: self.summary[k] for k in kept if k in self.summary},
            "ceiling": self.summary.get("ceiling"),
            "seconds": round(self.seconds, 1),
            "train_rows": self.train_rows,
            "test_rows": self.test_rows,
        }

    @property
    def _by_repeat(self) -> list[dict[str, Any]]:
        return self.summary["repeats"]["by_fold"] if "repeats" in self.summary else [self.summary["by_fold"]]
