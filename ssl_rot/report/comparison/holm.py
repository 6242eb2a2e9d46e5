"""Holm's adjustment for several comparisons."""

from __future__ import annotations

import numpy as np

from ssl_rot.report.comparison.estimates import Array


def adjust_holm(p: Array) -> Array:
    """Adjusts p values ``[..., m]`` for multiple comparisons after Holm (1979).

    The family is the last axis. NaN is not part of the family and stays NaN.
    """
    order = np.argsort(p, axis=-1)  # NaN is sorted last
    ordered = np.take_along_axis(p, order, axis=-1)
    size = np.isfinite(p).sum(axis=-1, keepdims=True)
    rank = np.arange(p.shape[-1])
    stepped = np.minimum(1.0, np.fmax.accumulate(ordered * np.maximum(size - rank, 1), axis=-1))
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, np.where(np.isnan(ordered), np.nan, stepped), axis=-1)
    return adjusted
