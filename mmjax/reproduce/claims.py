"""What the paper claims with its tables, and whether our rows bear it out, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmjax.reproduce.pairs import Difference, compare, interval, signed, unit
from mmjax.reproduce.paper import DIRECTION, METRIC, TABLES
from mmjax.reproduce.row_report import RowReport
from mmjax.reproduce.statistics import Comparison, holm, repeats_needed

REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "not decidable"
LEVEL = 0.05
"""A claim is reproduced where p is below it, after Holm's correction over the claims shown."""


@dataclass(frozen=True)
class Claim:
    """One row of a table scores better than another.

    Attributes:
      table: table1 or table2.
      text: the claim in plain English.
      better, worse: numbers of the rows.
      source: where the paper says it.
    """

    table: str
    text: str
    better: int
    worse: int
    source: str

    @property
    def metric(self) -> str:
        """The table's metric."""
        return METRIC[self.table]

    @property
    def paper(self) -> float:
        """The paper's difference, better row - worse row: below 0 where lower is better."""
        value = {row.number: row.value for row in TABLES[self.table]}
        return value[self.better] - value[self.worse]

    def gain(self, difference: float) -> float:
        """A difference as the claim sees it: above 0 where the better row is better."""
        return DIRECTION[self.metric] * difference

    def gains(self, test: Comparison) -> tuple[float, float]:
        """The ends of a difference's interval as the claim sees them."""
        low, high = sorted((self.gain(test.low), self.gain(test.high)))
        return low, high


_TOGETHER = "Table, text and image together beat"
CLAIMS = [
    Claim("table1", f"{_TOGETHER} the table alone", 4, 1, "section 1 (modalities complement each other), Table 1"),
    Claim("table1", f"{_TOGETHER} the text alone", 4, 2, "section 1 (modalities complement each other), Table 1"),
    Claim("table1", f"{_TOGETHER} the image alone", 4, 3, "section 1 (modalities complement each other), Table 1"),
    Claim("table1", "Cutting numbers into bins helps", 5, 4, "Table 1; section 4.1 names less storage and overfitting alone"),
    Claim("table1", "Attention beats concatenation", 6, 4, "section 3.2, Table 1"),
    Claim("table1", "AE codes help", 7, 6, "Table 1; no sentence of the text says it"),
    Claim("table1", "MMAE codes help", 8, 6, "abstract, sections 3.1 and 3.2, Table 1"),
    Claim("table1", "The MMAE's joint code beats independent AE codes", 8, 7, "sections 3.1 and 4.2 (#8), Table 1"),
    Claim("table2", "The table lowers the photo's reconstruction error", 2, 1, "Table 2 and its caption"),
    Claim("table2", "The text lowers the photo's reconstruction error further", 3, 2, "Table 2 and its caption"),
    Claim("table2", "Table and text together lower the photo's reconstruction error", 3, 1, "Table 2 and its caption"),
]


_RULES = (
    "A difference is the first row's score minus the second's, with its 95% interval by the test of paired differences. "
    "Reproduced: the interval lies on the claim's side of 0, and p is below {level} after Holm's correction over these claims. "
    "Not reproduced: the interval lies on the other side of 0{or_smaller}. Else the claim is not decidable. Intervals and "
    "numbers of seeds are not corrected for the number of claims; a number of seeds holds if folds go on to differ as they do."
)
_OR_SMALLER = ", or even its far end falls short of the paper's difference"


@dataclass(frozen=True)
class Verdict:
    """What our rows say to a claim.

    Attributes:
      claim: the claim.
      outcome: reproduced, not reproduced or not decidable.
      sentence: the claim, the outcome and the numbers behind it, for people.
      found: our difference, better row - worse row; None where the rows share no fold.
      p_holm: p after Holm's correction; None without a test.
    """

    claim: Claim
    outcome: str
    sentence: str
    found: Difference | None
    p_holm: float | None

    def to_dict(self) -> dict[str, Any]:
        """What report.json holds of it."""
        claim, found, test = self.claim, self.found, self.found and self.found.test
        return {
            "claim": claim.text,
            "source": claim.source,
            "better": claim.better,
            "worse": claim.worse,
            "verdict": self.outcome,
            "sentence": self.sentence,
            "paper": claim.paper,
            "difference": found and found.mean,
            "low": test and test.low,
            "high": test and test.high,
            "p": test and test.p,
            "p_holm": self.p_holm,
            "folds": found.folds if found else 0,
            "seeds": found.repeats if found else 0,
        }


def judge(table: str, rows: Sequence[RowReport], *, same_data: bool) -> list[Verdict]:
    """A verdict on every claim of a table of which both rows were run.

    Args:
      table: table1 or table2.
      rows: those that were run.
      same_data: whether they were run on the paper's data; else the size of the paper's differences decides nothing.
    """
    by_number = {row.paper.number: row for row in rows}
    shown = [claim for claim in CLAIMS if claim.table == table and {claim.better, claim.worse} <= by_number.keys()]
    found = [compare(by_number[claim.worse], by_number[claim.better], claim.metric) for claim in shown]
    corrected = iter(holm([f.test.p for f in found if f and f.test]))
    verdicts = []
    for claim, difference in zip(shown, found, strict=True):
        p_holm = next(corrected) if difference and difference.test else None
        outcome = _outcome(claim, difference and difference.test, p_holm, same_data)
        reason = _reason(claim, difference, outcome, p_holm, same_data)
        sentence = f"{claim.text} (#{claim.better} over #{claim.worse}): {outcome}{reason}."
        verdicts.append(Verdict(claim, outcome, sentence, difference, p_holm))
    return verdicts


def rules(*, same_data: bool) -> str:
    """How verdicts are come to, for people."""
    return _RULES.format(level=LEVEL, or_smaller=_OR_SMALLER if same_data else "")


def _outcome(claim: Claim, test: Comparison | None, p_holm: float | None, same_data: bool) -> str:
    if test is None or p_holm is None:
        return UNDECIDED
    low, high = claim.gains(test)
    if low > 0 and p_holm < LEVEL:
        return REPRODUCED
    return NOT_REPRODUCED if high < 0 or (same_data and high < claim.gain(claim.paper)) else UNDECIDED


def _reason(claim: Claim, found: Difference | None, outcome: str, p_holm: float | None, same_data: bool) -> str:
    """What follows the outcome: the numbers and, where nothing is decided, what stands in the way."""
    if found is None:
        return ", since the two rows' folds do not hold the same rows"
    metric, test = claim.metric, found.test
    size = f"{signed(metric, found.mean)} {unit(metric)}" + (f" ({interval(metric, test.low, test.high)})" if test else "")
    paper = f"the paper has {signed(metric, claim.paper)}{'' if same_data else ' on PetFinder'}"
    if outcome != UNDECIDED:
        opposite = ", the opposite" if test and claim.gains(test)[1] < 0 else ""
        return f": {size}{opposite}, {paper}"
    gain = claim.gain(found.mean)
    way = "the rows do not differ" if gain == 0 else f"it points the {'same' if gain > 0 else 'other'} way"
    obstacle = _obstacle(claim, found, test, p_holm, same_data) if test and (same_data or gain) else ""
    seeds = "1 seed" if found.repeats == 1 else f"{found.repeats} seeds"
    return f" with {_folds(found.folds)} ({seeds}): {way}, {size}, {paper}{obstacle}"


def _obstacle(claim: Claim, found: Difference, test: Comparison, p_holm: float | None, same_data: bool) -> str:
    """Why nothing is decided, and roughly how many seeds would decide it."""
    if claim.gains(test)[0] > 0:
        return f"; alone it is more than chance, but not among all these claims (Holm's p {p_holm:.3f})"
    size, whose = (claim.paper, "the paper's difference") if same_data else (found.mean, "a difference as large as ours")
    folds = found.folds // found.repeats
    seeds = repeats_needed(abs(size), test.std, folds=folds, ratio=test.ratio)
    if seeds is None:
        return f"; no number of seeds would show {whose} with folds that share training rows"
    if seeds <= found.repeats:
        return f"; {whose} would show, but ours lies between it and none"
    return f"; to show {whose} would take about {seeds:,} seeds of {_folds(folds)} or more"


def _folds(number: int) -> str:
    return "1 fold" if number == 1 else f"{number} folds"
