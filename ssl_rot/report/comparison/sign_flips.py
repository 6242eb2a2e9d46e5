"""The exact sign-flip test of paired differences."""

from __future__ import annotations

from functools import reduce

import numpy as np
from scipy import stats

from ssl_rot.report.comparison.estimates import ROUNDING, Array

# With more pairs the exact test would take gigabytes.
_MOST_EXACT_PAIRS = 40


def sign_flip_p(differences: Array) -> float:
    """The two-sided p value of the mean if each difference could equally well have the other sign.

    It assumes a symmetric distribution of the ``[n]`` differences, in place of a normal one, and
    is never below ``2 ** (1 - n)``. Exact for up to 40 pairs; above that, random flips are drawn.
    """
    n = len(differences)
    if n < 2:
        return float("nan")
    if n > _MOST_EXACT_PAIRS:
        test = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=99_999, rng=0
        )
        return float(test.pvalue)

    def signed_sums(part: Array) -> Array:
        """The sum of ``part`` for every choice of signs."""
        start = np.zeros(1)
        return reduce(lambda sums, d: np.concatenate([sums - d, sums + d]), part, start)

    # Each of the 2^n sums is one of the first half plus one of the second, so that 2^(n/2) numbers
    # of each have to be stored.
    first, second = signed_sums(differences[: n // 2]), signed_sums(differences[n // 2 :])
    observed = abs(differences.sum()) - ROUNDING
    second.sort()
    as_extreme = (len(second) - np.searchsorted(second, observed - first)).sum()
    return min(1.0, 2.0 * float(as_extreme) / 2.0**n)
