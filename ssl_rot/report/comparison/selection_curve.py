"""The validation performance to expect from a number of trials."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from ssl_rot.report.comparison.estimates import Array


def expected_best(values: ArrayLike) -> Array:
    """The expected best of k of the N trials in ``values``, for k = 1 to N.

    The k trials are drawn without replacement, which is the unbiased form (Tang et al., 2020,
    "Showing your work doesn't always work", ACL) of the curve of Dodge et al. (2019, "Show your
    work", EMNLP). The last one is the best of all, and reaches it only because all N were tried.

    Args:
        values: validation metrics of the trials, the higher the better; negate a loss.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    total = len(ordered)
    rank, k = np.arange(1, total + 1), np.arange(1, total + 1)[:, np.newaxis]
    # Of the subsets of size k, the share in which the trial of this rank is the best.
    is_best = rank >= k
    below = np.where(is_best, rank - 1, k - 1)
    log_share = _log_choose(below, k - 1) - _log_choose(total, k)
    return np.asarray(np.where(is_best, np.exp(log_share), 0.0) @ ordered)


def _log_choose(n: ArrayLike, k: ArrayLike) -> Array:
    n, k = np.asarray(n), np.asarray(k)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
