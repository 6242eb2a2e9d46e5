"""Whether intervals, verdicts and plans have the error rates that they claim.

docs/report.md quotes these rates; ``pytest tests/report/test_calibration.py -rP`` prints them.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ssl_rot.report.comparison.estimates import (
    Estimate,
    equivalence_p,
    estimate_over_seeds,
    interval,
    p_value,
)
from ssl_rot.report.comparison.failures import confirm_verdicts, differences_at_chance
from ssl_rot.report.comparison.planning import find_power, seeds_needed
from ssl_rot.report.comparison.selection_error import add_selection_error, selection_variance
from ssl_rot.report.comparison.sequential import anytime_p, t_e_process
from ssl_rot.report.comparison.sign_flips import sign_flip_p
from ssl_rot.report.comparison.two_way import estimate_two_way
from ssl_rot.report.comparison.verdicts import judge

TRIALS = 10_000
ALPHA = 0.05
# Of a rate near 5 % from 10,000 simulations, this is more than four standard errors.
TOLERANCE = 0.01

Array = np.ndarray


def share(happened: Array, what: str) -> float:
    """The share of simulations in which it happened, printed for the docs."""
    rate = float(np.mean(happened))
    print(f"{what}: {rate:.2%}")
    return rate


def differences(n: int, *, gain: float = 0.0, shape: tuple[int, ...] = (TRIALS,)) -> Array:
    """Differences between the accuracies of two arms on 10,000 images, ``[..., n]``.

    The effect of the seed is common to both arms. ``gain`` is in standard deviations of the
    differences.
    """
    rng = np.random.default_rng((n, *shape, int(10 * gain)))
    seed_effect = rng.normal(0.8, 0.03, (*shape, n))
    one, other = (seed_effect + rng.normal(0, 0.01, (*shape, n)) for _ in range(2))
    one = one + gain * 0.01 * np.sqrt(2)
    return (np.round(1e4 * one) - np.round(1e4 * other)) / 1e4


def one_cell(estimate: Estimate) -> Estimate:
    """Pages ``[...]`` of a single cell, as estimates ``[..., 1]``."""
    return Estimate(*(field[..., np.newaxis] for field in estimate))


# --- seeds alone


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_contains_the_truth_in_95_of_100(n: int) -> None:
    low, high = interval(estimate_over_seeds(differences(n), 1e-4))
    covered = share((low <= 0) & (high >= 0), f"{n} seeds: interval contains zero")
    assert covered == pytest.approx(0.95, abs=TOLERANCE)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_gain_of_one_standard_deviation_is_found_as_often_as_theory_says(n: int) -> None:
    judgment = judge(one_cell(estimate_over_seeds(differences(n, gain=1.0), 1e-4)))
    found = share(judgment.verdict == "better", f"{n} seeds: gain of one sd is found")
    assert found == pytest.approx(float(find_power(1.0, 1.0, n)), abs=0.015)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_sign_flips_are_wrong_no_more_often_than_their_p_value(n: int) -> None:
    p = np.array([sign_flip_p(d) for d in differences(n, shape=(1500,))])
    for level in (0.05, 0.25, 0.5):
        assert (p <= level).mean() <= level + 0.03
    least = 0.5 ** (n - 1)
    assert (p <= least * 1.001).mean() == pytest.approx(least, abs=0.02)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_small_test_set_does_not_make_the_verdict_overconfident(n: int) -> None:
    """With 360 images, differences are often equal. No spread must not mean certainty."""
    rng = np.random.default_rng(n)
    hits = rng.binomial(360, 0.99, (2, TRIALS, n))
    judgment = judge(one_cell(estimate_over_seeds((hits[0] - hits[1]) / 360, 1 / 360)))
    assert share(judgment.is_clear, f"{n} seeds at 99 % of 360 images: wrong") <= ALPHA
    if n == 2:
        assert set(judgment.verdict.flat) == {"not enough runs"}


# --- seeds and test images


def draw_hits(
    rng: np.random.Generator, trials: int, n: int, images: int, spread: float, *,
    seed_spread: float = 0.1,
) -> Array:  # fmt: skip
    """Differences in correctness ``[trials, n, images]`` of two arms that are equally good.

    Each image is as hard for each arm as it happens to be: around a common difficulty, the arms
    differ in the logit of a hit by a normal variable with the standard deviation ``spread``.
    """
    common = rng.normal(1.5, 1.0, (trials, 1, images)).astype(np.float32)
    arms = []
    for _ in range(2):
        logits = common + rng.normal(0, spread, (trials, 1, images)).astype(np.float32)
        logits = logits + rng.normal(0, seed_spread, (trials, n, 1)).astype(np.float32)
        uniform = rng.random((trials, n, images), dtype=np.float32)
        arms.append(uniform * (1 + np.exp(-logits)) < 1)
    return arms[0].astype(np.float32) - arms[1]


@pytest.mark.parametrize(("n", "by_seeds"), [(3, 0.06), (10, 0.15), (20, 0.26)])
def test_two_way_intervals_where_arms_differ_from_image_to_image(n: int, by_seeds: float) -> None:
    """An arm-by-image spread of one logit on 360 images, with which seeds alone go wrong."""
    rng = np.random.default_rng(n)
    wrong, wrong_by_seeds = [], []
    for _ in range(TRIALS // 250):
        hits = draw_hits(rng, 250, n, 360, spread=1.0)
        wrong.append(p_value(estimate_two_way(hits)) <= ALPHA)
        wrong_by_seeds.append(p_value(estimate_over_seeds(hits.mean(axis=-1))) <= ALPHA)
    rate = share(np.concatenate(wrong), f"{n} seeds, two-way: wrong")
    assert rate <= ALPHA + TOLERANCE
    if n >= 10:
        assert rate >= ALPHA - TOLERANCE
    old = share(np.concatenate(wrong_by_seeds), f"{n} seeds, over seeds alone: wrong")
    assert old == pytest.approx(by_seeds, abs=0.02)


def test_two_way_intervals_of_balanced_accuracy_with_a_small_class() -> None:
    """One class of 18 images in 360 has the same weight as nine others."""
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(10), [18, *[38] * 9])
    wrong = [
        p_value(estimate_two_way(draw_hits(rng, 250, 10, 360, spread=1.0), classes)) <= ALPHA
        for _ in range(5000 // 250)
    ]
    rate = share(np.concatenate(wrong), "10 seeds, two-way, balanced accuracy: wrong")
    assert rate == pytest.approx(ALPHA, abs=TOLERANCE)


# --- many cells and arms


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("of_images", [0.2, 0.5, 0.8])
def test_a_page_of_two_way_intervals_has_a_wrong_verdict_in_5_of_100(
    n: int, of_images: float
) -> None:
    """20 cells need the tails of the distribution, which are heavy with few seeds.

    ``of_images`` is the share of the variance that is due to the test images, which are many.
    """
    rng = np.random.default_rng(n)
    shape = (TRIALS // 4, 20)
    mean = rng.normal(0, 1, shape)
    of_seeds = (1 - of_images) * rng.chisquare(n - 1, shape) / (n - 1)
    error, image_error = np.sqrt(of_seeds + of_images), np.full(shape, np.sqrt(of_images))
    df, count = np.full(shape, n - 1.0), np.full(shape, float(n))
    p = p_value(Estimate(mean, error, df, count, error, image_error)).min(axis=1)
    wrong = share(p <= ALPHA / 20, f"{n} seeds, {of_images:.0%} by images, 20 cells: any wrong")
    assert wrong <= ALPHA + TOLERANCE
    # As the same t test with Satterthwaite's degrees of freedom would have it.
    loose = 2 * stats.t.sf(np.abs(mean) / error, df * (error**2 / of_seeds) ** 2).min(axis=1)
    assert share(loose <= ALPHA / 20, "the same after Satterthwaite") > wrong


def test_two_way_p_values_are_right_in_the_tails() -> None:
    rng = np.random.default_rng(0)
    p = np.concatenate(
        [
            p_value(estimate_two_way(draw_hits(rng, 500, 3, 360, spread=1.0, seed_spread=0.5)))
            for _ in range(TRIALS // 500)
        ]
    )
    for level in (0.05, 0.01, 0.0025):
        rate = share(p <= level, f"3 seeds, two-way: p <= {level}")
        assert rate <= 1.2 * level + 0.001


@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_page_of_20_cells_has_a_wrong_verdict_in_5_of_100(n: int) -> None:
    estimate = estimate_over_seeds(differences(n, shape=(TRIALS, 20)))
    judgment = judge(estimate)
    wrong = share(judgment.is_clear.any(axis=1), f"{n} seeds, 20 cells: any wrong")
    assert wrong == pytest.approx(ALPHA, abs=TOLERANCE)
    covered = (judgment.low_simultaneous <= 0) & (judgment.high_simultaneous >= 0)
    together = share(covered.all(axis=1), f"{n} seeds, 20 cells: all simultaneous intervals hold")
    assert together == pytest.approx(0.95, abs=TOLERANCE)
    unadjusted = share((p_value(estimate) <= ALPHA).any(axis=1), f"{n} seeds, without Holm")
    assert unadjusted > 0.5


@pytest.mark.parametrize("n", [5, 10])
def test_five_arms_in_six_cells_have_a_wrong_verdict_in_5_of_100(n: int) -> None:
    """Five arms against one reference, whose luck they share, in six cells; none is different."""
    rng = np.random.default_rng(n)
    arms = rng.normal(0, 0.02, (TRIALS, 5, 6, n))
    reference = rng.normal(0, 0.02, (TRIALS, 1, 6, n))
    estimate = estimate_over_seeds((arms - reference).reshape(TRIALS, 30, n), 1 / 360)
    wrong = share(judge(estimate, 0.01).is_clear.any(axis=1), f"{n} seeds, 5 arms x 6 cells")
    assert wrong == pytest.approx(ALPHA, abs=TOLERANCE)


# --- each arm at its own best


def select_and_compare(spread: float, images: int, n: int = 10) -> tuple[Array, Array]:
    """Verdicts on two equal arms, each at the best of 12 settings, without and with its error.

    Settings differ by ``spread``, in the same way in both arms. The one with the best mean over
    seeds on ``images`` validation images is chosen; the winners are compared on 360 test images.
    """
    rng = np.random.default_rng(0)
    settings = rng.normal(0.8, spread, (TRIALS, 1, 12, 1))
    accuracy = np.clip(settings + rng.normal(0, 0.02, (TRIALS, 2, 12, n)), 0, 1)
    validation, test = (rng.binomial(m, accuracy) / m for m in (images, 360))
    chosen = validation.mean(axis=-1).argmax(axis=-1)
    winners = np.take_along_axis(test, chosen[..., np.newaxis, np.newaxis], axis=2)[:, :, 0]
    estimate = estimate_over_seeds(winners[:, 0] - winners[:, 1], 1 / 360)
    parts = [np.array_split(metric, TRIALS // 200) for metric in (validation, test)]
    variances = [selection_variance(*part) for part in zip(*parts, strict=True)]
    arm, reference = np.concatenate(variances).T
    with_error = add_selection_error(estimate, (arm, reference))
    return judge(one_cell(estimate)).verdict, judge(one_cell(with_error)).verdict


@pytest.mark.parametrize(
    ("spread", "images", "ignored"), [(0.0, 100, 0.02), (0.02, 20, 0.12), (0.05, 100, 0.04)]
)
def test_choosing_the_setting_on_validation_images_adds_no_error(
    spread: float, images: int, ignored: float
) -> None:
    """Where settings differ and validation images are few, two equal arms get different ones."""
    ignoring, allowing = select_and_compare(spread, images)
    what = f"12 settings (sd {spread}), {images} validation images"
    found = share(ignoring == "better", f"{what}, choice ignored: better")
    assert found == pytest.approx(ignored, abs=0.02)
    assert share(allowing == "better", f"{what}: better") <= ALPHA / 2 + TOLERANCE
    assert share(allowing == "worse", f"{what}: worse") <= ALPHA / 2 + TOLERANCE


# --- the margin


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_equivalence_at_the_margin_is_wrong_in_at_most_5_of_100(n: int) -> None:
    rng = np.random.default_rng(n)
    for truth in (0.01, -0.01):
        estimate = estimate_over_seeds(rng.normal(truth, 0.005, (TRIALS, n)), 1e-4)
        wrong = share(equivalence_p(estimate, 0.01) <= ALPHA, f"{n} seeds at {truth}: equivalent")
        assert wrong <= ALPHA + TOLERANCE
        beyond = judge(one_cell(estimate), 0.01).beyond_margin
        assert share(beyond, f"{n} seeds at {truth}: beyond the margin") <= ALPHA / 2 + TOLERANCE


def test_equivalence_at_the_margin_with_test_images_as_a_sample() -> None:
    rng = np.random.default_rng(0)
    wrong = []
    for _ in range(TRIALS // 500):
        hits = draw_hits(rng, 500, 10, 360, spread=0.5)
        # Shifts the truth from zero to the margin.
        wrong.append(equivalence_p(estimate_two_way(hits + 0.04), 0.04) <= ALPHA)
    rate = share(np.concatenate(wrong), "10 seeds, two-way, at the margin: equivalent")
    assert rate <= ALPHA + TOLERANCE


# --- planning and looking twice


def pilot(seed_sd: float, image_error: float, n: int = 10) -> Estimate:
    zero = np.array(0.0)
    values = (np.array(float(n)), np.array(seed_sd), np.array(image_error))
    return Estimate(zero, zero, zero, *values)


@pytest.mark.parametrize("ratio", [0.3, 0.5, 1.0, 2.0])
def test_the_seeds_needed_have_the_power_that_they_promise(ratio: float) -> None:
    """``ratio`` is the effect in standard deviations of a seed's difference."""
    n = int(seeds_needed(pilot(1.0, 0.0), ratio).seeds)
    rng = np.random.default_rng(n)
    estimate = estimate_over_seeds(rng.normal(ratio, 1.0, (TRIALS, n)))
    found = share(p_value(estimate) <= ALPHA, f"{ratio} sd, {n} seeds: found")
    assert found >= 0.79
    fewer = estimate_over_seeds(rng.normal(ratio, 1.0, (TRIALS, n - 1)))
    assert n == 3 or (p_value(fewer) <= ALPHA).mean() <= 0.81


def test_the_seeds_needed_allow_for_the_test_images() -> None:
    """More seeds do not make up for few images: here 32 seeds, and none would do for half."""
    images, image_sd, rest_sd, seed_sd, effect = 200, 0.1, 0.3, 0.02, 0.025
    of_a_seed = np.hypot(seed_sd, rest_sd / np.sqrt(images))
    planned = pilot(of_a_seed, image_sd / np.sqrt(images))
    n = int(seeds_needed(planned, effect).seeds)
    rng = np.random.default_rng(n)
    found = []
    for _ in range(4000 // 200):
        hits = effect + rng.normal(0, seed_sd, (200, n, 1)) + rng.normal(0, image_sd, (200, 1, 200))
        hits = hits + rng.normal(0, rest_sd, (200, n, 200))
        found.append(p_value(estimate_two_way(hits)) <= ALPHA)
    assert share(np.concatenate(found), f"{n} seeds, two-way: found") == pytest.approx(
        0.80, abs=0.03
    )
    assert np.isinf(seeds_needed(planned, effect / 2).seeds)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_of_the_seeds_needed_contains_the_truth_in_95_of_100(n: int) -> None:
    truth = seeds_needed(pilot(1.0, 0.0), 0.5).seeds
    rng = np.random.default_rng(n)
    needed = seeds_needed(estimate_over_seeds(rng.normal(0, 1, (2000, n))), 0.5)
    covered = (needed.low <= truth) & (truth <= needed.high)
    assert share(covered, f"pilot of {n}: interval of the seeds needed holds") >= 0.94


def test_the_e_process_errs_in_at_most_5_of_100_whoever_looks_after_every_seed() -> None:
    without = differences(40)
    ever = t_e_process(without, 1e-4).max(axis=-1) >= 1 / ALPHA
    assert share(ever, "e-process, 40 looks: wrong") <= ALPHA
    assert ((anytime_p(without, 1e-4) <= ALPHA) == ever).all()
    looks = np.arange(3, 41)
    low_p = [p_value(estimate_over_seeds(without[:, :n])) <= ALPHA for n in looks]
    assert share(np.any(low_p, axis=0), "t test, looks at 3 to 40 seeds: wrong") > 0.2


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5])
def test_the_e_process_finds_a_gain_a_little_later_than_a_planned_test(gain: float) -> None:
    planned = int(seeds_needed(pilot(1.0, 0.0), gain).seeds)
    e_values = t_e_process(differences(3 * planned, gain=gain, shape=(2000,)), 1e-4)
    reached = np.maximum.accumulate(e_values, axis=-1) >= 1 / ALPHA
    needed = int(np.argmax(reached.mean(axis=0) >= 0.8)) + 1
    print(f"{gain} sd: {planned} seeds planned, {needed} with a look at each")
    assert reached[:, -1].mean() > 0.8
    assert planned < needed < 2 * planned


# --- lost seeds


def test_an_arm_that_loses_its_worst_seeds_gets_no_verdict_for_it() -> None:
    """Two equal arms; one diverges in the 3 of 8 seeds in which it would have done worst."""
    rng = np.random.default_rng(0)
    arm, reference = (np.clip(rng.normal(0.7, 0.03, (TRIALS, 8)), 0, 1) for _ in range(2))
    order = arm.argsort(axis=-1)
    kept = np.take_along_axis(arm - reference, order[:, 3:], axis=-1)
    verdicts = judge(one_cell(estimate_over_seeds(kept)), 0.01).verdict
    assert share(verdicts == "better", "3 of 8 lost, ignored: better") > 0.1
    np.put_along_axis(arm, order[:, :3], np.nan, axis=-1)
    worst = judge(one_cell(estimate_over_seeds(differences_at_chance(arm, reference, 0.1))), 0.01)
    confirmed = confirm_verdicts(verdicts, worst.verdict, np.array(3 / 8))
    assert share(confirmed == "better", "3 of 8 lost, worst case agrees: better") == 0
