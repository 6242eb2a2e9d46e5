"""Estimates of a mean paired difference, with the error that seeds alone give it.

A difference is that of one seed: treatment arm minus reference. See ``two_way`` for the error
that seeds and test images give together, and docs/report.md for why.
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

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """Mean differences with their standard errors; every field has the shape ``[...]``."""

    mean: Array
    error: Array  # standard error of the mean; NaN for a single seed
    df: Array  # degrees of freedom of the error
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
    """The t interval of the mean at the given level; NaN without a spread to estimate it from."""
    quantile = stats.t.ppf((1 + np.asarray(level)) / 2, _at_least_one(estimate.df))
    half = np.where(_has_spread(estimate), quantile * estimate.error, np.nan)
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
        p = stats.t.sf(distance / estimate.error, _at_least_one(estimate.df))
    signs_only = np.where(distance > ROUNDING, 0.5**estimate.n, 1.0)
    return np.where(estimate.error <= ROUNDING, signs_only, p)


def _has_spread(estimate: Estimate) -> NDArray[np.bool_]:
    return np.asarray(estimate.error > ROUNDING)


def _at_least_one(df: Array) -> Array:
    return np.fmax(df, 1.0)
