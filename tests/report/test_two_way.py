"""Seeds and test images as samples: what the estimates do at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from ssl_rot.report.comparison.estimates import (
    Estimate,
    estimate_over_seeds,
    interval,
    p_value,
)
from ssl_rot.report.comparison.two_way import estimate_two_way, mcnemar_p, recall_differences


def estimate(mean: float, seed_error: float, image_error: float, df: float) -> Estimate:
    """An estimate with the given parts of its error."""
    values = (mean, np.hypot(seed_error, image_error), df, df + 1, 0.0, image_error)
    return Estimate(*map(np.array, values))


def differ_on(images: list[int], of: int = 360, seeds: int = 10) -> np.ndarray:
    """Differences ``[seeds, of]``: every seed gains exactly the same images."""
    differences = np.zeros((seeds, of))
    differences[:, images] = 1
    return differences


def test_one_more_image_for_every_seed_is_not_clear() -> None:
    """Over seeds alone it is: all ten agree. With other test images they would not."""
    one_image = differ_on([7])
    by_seeds = estimate_over_seeds(one_image.mean(axis=1), 1 / 360)
    assert p_value(by_seeds) == pytest.approx(0.0115, abs=0.0005)
    both = estimate_two_way(one_image)
    assert both.error == pytest.approx(np.sqrt(1 + 1 / 10) / 360, rel=0.01)
    assert p_value(both) > 0.3
    assert p_value(estimate_two_way(differ_on(list(range(36))))) < 1e-6


def test_the_spread_is_at_least_one_test_image() -> None:
    equal = np.full(3, 36 / 360)
    assert np.isnan(interval(estimate_over_seeds(equal))[0])
    assert estimate_over_seeds(equal, 1 / 360).seed_sd == pytest.approx(1 / 360)
    low, high = interval(estimate_over_seeds(equal, 1 / 360))
    assert low == pytest.approx(0.1 - 4.3027 / 360 / np.sqrt(3), abs=1e-5)
    assert high == pytest.approx(0.2 - low)
    none = estimate_two_way(np.zeros((10, 100)))
    assert none.error == pytest.approx(1 / 100)


def test_more_seeds_do_not_make_up_for_few_images() -> None:
    rng = np.random.default_rng(0)
    of_image = rng.normal(0, 0.3, (1, 100))
    errors = [
        estimate_two_way(of_image + rng.normal(0, 0.1, (n, 1)) + rng.normal(0, 0.3, (n, 100)))
        for n in (5, 50, 500)
    ]
    for made in errors:
        assert 0.02 < made.image_error < 0.04
        assert made.error >= made.image_error
    assert errors[-1].error == pytest.approx(errors[-1].image_error, rel=0.05)


def test_arms_that_differ_by_seed_alone_have_the_error_of_the_seeds() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0, 0.2, (10, 1)) + np.zeros((1, 50))
    ours = estimate_two_way(differences)
    assert ours.error == pytest.approx(differences[:, 0].std(ddof=1) / np.sqrt(10))
    assert ours.df == pytest.approx(9)


def test_every_class_has_the_same_weight_in_balanced_accuracy() -> None:
    """A class of 18 images in 360 gains 18 of them: 5 points of accuracy, 50 of two recalls."""
    classes = np.repeat([3, 8], [18, 342])
    differences = differ_on(list(range(18)))
    rng = np.random.default_rng(0)
    noisy = differences + rng.choice([-1, 0, 1], differences.shape, p=[0.05, 0.9, 0.05])
    assert estimate_two_way(differences).mean == pytest.approx(0.05)
    assert estimate_two_way(differences, classes).mean == pytest.approx(0.5)
    labels, recalls = recall_differences(noisy, classes)
    assert labels.tolist() == [3, 8]
    assert recalls.mean == pytest.approx([noisy[:, :18].mean(), noisy[:, 18:].mean()])
    balanced = estimate_two_way(noisy, classes)
    assert balanced.mean == pytest.approx(recalls.mean.mean())
    # The seeds are the same in both recalls, the images are not.
    assert balanced.image_error**2 == pytest.approx((recalls.image_error**2).sum() / 4, rel=0.2)


def test_equal_classes_have_nearly_the_error_of_one() -> None:
    rng = np.random.default_rng(0)
    differences = rng.choice([-1.0, 0.0, 1.0], (8, 360), p=[0.1, 0.7, 0.2])
    one, ten = estimate_two_way(differences), estimate_two_way(differences, np.arange(360) % 10)
    assert ten.mean == pytest.approx(one.mean)
    assert ten.error == pytest.approx(one.error, rel=0.05)


def test_a_class_of_one_image_and_a_single_seed() -> None:
    differences = differ_on([0], of=20, seeds=4)
    lonely = estimate_two_way(differences, np.array([0] + [1] * 19))
    assert (lonely.mean, lonely.error) == (pytest.approx(0.5), pytest.approx(0.5))
    single = estimate_two_way(differences[:1])
    assert single.mean == pytest.approx(1 / 20)
    assert np.isnan(single.error)
    assert single.n == 1


def test_the_tail_is_that_of_a_t_variable_for_seeds_plus_a_normal_one_for_images() -> None:
    seed_error, image_error, df = 0.004, 0.003, 2.0

    def density(of_seeds: float, distance: float) -> float:
        tail = stats.norm.sf((distance - of_seeds) / image_error)
        return stats.t.pdf(of_seeds / seed_error, df) / seed_error * tail

    for mean in (0.001, 0.01, 0.03):
        expected, _ = integrate.quad(density, -1, 1, args=(mean,), limit=500, points=[0, mean])
        assert p_value(estimate(mean, seed_error, image_error, df)) == pytest.approx(
            2 * expected, rel=1e-3
        )


@pytest.mark.parametrize("df", [1.0, 2.0, 9.0, 200.0])
def test_the_tail_between_that_of_t_and_that_of_a_normal_variable(df: float) -> None:
    for mean in (0.0, 0.002, 0.01, 0.04):
        seeds_alone = p_value(estimate(mean, 0.004, 0.0, df))
        assert p_value(estimate(mean, 0.004, 1e-9, df)) == pytest.approx(seeds_alone, rel=1e-6)
        normal = 2 * stats.norm.sf(mean / 0.004)
        assert p_value(estimate(mean, 1e-9, 0.004, df)) == pytest.approx(normal, rel=1e-4, abs=1e-6)


def test_intervals_and_p_values_agree() -> None:
    both = estimate(0.01, 0.004, 0.003, 2.0)
    for level in (0.8, 0.95, 0.999):
        low, high = interval(both, level)
        assert low + high == pytest.approx(0.02)
        at_its_end = estimate(float(high) - 0.01, 0.004, 0.003, 2.0)
        assert p_value(at_its_end) == pytest.approx(1 - level, rel=1e-6)


def test_leading_axes_are_cells() -> None:
    rng = np.random.default_rng(0)
    classes = np.arange(60) % 3
    cells = rng.choice([-1.0, 0.0, 1.0], (2, 4, 5, 60))
    together = estimate_two_way(cells, classes)
    for index in np.ndindex(2, 4):
        alone = estimate_two_way(cells[index], classes)
        np.testing.assert_allclose([field[index] for field in together], list(alone))


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (6, 0, 2 / 64), (5, 5, 1.0), (9, 1, 22 / 1024)],
)
def test_mcnemar(gained: int, lost: int, p: float) -> None:
    assert float(mcnemar_p(np.array([1] * gained + [-1] * lost + [0] * 30))) == pytest.approx(p)
