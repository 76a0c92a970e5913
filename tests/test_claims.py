"""Verdicts on the paper's claims: what our rows bear out, what they rule out and what they cannot say."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mmjax.reproduce.claims import CLAIMS, NOT_REPRODUCED, REPRODUCED, UNDECIDED, Verdict, judge, rules
from mmjax.reproduce.row_report import RowReport
from tests.row_reports import row

NOISE = np.array([-1.0, -1.0, 0.0, 1.0, 1.0])
"""Sums to 0, deviation 1: on five folds the interval reaches 2.776 * sqrt(1/5 + 1/4) = 1.862 deviations to both sides."""


def around(mean: float, std: float, base: float = 0.3) -> list[float]:
    """Five folds with this mean and deviation above `base`."""
    return list(base + mean + std * NOISE)


def verdict(*repeats: list[float], same_data: bool = True, base: float = 0.3, better: int = 8, **more: Any) -> Verdict:
    """On a claim about row `better`, over the row two before (one before in Table 2), whose folds all score `base`."""
    worse = better - 1 if more.get("table") == "table2" else better - 2
    rows = [row(worse, *([base] * len(r) for r in repeats), **more), row(better, *repeats, **more)]
    (found,) = judge(more.get("table", "table1"), rows, same_data=same_data)
    return found


def test_the_claims_are_the_papers():
    """By hand from its tables: breaks if a row's number, a table's value or the direction of a claim is wrong."""
    points = {(c.better, c.worse): round(100 * c.paper, 3) for c in CLAIMS if c.table == "table1"}
    expected = {(4, 1): 0.351, (4, 2): 7.677, (4, 3): 7.828, (5, 4): 0.072, (6, 4): 0.301, (7, 6): 0.201, (8, 6): 0.502}
    assert points == expected | {(8, 7): 0.301}
    mse = {(c.better, c.worse): round(c.paper, 5) for c in CLAIMS if c.table == "table2"}
    assert mse == {(2, 1): -0.00229, (3, 2): -0.00089, (3, 1): -0.00318}
    assert all(c.gain(c.paper) > 0 for c in CLAIMS), "the paper's own numbers bear out its claims"


def test_reproduced():
    """Breaks if the paper's difference, or one as large, is asked for: more than chance in its direction is enough."""
    found = verdict(around(0.005, 0.001))
    assert found.outcome == REPRODUCED
    assert found.sentence == "MMAE codes help (#8 over #6): reproduced: +0.50 points (+0.31 to +0.69), the paper has +0.50."
    assert verdict(around(0.003, 0.0005)).outcome == REPRODUCED


def test_not_reproduced_where_the_papers_difference_is_ruled_out():
    """Breaks if "no difference found" passes for undecided though the interval ends short of the paper's difference."""
    found = verdict(around(0.0005, 0.001))
    assert found.outcome == NOT_REPRODUCED
    assert found.sentence == "MMAE codes help (#8 over #6): not reproduced: +0.05 points (-0.14 to +0.24), the paper has +0.50."
    elsewhere = verdict(around(0.0005, 0.001), same_data=False)
    assert elsewhere.outcome == UNDECIDED
    assert "the paper has +0.50 on PetFinder" in elsewhere.sentence


@pytest.mark.parametrize("same_data", [True, False])
def test_not_reproduced_where_it_is_the_other_way_round(same_data: bool):
    """Breaks if the sign is dropped: a difference more than chance is then a claim borne out."""
    found = verdict(around(-0.005, 0.001), same_data=same_data)
    assert found.outcome == NOT_REPRODUCED
    assert "-0.50 points (-0.69 to -0.31), the opposite, the paper has +0.50" in found.sentence


@pytest.mark.parametrize(("mean", "way"), [(0.002, "it points the same way"), (-0.002, "it points the other way")])
def test_not_decidable_says_how_many_seeds_it_would_take(mean: float, way: str):
    """The paper's 0.502 points are 1.116 deviations: t * sqrt(1/J + 1/4) is 1.146 with J = 20 and 1.111 with J = 25.

    Breaks if our own difference is asked for on PetFinder, or if folds are counted for seeds.
    """
    found = verdict(around(mean, 0.0045))
    assert found.outcome == UNDECIDED
    assert f"not decidable with 5 folds (1 seed): {way}, {100 * mean:+.2f} points (" in found.sentence
    assert found.sentence.endswith("; to show the paper's difference would take about 5 seeds of 5 folds or more.")


def test_not_decidable_by_any_number_of_seeds():
    """0.50 points are half a deviation, less than shared training rows hide; on other data our own difference counts."""
    found = verdict(around(0.002, 0.01))
    never = "no number of seeds would show {} with folds that share training rows."
    assert found.sentence.endswith(never.format("the paper's difference"))
    other = verdict(around(0.002, 0.01), same_data=False)
    assert other.sentence.endswith(never.format("a difference as large as ours"))
    assert "seeds of 5 folds or more" in verdict(around(0.011, 0.01), same_data=False).sentence


def test_more_seeds_decide_what_one_does_not():
    """The same deviation on four seeds of five folds; breaks if a verdict looks at the first seed alone."""
    one = around(0.005, 0.0045)
    assert verdict(one).outcome == UNDECIDED
    four = verdict(one, one, one, one)
    assert four.outcome == REPRODUCED
    assert (four.to_dict()["folds"], four.to_dict()["seeds"]) == (20, 4)
    three = verdict(*([around(0.002, 0.0045)] * 3))
    assert "not decidable with 15 folds (3 seeds)" in three.sentence


def test_between_the_papers_difference_and_none():
    """The interval reaches both, though each alone would be told from the other: no number of seeds is made up."""
    found = verdict(around(0.0025, 0.0025))
    assert found.outcome == UNDECIDED
    assert found.sentence.endswith("; the paper's difference would show, but ours lies between it and none.")


def test_more_than_chance_alone_but_not_among_the_claims():
    """p 0.035 is 0.07 among two; breaks if p is not corrected, or over all pairs of rows instead of the claims shown."""
    values = {4: [0.3] * 5, 5: around(0.005, 0.005), 6: around(0.0044, 0.0021)}
    both = judge("table1", [row(n, v) for n, v in values.items()], same_data=True)
    assert [v.claim.better for v in both] == [5, 6]
    attention = both[1]
    assert attention.found
    assert attention.found.test
    assert attention.found.test.p < 0.05 < (attention.p_holm or 0) == pytest.approx(2 * attention.found.test.p)
    assert attention.outcome == UNDECIDED
    assert "alone it is more than chance, but not among all these claims (Holm's p 0.07" in attention.sentence
    alone = judge("table1", [row(n, values[n]) for n in (4, 6)], same_data=True)
    assert alone[0].outcome == REPRODUCED


def test_equal_differences_on_every_fold():
    """t is infinite or 0: certain either way. Breaks if an infinite t, or rounding beside 0, upsets the verdict."""
    assert verdict([0.31] * 5).outcome == REPRODUCED
    assert verdict([0.29] * 5, same_data=False).outcome == NOT_REPRODUCED
    assert verdict([0.3] * 5).outcome == NOT_REPRODUCED
    same = verdict([0.3 + 1e-16] * 5, same_data=False)
    assert same.outcome == UNDECIDED
    assert "the rows do not differ, +0.00 points" in same.sentence
    assert same.sentence.endswith("the paper has +0.50 on PetFinder.")  # of no difference there is no number of seeds


def test_one_fold_decides_nothing():
    """Breaks if a large difference on one fold is a verdict, or an interval is made up."""
    found = verdict([0.9])
    assert found.outcome == UNDECIDED
    assert found.sentence == (
        "MMAE codes help (#8 over #6): not decidable with 1 fold (1 seed): it points the same way, +60.00 points, "
        "the paper has +0.50."
    )
    assert found.to_dict()["p_holm"] is None


def test_folds_of_other_rows_decide_nothing():
    """Breaks if rows are compared that were not held out alike, or if the claim is dropped without a word."""
    rows = [row(6, [0.3] * 5), replace(row(8, [0.4] * 5), folds_digests=("other",))]
    (found,) = judge("table1", rows, same_data=True)
    assert found.sentence.endswith("not decidable, since the two rows' folds do not hold the same rows.")


def test_claims_of_rows_not_run_are_left_out():
    """Rows 1, 4 and 7 bear one claim: breaks if a missing row is an error or another row takes its place."""

    def some(number: int) -> RowReport:
        return row(number, around(number / 1000, 0.001))

    assert [v.claim.text for v in judge("table1", [some(1), some(4), some(7)], same_data=True)] == [
        "Table, text and image together beat the table alone"
    ]
    assert judge("table1", [some(2)], same_data=True) == []
    assert judge("table2", [row(1, [0.03, 0.04], table="table2")], same_data=True) == []


def test_a_lower_error_is_better():
    """Table 2: breaks if its direction is accuracy's. Signs stay those of the paired differences."""
    table2 = {"table": "table2", "base": 0.038, "better": 2}
    lower = verdict(around(-0.0023, 0.0004, 0.038), **table2)
    assert lower.outcome == REPRODUCED
    assert lower.sentence == (
        "The table lowers the photo's reconstruction error (#2 over #1): reproduced: -0.00230 MSE (-0.00304 to -0.00156), "
        "the paper has -0.00229."
    )
    assert verdict(around(0.0023, 0.0004, 0.038), **table2).outcome == NOT_REPRODUCED
    assert "the opposite" in verdict(around(0.0023, 0.0004, 0.038), **table2).sentence
    small = verdict(around(-0.0002, 0.0004, 0.038), **table2)
    assert small.outcome == NOT_REPRODUCED
    assert "the opposite" not in small.sentence
    assert "it points the same way, -0.00100 MSE" in verdict(around(-0.001, 0.002, 0.038), **table2).sentence


def test_the_rule_of_the_papers_difference_is_said_on_its_data_alone():
    assert "falls short of the paper's difference" in rules(same_data=True)
    assert "falls short" not in rules(same_data=False)
