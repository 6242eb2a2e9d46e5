"""How many seeds would settle a comparison."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ssl_rot.report.comparison.estimates import ALPHA, Array, Estimate
from ssl_rot.report.comparison.verdicts import LEAST_SEEDS

POWER = 0.8
# A plan for more seeds than this is as good as none.
_MOST_SEEDS = 100_000


class SeedsNeeded(NamedTuple):
    """Numbers of seeds of shape ``[...]``; infinite where no number of seeds would do."""

    seeds: Array
    low: Array  # 95 % interval: a pilot of a few seeds knows its standard deviation only roughly
    high: Array


def find_power(
    effect: ArrayLike, seed_sd: ArrayLike, n: ArrayLike, image_error: ArrayLike = 0.0,
    alpha: ArrayLike = ALPHA,
) -> Array:  # fmt: skip
    """The probability that ``n`` seeds show a true difference of ``effect`` as clear.

    From the noncentral t distribution. The error that the test images contribute is not reduced
    by seeds; their large number makes its degrees of freedom those of a normal distribution.
    """
    effect, seed_sd, n, image_error = np.broadcast_arrays(
        *(np.asarray(value, dtype=float) for value in (effect, seed_sd, n, image_error))
    )
    of_seeds = seed_sd**2 / n
    variance = of_seeds + image_error**2
    df = (n - 1) * (variance / of_seeds) ** 2
    shift = np.abs(effect) / np.sqrt(variance)
    critical = stats.t.isf(np.asarray(alpha) / 2, df)
    # Beyond some thousand degrees of freedom the two distributions agree, and scipy's nct is slow.
    df = np.minimum(df, 5000)
    # For a large shift scipy has NaN for the other tail, which is empty then.
    other_tail = np.nan_to_num(stats.nct.cdf(-critical, df, shift))
    return np.asarray(stats.nct.sf(critical, df, shift) + other_tail)


def seeds_needed(
    estimate: Estimate, effect: ArrayLike, *, power: float = POWER, alpha: ArrayLike = ALPHA
) -> SeedsNeeded:
    """The seeds at which a true difference of ``effect`` is found with the given power.

    The interval follows from the chi-square interval of the standard deviation over seeds. It is
    wide for a small pilot, and says so. An ``effect`` that is itself estimated, such as the
    difference seen, has an uncertainty of its own that is not in it.

    Args:
        estimate: of the pilot, ``[...]``.
        effect: the margin, or the difference seen.
        alpha: of the test; over a family of m cells, ``ALPHA / m`` is what Holm asks of the first.
    """
    df = np.fmax(estimate.n - 1, 1.0)
    spread = np.where(estimate.n > 1, estimate.seed_sd, np.nan)
    ends = [stats.chi2.isf(tail, df) for tail in ((1 - 0.95) / 2, (1 + 0.95) / 2)]
    found = [
        _fewest_seeds(effect, spread * factor, estimate.image_error, power, alpha)
        for factor in (1.0, *(np.sqrt(df / end) for end in ends))
    ]
    return SeedsNeeded(*found)


def _fewest_seeds(
    effect: ArrayLike, seed_sd: Array, image_error: Array, power: float, alpha: ArrayLike
) -> Array:
    effect, seed_sd, image_error = np.broadcast_arrays(
        np.abs(np.asarray(effect, dtype=float)), seed_sd, np.nan_to_num(image_error)
    )
    low = np.full(seed_sd.shape, LEAST_SEEDS - 1)  # not enough
    high = np.full(seed_sd.shape, _MOST_SEEDS + 1)  # enough, or out of reach
    while (high - low > 1).any():
        middle = (low + high) // 2
        enough = find_power(effect, seed_sd, middle, image_error, alpha) >= power
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    reached = np.where(high > _MOST_SEEDS, np.inf, high)
    return np.where(np.isnan(seed_sd) | np.isnan(effect), np.nan, reached)
