"""Estimates of a mean paired difference, and the intervals and p values that follow from them.

A difference is that of one seed: treatment arm minus reference. ``two_way`` makes estimates whose
error is that of seeds and test images together; docs/report.md says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

ALPHA = 0.05
# Differences that are closer than this are equal up to rounding.
ROUNDING = 1e-9
_STEPS = 200

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """Mean differences with their standard errors; every field has the shape ``[...]``."""

    mean: Array
    error: Array  # standard error of the mean; NaN for a single seed
    df: Array  # degrees of freedom of the part of the error that is due to the seeds
    n: Array  # independent seeds
    seed_sd: Array  # standard deviation of a seed's difference
    image_error: Array  # the part of the error that more seeds do not reduce; 0 if not estimated

    @classmethod
    def stack(cls, estimates: Sequence[Self]) -> Self:
        """The estimates of several cells as one, of shape ``[cells, ...]``."""
        return cls(*(np.stack(fields) for fields in zip(*estimates, strict=True)))

    @classmethod
    def undefined(cls) -> Self:
        """The estimate of a cell that has no difference at all."""
        unknown = np.array(np.nan)
        return cls(unknown, unknown, unknown, np.array(0.0), unknown, unknown)


def estimate_over_seeds(differences: Array, resolution: float = 0.0) -> Estimate:
    """The mean of ``[..., n]`` paired differences with the error of the paired t test.

    Args:
        resolution: the smallest difference that the metric can show: 1 / number of test images
            for an accuracy. The standard deviation is taken to be at least this, because seeds
            that happen to agree to the image do not prove that all seeds would.
    """
    n = differences.shape[-1]
    mean = differences.mean(axis=-1)
    seed_sd = np.full_like(mean, np.nan)
    if n > 1:
        seed_sd = np.maximum(differences.std(axis=-1, ddof=1), resolution)
    count, df = np.full_like(mean, n), np.full_like(mean, n - 1)
    return Estimate(mean, seed_sd / np.sqrt(n), df, count, seed_sd, np.zeros_like(mean))


def interval(estimate: Estimate, level: ArrayLike = 1 - ALPHA) -> tuple[Array, Array]:
    """The interval of the mean at the given level; NaN without a spread to estimate it from."""
    tail = np.broadcast_to((1 - np.asarray(level)) / 2, estimate.mean.shape)
    half = np.asarray(stats.t.isf(tail, np.fmax(estimate.df, 1.0)) * estimate.error)
    by_images = estimate.image_error > 0
    if by_images.any():
        half[by_images] = _invert_tail(_select(estimate, by_images), tail[by_images])
    half = np.where(estimate.error > ROUNDING, half, np.nan)
    return estimate.mean - half, estimate.mean + half


def p_value(estimate: Estimate) -> Array:
    """Two-sided p value of the hypothesis that the true mean is zero."""
    p = 2 * _upper_tail(estimate, np.abs(estimate.mean))
    return np.where(np.abs(estimate.mean) <= ROUNDING, np.where(np.isnan(p), p, 1.0), p)


def equivalence_p(estimate: Estimate, margin: float) -> Array:
    """P value of the hypothesis that the true mean is ``margin`` or more away from zero.

    The larger p of two one-sided tests (Schuirmann, 1987, J. Pharmacokin. Biopharm. 15:657).
    """
    return _upper_tail(estimate, margin - np.abs(estimate.mean))


def _upper_tail(estimate: Estimate, distance: Array) -> Array:
    """The probability that an estimate is further than ``distance`` above its true mean.

    Without any spread, as between seeds with equal losses, only the signs count: half the p value
    of the sign-flip test.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.asarray(stats.t.sf(distance / estimate.error, np.fmax(estimate.df, 1.0)))
    by_images = estimate.image_error > 0
    if by_images.any():
        p[by_images] = _mixture_tail(_select(estimate, by_images), distance[by_images])
    signs_only = np.where(distance > ROUNDING, 0.5**estimate.n, 1.0)
    return np.where(estimate.error <= ROUNDING, signs_only, p)


def _mixture_tail(estimate: Estimate, distance: Array) -> Array:
    """The same for ``[cells]`` whose error is in part that of the test images.

    The sum of a t variable, for the few seeds, and a normal one, for the many images (Behrens,
    1929; Fisher, 1935, Ann. Eugenics 6:391). A t variable with Satterthwaite's degrees of freedom
    has the same 5 % point, but tails that are too light: with three seeds it put p below 0.0025
    up to six times too often.
    """
    df = estimate.df[:, np.newaxis]
    # The logarithm of the chi-square variable that makes the t variable; its density is smooth
    # and vanishes at both ends, so that equal steps integrate it to many digits.
    lowest = np.log(stats.chi2.ppf(1e-16, df))
    highest = np.log(stats.chi2.isf(1e-16, df))
    log_chi2 = lowest + (highest - lowest) * np.linspace(0, 1, _STEPS)
    weights = np.exp(stats.chi2.logpdf(np.exp(log_chi2), df) + log_chi2)
    weights /= weights.sum(axis=-1, keepdims=True)
    of_images = estimate.image_error[:, np.newaxis] ** 2
    of_seeds = np.maximum(estimate.error[:, np.newaxis] ** 2 - of_images, 0.0)
    sd = np.sqrt(of_seeds * df * np.exp(-log_chi2) + of_images)
    return np.asarray((stats.norm.sf(distance[:, np.newaxis] / sd) * weights).sum(axis=-1))


def _invert_tail(estimate: Estimate, tail: Array) -> Array:
    """The distance beyond which an estimate lies with the probability ``tail``, by bisection."""
    low, high = np.zeros_like(tail), estimate.error.copy()
    while (short := _mixture_tail(estimate, high) > tail).any():
        high[short] *= 2
    for _ in range(50):
        middle = (low + high) / 2
        is_short = _mixture_tail(estimate, middle) > tail
        low, high = np.where(is_short, middle, low), np.where(is_short, high, middle)
    return high


def _select(estimate: Estimate, cells: NDArray[np.bool_]) -> Estimate:
    return Estimate(*(field[cells] for field in estimate))
