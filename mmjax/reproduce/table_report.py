"""What `mmjax reproduce` leaves: the paper's numbers and ours, paired differences between rows; Markdown, JSON and a plot.

Numbers are kept as the workdirs have them (accuracy as a fraction); people read per cent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmjax.io.atomic import write_json, write_text
from mmjax.reproduce.claims import Verdict, judge, rules
from mmjax.reproduce.pairs import interval, paired_differences, signed, unit
from mmjax.reproduce.paper import METRIC
from mmjax.reproduce.plot import PlotRow, plot_rows
from mmjax.reproduce.row_report import RowReport
from mmjax.tasks.metrics import show

TITLES = {
    "accuracy": "accuracy %",
    "balanced_accuracy": "balanced accuracy %",
    "qwk": "QWK",
    "macro_f1": "macro-F1",
    "log_loss": "log loss",
    "mse_image": "image MSE",
}
_NAMES = {"table1": "Table 1", "table2": "Table 2"}
_TEST = (
    "Corrected resampled t-test (Nadeau and Bengio 2003): the variance of the folds' differences times 1/folds + test rows / "
    "training rows, since folds share training rows; two-sided. The last column is Holm's correction over all pairs shown."
)
_TEST_OF_REPEATS = (
    "The folds are those of all seeds (corrected repeated k-fold cross-validation test, Bouckaert and Frank 2004)."
)


@dataclass
class Report:
    """A reproduced table.

    Attributes:
      table: table1 or table2.
      dataset: as given on the command line, such as `petfinder+grouped`.
      rows: in the paper's order.
      environment: versions and device of this session.
      command: the command line, without the program's folder.
      notes: what a reader must know; a line each.
    """

    table: str
    dataset: str
    rows: list[RowReport]
    environment: dict[str, Any]
    command: str
    notes: list[str] = field(default_factory=list)

    @property
    def metric(self) -> str:
        """The metric the paper prints."""
        return METRIC[self.table]

    @property
    def metrics(self) -> list[str]:
        """Metrics shown, the paper's first."""
        others = ("qwk", "balanced_accuracy", "macro_f1", "log_loss")
        return [self.metric, *(m for m in others if m in self.rows[0].averages["mean"])]

    @property
    def over(self) -> str:
        """What means and standard deviations are taken over."""
        folds = f"{self.rows[0].summary['folds_finished']} folds"
        repeats = self.rows[0].repeats
        return folds if repeats == 1 else f"{repeats} seeds, each the mean over its {folds}"

    @property
    def same_data(self) -> bool:
        """Whether the paper's numbers are of this data set (PetFinder); else only the order of the rows compares."""
        return self.dataset.split("+")[0].startswith("petfinder")

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Head and body of the table people read, on the terminal and in Markdown."""
        ceilings = any("ceiling" in row.summary for row in self.rows)
        head = ["#", "inputs", "fusion", f"paper {TITLES[self.metric]}", *(TITLES[m] for m in self.metrics)]
        head += ["best possible %"] * ceilings + ["time"]
        body = []
        for row in self.rows:
            paper = row.paper
            line = [str(paper.number), paper.inputs, paper.fusion, _number(self.metric, paper.value, paper.std)]
            line += [_number(m, *row.ours(m)) for m in self.metrics]
            line += [show("accuracy", row.summary["ceiling"]) if "ceiling" in row.summary else "-"] * ceilings
            body.append([*line, duration(row.seconds)])
        return head, body

    def pair_cells(self) -> tuple[list[str], list[list[str]]]:
        """Head and body of the paired differences in the paper's metric."""

        def line(p: dict[str, Any]) -> list[str]:
            between = "-" if p["low"] is None else interval(self.metric, p["low"], p["high"])
            t = "-" if p["t"] is None else f"{p['t']:.2f}"
            difference = signed(self.metric, p["difference"])
            return [f"#{p['b']} - #{p['a']}", difference, between, t, _chance(p["p"]), _chance(p["p_holm"])]

        head = ["rows", f"difference ({unit(self.metric)})", "95% interval", "t", "p", "p, Holm"]
        return head, [line(p) for p in paired_differences(self.rows, self.metric)]

    def verdicts(self) -> list[Verdict]:
        """On each of the paper's claims of which both rows were run."""
        return judge(self.table, self.rows, same_data=self.same_data)

    def write(self, folder: Path) -> None:
        """Writes report.json, plot.png and report.md, each whole or not at all.

        Raises:
          WorkdirError: the folder cannot be written.
        """
        head = {"table": self.table, "dataset": self.dataset, "metric": self.metric, "command": self.command}
        pairs = [p for metric in self.metrics for p in paired_differences(self.rows, metric)]
        claims = [verdict.to_dict() for verdict in self.verdicts()]
        tail = {"claims": claims, "pairs": pairs, "notes": self.notes, "environment": self.environment}
        write_json(folder / "report.json", {**head, "rows": [row.to_dict() for row in self.rows], **tail})
        self._plot(folder / "plot.png")
        write_text(folder / "report.md", self._markdown())

    def _plot(self, path: Path) -> None:
        accuracy = self.metric == "accuracy"
        rows = []
        for row in self.rows:
            fused = f", {row.paper.fusion}" if row.paper.fusion in ("concatenate", "attention") else ""
            label, best = f"#{row.paper.number}  {row.paper.inputs}{fused}", row.summary.get("ceiling") if accuracy else None
            rows.append(PlotRow(label, row.ours(self.metric), (row.paper.value, row.paper.std), best))
        title = f"{_NAMES[self.table]} on {self.dataset}: mean ± standard deviation over {self.over}"
        titles = [] if self.same_data else [f"ours on {self.dataset}", "paper, on PetFinder"]
        unit, scale = ("accuracy, %", 100.0) if accuracy else ("mean squared error on [0, 1] pixels", 1.0)
        plot_rows(rows, path, title=title, titles=titles, unit=unit, scale=scale)

    def _markdown(self) -> str:
        where = "" if self.same_data else " (PetFinder: another data set, so compare the order of the rows, not the numbers)"
        lines = [f"# {_NAMES[self.table]} on {self.dataset}", "", f"`{self.command}`", ""]
        lines += [f"Mean ± standard deviation over {self.over}, held-out rows. Paper: five folds{where}.", ""]
        lines += [*_markdown_table(*self.cells()), "", *(f"- {note}" for note in self.notes), ""]
        if verdicts := self.verdicts():
            lines += [
                "## The paper's claims",
                "",
                rules(same_data=self.same_data),
                "",
                *(f"- {v.sentence}" for v in verdicts),
                "",
            ]
        head, body = self.pair_cells()
        if body:
            test = _TEST if self.rows[0].repeats == 1 else f"{_TEST} {_TEST_OF_REPEATS}"
            lines += ["## Paired differences, fold by fold", "", test, "", *_markdown_table(head, body), ""]
        return "\n".join([*lines, "![ours and the paper](plot.png)", ""])


def duration(seconds: float) -> str:
    """As people say it: 48 s, 3 min 20 s, 2 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _number(metric: str, value: float, std: float | None) -> str:
    """As `metrics.show`, but errors with the paper's five decimals."""
    if not metric.startswith("mse_"):
        return show(metric, value, std)
    return f"{value:.5f}" if std is None else f"{value:.5f} ± {std:.5f}"


def _chance(p: float | None) -> str:
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---" if name in ("#", "inputs", "fusion", "rows") else "---:" for name in head]
    return [f"| {' | '.join(line)} |" for line in (head, rule, *body)]
