"""The verdict of each cell: better, equivalent, worse, undecided, or not enough runs.

docs/report.md explains how it is reached, and why this way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_rot.report.comparison.estimates import (
    ALPHA,
    Array,
    Estimate,
    equivalence_p,
    interval,
    p_value,
)
from ssl_rot.report.comparison.holm import adjust_holm

BETTER = "better"
EQUIVALENT = "equivalent"
WORSE = "worse"
UNDECIDED = "undecided"
NOT_ENOUGH = "not enough runs"
VERDICTS = (BETTER, EQUIVALENT, WORSE, UNDECIDED, NOT_ENOUGH)

# Two seeds give a t interval with one degree of freedom, whose spread is one subtraction.
LEAST_SEEDS = 3


class Judgment(NamedTuple):
    """What can be said about each contrast and cell of a page; every field is ``[..., m]``."""

    verdict: NDArray[np.str_]
    is_clear: NDArray[np.bool_]  # different from zero; an equivalent arm can be that too
    beyond_margin: NDArray[np.bool_]  # better or worse by more than the margin
    p_holm: Array  # of no difference, adjusted over the page
    equivalence_p_holm: Array  # of a difference of the margin or more, adjusted over the page
    low: Array  # the 95 % interval of this cell alone
    high: Array
    low_simultaneous: Array  # all intervals of the page contain their true mean in 95 of 100 pages
    high_simultaneous: Array


def judge(
    estimate: Estimate, margin: float | None = None, higher_is_better: ArrayLike = True
) -> Judgment:
    """Judges all contrasts and cells of a page, ``[..., m]``; the last axis is the family.

    *Better* and *worse* need a difference that is clear at 5 % after Holm (1979) over the family,
    *equivalent* one that is smaller than the margin at 5 % after Holm over the family. These are
    two questions, and each has its own 5 %. A difference that is both clear and smaller than the
    margin is *equivalent*. ``beyond_margin`` needs the simultaneous interval (Bonferroni) to lie
    beyond the margin. Cells with fewer than three seeds are not part of the family.

    Args:
        margin: the smallest difference that matters, in the metric's own unit; with ``None``
            nothing is called equivalent or beyond it.
        higher_is_better: false for a loss.
    """
    is_judged = (estimate.n >= LEAST_SEEDS) & np.isfinite(estimate.mean)
    p_holm = adjust_holm(np.where(is_judged, p_value(estimate), np.nan))
    low, high = interval(estimate)
    family = np.maximum(is_judged.sum(axis=-1, keepdims=True), 1)
    ends = interval(estimate, 1 - ALPHA / family)
    low_simultaneous, high_simultaneous = (np.where(is_judged, end, np.nan) for end in ends)

    is_clear = p_holm <= ALPHA
    is_gain = np.where(higher_is_better, estimate.mean, -estimate.mean) > 0
    equivalence_p_holm = np.full_like(p_holm, np.nan)
    beyond_margin = np.zeros_like(is_clear)
    if margin is not None:
        raw = np.where(is_judged, equivalence_p(estimate, margin), np.nan)
        equivalence_p_holm = adjust_holm(raw)
        beyond_margin = (low_simultaneous > margin) | (high_simultaneous < -margin)
    choices = [~is_judged, equivalence_p_holm <= ALPHA, is_clear & is_gain, is_clear]
    return Judgment(
        np.select(choices, [NOT_ENOUGH, EQUIVALENT, BETTER, WORSE], UNDECIDED),
        is_clear,
        beyond_margin,
        p_holm,
        equivalence_p_holm,
        low,
        high,
        low_simultaneous,
        high_simultaneous,
    )
