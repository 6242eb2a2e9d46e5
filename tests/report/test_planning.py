"""How many seeds, when to look, and what a number of trials may be expected to find."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import integrate, stats

from ssl_rot.report.comparison.estimates import Estimate, estimate_over_seeds, p_value
from ssl_rot.report.comparison.planning import find_power, seeds_needed
from ssl_rot.report.comparison.selection_curve import expected_best
from ssl_rot.report.comparison.selection_error import add_selection_error, selection_variance
from ssl_rot.report.comparison.sequential import anytime_p, t_e_process


def pilot(n: int, seed_sd: float, image_error: float = 0.0) -> Estimate:
    values = (0.0, seed_sd / np.sqrt(n), n - 1.0, float(n), seed_sd, image_error)
    return Estimate(*map(np.array, values))


def test_a_small_pilot_says_how_little_it_knows() -> None:
    assert [float(end) for end in seeds_needed(pilot(5, 0.02), 0.01)] == [34, 14, 262]
    assert [float(end) for end in seeds_needed(pilot(20, 0.02), 0.01)] == [34, 21, 69]
    # A smaller effect and a stricter test need more.
    assert seeds_needed(pilot(5, 0.02), 0.005).seeds > 120
    assert seeds_needed(pilot(5, 0.02), 0.01, alpha=0.01).seeds == 51


def test_seeds_needed_where_no_number_would_do_and_where_nothing_is_known() -> None:
    assert np.isinf(seeds_needed(pilot(5, 0.02, image_error=0.01), 0.01).seeds)
    assert np.isinf(seeds_needed(pilot(5, 0.02), 0.0).seeds)
    assert np.isnan(seeds_needed(Estimate.undefined(), 0.01)).all()
    assert np.isnan(seeds_needed(estimate_over_seeds(np.array([0.1])), 0.01)).all()
    assert seeds_needed(pilot(5, 1e-6), 0.01).seeds == 3


def test_power_is_finite_and_grows_with_the_seeds() -> None:
    n = np.unique(np.geomspace(2, 1e5, 200).astype(int))
    power = find_power(0.05, 1.0, n)
    assert np.isfinite(power).all()
    assert (np.diff(power) > -1e-9).all()
    assert find_power(0.0, 1.0, 10) == pytest.approx(0.05)
    assert find_power(100.0, 1.0, 10) == pytest.approx(1.0)
    shape = find_power(np.array([[0.5], [1.0]]), 1.0, np.array([5, 10, 20]))
    assert shape.shape == (2, 3)


def t_likelihood_ratio(d: np.ndarray) -> float:
    """The e-value by its definition: noncentral t densities mixed over a normal effect size."""
    n = len(d)
    t = d.mean() / (d.std(ddof=1) / np.sqrt(n))
    mixed, _ = integrate.quad(
        lambda effect: stats.nct.pdf(t, n - 1, effect * np.sqrt(n)) * stats.norm.pdf(effect), -8, 8
    )
    return float(mixed / stats.t.pdf(t, n - 1))


@pytest.mark.parametrize("n", [2, 3, 10, 30])
def test_the_e_process_is_the_mixed_likelihood_ratio_of_t(n: int) -> None:
    d = np.random.default_rng(n).normal(0.3, 1, n)
    assert t_e_process(d)[-1] == pytest.approx(t_likelihood_ratio(d), rel=1e-6)
    assert t_e_process(d * 1e-3) == pytest.approx(t_e_process(d))
    assert t_e_process(-d) == pytest.approx(t_e_process(d))
    assert t_e_process(d)[0] == pytest.approx(1.0)


def test_equal_differences_do_not_make_the_e_process_certain() -> None:
    one_image = np.full(10, 1 / 360)
    assert t_e_process(one_image)[-1] > 1000
    assert t_e_process(one_image, 1 / 360)[-1] < 20
    assert (t_e_process(np.zeros(5)) <= 1).all()


def test_the_anytime_p_never_rises() -> None:
    d = np.random.default_rng(0).normal(1, 1, 30)
    p = [float(anytime_p(d[:n])) for n in range(1, 31)]
    assert p == sorted(p, reverse=True)
    assert p[0] == 1
    assert p[-1] < 0.001


def test_expected_best_is_the_mean_over_all_subsets() -> None:
    values = [0.7, 0.5, 0.9, 0.6, 0.6]
    expected = [np.mean([max(s) for s in combinations(values, k)]) for k in range(1, 6)]
    np.testing.assert_allclose(expected_best(values), expected)
    assert expected_best([0.4]) == pytest.approx([0.4])
    many = expected_best(np.random.default_rng(0).random(500))
    assert np.isfinite(many).all()
    assert (np.diff(many) >= -1e-12).all()


def test_expected_best_is_unbiased() -> None:
    """From 8 trials, the expected best of 4 uniform ones, which is 4/5."""
    draws = np.random.default_rng(0).random((4000, 8))
    assert np.mean([expected_best(d)[3] for d in draws]) == pytest.approx(0.8, abs=0.005)


def test_a_choice_that_cannot_go_wrong_adds_no_error() -> None:
    rng = np.random.default_rng(0)
    validation = np.array([[0.5], [0.9], [0.6]]) + rng.normal(0, 0.01, (3, 6))
    assert selection_variance(validation, validation) == pytest.approx(0, abs=1e-15)
    assert selection_variance(validation[:1], validation[:1]) == 0
    # Settings that are equally good, and differ on the test images by nothing but the seeds.
    same = np.full((3, 1), 0.7)
    noise = rng.normal(0, 0.01, (2, 500, 3, 6))
    variances = selection_variance(same + noise[0], same + noise[1])
    assert np.median(variances) < 0.01**2 / 6
    # Three settings that validation cannot tell apart, at 60, 70 and 80 % on the test images.
    test = np.array([[0.6], [0.7], [0.8]]) + noise[1]
    spread = selection_variance(same + noise[0], test)
    assert spread.shape == (500,)
    assert np.mean(spread) == pytest.approx(np.var([0.6, 0.7, 0.8]), rel=0.35)


def test_the_error_of_a_choice_widens_the_estimate() -> None:
    estimate = estimate_over_seeds(np.array([0.02, 0.03, 0.025, 0.03]))
    same = add_selection_error(estimate, (np.array(0.0), np.array(0.0)))
    np.testing.assert_allclose(list(same), list(estimate))
    wider = add_selection_error(estimate, (np.array(0.01**2), np.array(0.0)))
    assert wider.error == pytest.approx(np.hypot(estimate.error, 0.01))
    assert wider.df < 4
    assert p_value(wider) > 0.05 > p_value(estimate)
