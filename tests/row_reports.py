"""Made rows of the paper's tables, for tests of what is said about them."""

from typing import Any

from mmjax.reproduce.paper import METRIC, TABLES
from mmjax.reproduce.row_report import RowReport
from mmjax.tasks.metrics import summarise


def row(number: int, *repeats: list[float], table: str = "table1", digest: str = "same", **more: Any) -> RowReport:
    """A row whose folds scored these accuracies, a list a repeat, 80 rows to train on and 20 held out."""
    metrics = [[{METRIC[table]: a, "log_loss": 1 - a} for a in accuracy] for accuracy in repeats]
    by_fold = [{str(f): {"metrics": m} for f, m in enumerate(folds)} for folds in metrics]
    summary = {
        "by_fold": by_fold[0],
        "folds_finished": len(repeats[0]),
        "folds": len(repeats[0]),
        "rows": 100,
        **summarise(metrics[0]),
        **more,
    }
    if len(repeats) > 1:
        means = [summarise(folds)["mean"] for folds in metrics]
        summary["repeats"] = {"means": means, **summarise(means), "by_fold": by_fold}
    digests = tuple(f"{digest} {r}" for r in range(len(repeats)))
    return RowReport(TABLES[table][number - 1], "configs/x.py", f"row{number}", summary, 61.0, 80.0, 20.0, digests)
