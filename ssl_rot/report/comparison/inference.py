"""What paired differences tell: interval, p values, Holm's adjustment, and the verdict in words.

Why these and no others stands in docs/report.md.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ALPHA = 0.05
VERDICTS = ("rotation better", "supervised-only better", "no clear difference", "not enough runs")

# Differences this close are one number that was rounded twice.
SAME = 1e-9
# Beyond, the exact test would take gigabytes.
_EXACT = 40

Array = NDArray[np.float64]


class Paired(NamedTuple):
    """What the differences of the pairs tell; the axis of the pairs is gone.

    ``low`` and ``high`` bound the 95 % t interval of the mean, ``p`` is two-sided.
    """

    mean: Array
    low: Array
    high: Array
    p: Array


def paired_t(differences: Array) -> Paired:
    """The paired t test, after Student; NaN where there are fewer than two pairs.

    Where all differences are equal, as a few accuracies on a few hundred images can be, there is no
    spread to estimate: no interval is given, and p is that of the sign flips.

    Args:
        differences: ``[..., n]``, of the n pairs.
    """
    n = differences.shape[-1]
    mean = differences.mean(axis=-1)
    if n < 2:
        nothing = np.full_like(mean, np.nan)
        return Paired(mean, nothing, nothing, nothing)
    error = stats.sem(differences, axis=-1)
    flat = np.ptp(differences, axis=-1) <= SAME
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(mean / error), n - 1)
    p = np.where(flat, np.where(np.abs(mean) <= SAME, 1.0, 0.5 ** (n - 1)), p)
    half = np.where(flat, np.nan, stats.t.ppf(1 - ALPHA / 2, n - 1) * error)
    return Paired(mean, mean - half, mean + half, p)


def sign_flip_p(differences: Array) -> float:
    """The exact two-sided p of the mean when each difference may as well have the other sign.

    Assumes nothing about their distribution. No p is below ``2 ** (1 - n)``.

    Args:
        differences: ``[n]``. Above 40 pairs random flips stand for all.
    """
    n = len(differences)
    if n < 2:
        return float("nan")
    if n > _EXACT:
        test = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=99_999, rng=0
        )
        return float(test.pvalue)

    def sums(part: Array) -> Array:
        """The sums of ``part`` under all choices of signs."""
        start = np.zeros(1)
        return reduce(lambda found, d: np.concatenate([found - d, found + d]), part, start)

    # All 2^n sums are those of two halves put together, which takes 2^(n/2) numbers.
    left, right = sums(differences[: n // 2]), np.sort(sums(differences[n // 2 :]))
    least = abs(differences.sum()) - SAME
    above = (len(right) - np.searchsorted(right, least - left)).sum()
    return min(1.0, 2.0 * float(above) / 2.0**n)


def holm(p: Array) -> Array:
    """p values adjusted for being several, after Holm (1979); the family is the last axis.

    Those that are NaN are no part of it.
    """
    order = np.argsort(p, axis=-1)  # NaN comes last
    ordered = np.take_along_axis(p, order, axis=-1)
    size = np.isfinite(p).sum(axis=-1, keepdims=True)
    rank = np.arange(p.shape[-1])
    stepped = np.minimum(1.0, np.fmax.accumulate(ordered * np.maximum(size - rank, 1), axis=-1))
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, np.where(np.isnan(ordered), np.nan, stepped), axis=-1)
    return adjusted


def verdicts(gain: Array, adjusted_p: Array) -> NDArray[np.str_]:
    """The verdict in words.

    Args:
        gain: mean difference, positive where rotation is better.
        adjusted_p: after :func:`holm`; NaN where there were too few pairs.
    """
    clear = adjusted_p <= ALPHA
    choices = [np.isnan(adjusted_p), clear & (gain > 0), clear & (gain < 0)]
    return np.select(choices, [VERDICTS[3], VERDICTS[0], VERDICTS[1]], VERDICTS[2])
