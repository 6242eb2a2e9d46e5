"""From estimates to verdicts: the margin, the family, and what lost seeds change."""

from __future__ import annotations

import numpy as np
import pytest

from ssl_rot.report.comparison.estimates import Estimate, estimate_over_seeds, p_value
from ssl_rot.report.comparison.failures import (
    chance_level,
    confirm_verdicts,
    differences_at_chance,
)
from ssl_rot.report.comparison.verdicts import VERDICTS, Judgment, judge


def cells(*means: float, error: float = 0.002, df: float = 9, n: float | None = None) -> Estimate:
    """One page of estimates with the same error."""
    mean = np.array(means)
    same = [np.full_like(mean, value) for value in (error, df, df + 1 if n is None else n, 0, 0)]
    return Estimate(mean, *same)


@pytest.mark.parametrize(
    ("mean", "error", "verdict", "beyond"),
    [
        (0.020, 0.002, "better", True),
        (0.012, 0.002, "better", False),
        (0.007, 0.001, "equivalent", False),  # clear, and clearly smaller than the margin
        (0.000, 0.002, "equivalent", False),
        (0.000, 0.008, "undecided", False),
        (0.010, 0.006, "undecided", False),
        (-0.012, 0.002, "worse", False),
        (-0.020, 0.002, "worse", True),
    ],
)
def test_what_the_margin_makes_of_a_difference(
    mean: float, error: float, verdict: str, beyond: bool
) -> None:
    judgment = judge(cells(mean, error=error), margin=0.01)
    assert judgment.verdict.item() == verdict
    assert judgment.beyond_margin.item() == beyond
    # Of a loss, whose sign is the other way round.
    opposite = {"better": "worse", "worse": "better"}.get(verdict, verdict)
    loss = judge(cells(mean, error=error), margin=0.01, higher_is_better=False)
    assert loss.verdict.item() == opposite


def test_a_small_clear_difference_is_equivalent_and_still_clear() -> None:
    judgment = judge(cells(0.007, 0.0, error=0.001), margin=0.01)
    assert judgment.verdict.tolist() == ["equivalent", "equivalent"]
    assert judgment.is_clear.tolist() == [True, False]


def test_without_a_margin_nothing_is_equivalent_or_beyond_it() -> None:
    judgment = judge(cells(0.0, 0.03, 0.007))
    assert judgment.verdict.tolist() == ["undecided", "better", "better"]
    assert not judgment.beyond_margin.any()
    assert np.isnan(judgment.equivalence_p_holm).all()


@pytest.mark.parametrize(
    ("n", "verdict"), [(1, "not enough runs"), (2, "not enough runs"), (3, "better")]
)
def test_three_seeds_at_least(n: int, verdict: str) -> None:
    page = estimate_over_seeds(np.array([[0.101, 0.100, 0.102][:n]]))
    assert judge(page).verdict.item() == verdict


def test_cells_without_a_verdict_are_not_part_of_the_family() -> None:
    judged = cells(0.006, 0.03)
    few = Estimate.stack(
        [*(Estimate(*row) for row in zip(*judged, strict=True)), Estimate.undefined()]
    )
    alone, among = judge(judged), judge(few)
    assert among.verdict[2] == "not enough runs"
    np.testing.assert_array_equal(among.p_holm[:2], alone.p_holm)
    np.testing.assert_array_equal(among.low_simultaneous[:2], alone.low_simultaneous)


def test_an_interval_without_zero_always_comes_with_a_clear_verdict() -> None:
    """Simultaneous intervals are Bonferroni's, which Holm's verdicts are never behind."""
    rng = np.random.default_rng(0)
    estimate = estimate_over_seeds(rng.normal(0.5, 1, (2000, 6, 5)))
    judgment = judge(estimate)
    excludes = (judgment.low_simultaneous > 0) | (judgment.high_simultaneous < 0)
    assert judgment.is_clear[excludes].all()
    by_a_hair = judgment.is_clear & ~excludes
    assert 0 < by_a_hair.mean() < 0.05
    assert (judgment.low_simultaneous <= judgment.low).all()
    np.testing.assert_array_equal(
        (judgment.low > 0) | (judgment.high < 0), p_value(estimate) < 0.05
    )


def test_pages_are_judged_one_by_one() -> None:
    rng = np.random.default_rng(0)
    pages = estimate_over_seeds(rng.normal(0.01, 0.01, (3, 4, 5)))
    together = judge(pages, 0.01)
    for page in range(3):
        alone = judge(Estimate(*(field[page] for field in pages)), 0.01)
        for one, all_pages in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, all_pages[page])
    assert set(together.verdict.flat) <= set(VERDICTS)
    assert isinstance(together, Judgment)


def test_equal_differences_without_a_resolution_prove_what_their_signs_do() -> None:
    """As of losses; the smallest p of the sign flips with five seeds is 1 in 16."""
    five = estimate_over_seeds(np.array([[0.1] * 5, [0.0] * 5]))
    assert p_value(five) == pytest.approx([1 / 16, 1.0])
    assert judge(five).verdict.tolist() == ["undecided", "undecided"]
    twelve = estimate_over_seeds(np.full((1, 12), 0.1))
    assert p_value(twelve) == pytest.approx(1 / 2048)
    assert judge(twelve).verdict.item() == "better"


def test_a_lost_seed_is_taken_at_chance() -> None:
    arm, reference = np.array([0.9, np.nan, 0.9]), np.array([0.8, 0.8, np.nan])
    assert differences_at_chance(arm, reference, 0.1) == pytest.approx([0.1, -0.7, 0.8])
    hits, other = np.array([[1.0, 0.0], [np.nan, np.nan]]), np.array([[0.0, 0.0], [1.0, 0.0]])
    expected = [[1.0, 0.0], [-0.9, 0.1]]
    np.testing.assert_allclose(differences_at_chance(hits, other, 0.1), expected)
    assert chance_level("test_acc", 10) == chance_level("balanced_acc", 10) == 0.1
    assert chance_level("test_loss", 10) == pytest.approx(2.302585)


@pytest.mark.parametrize(
    ("verdict", "worst", "lost", "confirmed"),
    [
        ("better", "worse", 0.1, "better"),  # a tenth may be lost
        ("better", "worse", 0.2, "undecided"),
        ("better", "better", 0.4, "better"),
        ("equivalent", "undecided", 0.2, "undecided"),
        ("worse", "worse", 0.2, "worse"),
        ("not enough runs", "worse", 0.8, "not enough runs"),
    ],
)
def test_the_worst_case_has_to_agree(verdict: str, worst: str, lost: float, confirmed: str) -> None:
    result = confirm_verdicts(np.array([verdict]), np.array([worst]), np.array([lost]))
    assert result.tolist() == [confirmed]


def test_three_of_eight_diverged() -> None:
    """The five that are left gain 3 points each; with the others at chance the arm loses 17."""
    reference = np.array([0.62, 0.63, 0.61, 0.62, 0.64, 0.62, 0.61, 0.63])
    arm = reference + np.array([0.030, 0.032, 0.031, 0.033, 0.029, np.nan, np.nan, np.nan])
    left, worst = arm - reference, differences_at_chance(arm, reference, 0.1)
    verdict = judge(estimate_over_seeds(left[np.newaxis, :5]), 0.01).verdict
    assert verdict.item() == "better"
    in_the_worst_case = judge(estimate_over_seeds(worst[np.newaxis]), 0.01)
    assert worst.mean() == pytest.approx(-0.17, abs=0.01)
    assert confirm_verdicts(verdict, in_the_worst_case.verdict, np.array([3 / 8])) == "undecided"
