"""The statistics compared with those of statsmodels, an independent implementation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from ssl_rot.report.comparison.estimates import (
    Estimate,
    equivalence_p,
    estimate_over_seeds,
    interval,
    p_value,
)
from ssl_rot.report.comparison.holm import adjust_holm
from ssl_rot.report.comparison.planning import find_power, seeds_needed
from ssl_rot.report.comparison.two_way import estimate_two_way, mcnemar_p


@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_paired_t_test_and_equivalence(n: int) -> None:
    rng = np.random.default_rng(n)
    one, other = rng.normal(0.6, 0.05, n), rng.normal(0.59, 0.05, n)
    ours, theirs = estimate_over_seeds(one - other), DescrStatsW(one - other)
    np.testing.assert_allclose(p_value(ours), theirs.ttest_mean(0)[1], rtol=1e-9)
    for level in (0.95, 0.99):
        expected = theirs.tconfint_mean(1 - level)
        np.testing.assert_allclose(interval(ours, level), expected, rtol=1e-9)
    for margin in (0.01, 0.05):
        expected = ttost_paired(one, other, -margin, margin)[0]
        np.testing.assert_allclose(equivalence_p(ours, margin), expected, rtol=1e-9)


def test_holm() -> None:
    p = np.random.default_rng(0).uniform(size=50) ** 3
    np.testing.assert_allclose(adjust_holm(p), multipletests(p, method="holm")[1], rtol=1e-12)


@pytest.mark.parametrize("images", [5, 40, 360])
def test_mcnemar(images: int) -> None:
    rng = np.random.default_rng(images)
    arm, reference = rng.random(images) < 0.8, rng.random(images) < 0.6
    table = pd.crosstab(
        pd.Categorical(arm, [False, True]), pd.Categorical(reference, [False, True]), dropna=False
    )
    ours = mcnemar_p(arm.astype(int) - reference)
    assert float(ours) == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-9)


@pytest.fixture(scope="module")
def crossed() -> pd.DataFrame:
    """Differences of 6 seeds on 40 images, with an effect of the seed and one of the image."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.2, (6, 1)) + rng.normal(0, 0.4, (1, 40)) + rng.normal(0, 0.3, (6, 40))
    seed, image = np.indices(values.shape)
    return pd.DataFrame({"d": values.ravel(), "seed": seed.ravel(), "image": image.ravel()})


def test_two_way_variance_is_that_of_the_analysis_of_variance(crossed: pd.DataFrame) -> None:
    squares = anova_lm(ols("d ~ C(seed) + C(image)", crossed).fit())["mean_sq"]
    seed, image, residual = squares["C(seed)"], squares["C(image)"], squares["Residual"]
    ours = estimate_two_way(crossed["d"].to_numpy().reshape(6, 40))
    variance = (seed + image - residual) / 240
    assert ours.error**2 == pytest.approx(variance, rel=1e-9)
    assert ours.seed_sd == pytest.approx(np.sqrt(seed / 40), rel=1e-9)
    assert ours.image_error**2 == pytest.approx((image - residual) / 240, rel=1e-9)


def test_two_way_variance_is_close_to_that_of_two_way_clustered_errors(
    crossed: pd.DataFrame,
) -> None:
    """Their V_both also contains the effects of seed and image, and is subtracted."""
    fit = ols("d ~ 1", crossed).fit()
    both, by_seed, by_image = cov_cluster_2groups(
        fit, crossed["seed"].to_numpy(), crossed["image"].to_numpy()
    )
    ours = estimate_two_way(crossed["d"].to_numpy().reshape(6, 40))
    assert float(by_seed[0, 0]) == pytest.approx(float(ours.seed_sd**2 / 6), rel=1e-9)
    assert float(both[0, 0]) == pytest.approx(float(ours.error**2), rel=0.15)
    assert float(both[0, 0]) < ours.error**2 < float((by_seed + by_image)[0, 0])


@pytest.mark.parametrize("effect", [0.2, 0.5, 1.0])
def test_power_and_seeds_needed(effect: float) -> None:
    theirs = TTestPower()
    for n in (3, 10, 50):
        expected = theirs.power(effect, n, 0.05)
        assert float(find_power(effect, 1.0, n)) == pytest.approx(expected, rel=1e-6)
    zero = np.array(0.0)
    pilot = Estimate(zero, zero, zero, np.array(5.0), np.array(1.0), zero)
    for alpha in (0.05, 0.005):
        expected = theirs.solve_power(effect, power=0.8, alpha=alpha)
        assert seeds_needed(pilot, effect, alpha=alpha).seeds == np.ceil(expected)
