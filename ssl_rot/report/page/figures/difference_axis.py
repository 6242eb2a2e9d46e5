"""What all panels of paired differences share: their scale, the margin's band, the seeds' dots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_rot.report.comparison.cell_names import find_cell_rows

Array = NDArray[np.float64]

ABOUT_BAND = "Gray band: smaller than the margin. "


def to_differences(cells: pd.DataFrame, factor: float) -> tuple[Array, Array]:
    """The mean differences ``[cells]`` and the ends of their intervals ``[cells, 2]``."""
    means = cells["difference"].to_numpy(dtype=float)
    return factor * means, factor * cells[["low", "high"]].to_numpy(dtype=float)


def seed_values(
    cells: pd.DataFrame, compared: pd.DataFrame, column: str, factor: float
) -> list[Array]:
    """For each cell, a value for each independent seed."""
    in_cells = find_cell_rows(compared, cells) if len(compared) > 0 else pd.Series(dtype=int)
    values = compared[column].astype(float).groupby([in_cells, compared["unit"]]).mean()
    by_row = {row: np.asarray(factor * part, dtype=float) for row, part in values.groupby(level=0)}
    return [by_row.get(row, np.empty(0)) for row in range(len(cells))]


def draw_margin(span: Callable[..., Any], cells: pd.DataFrame, factor: float) -> None:
    """Draws the band of differences that are smaller than the margin, if there is one."""
    margin = factor * float(cells["margin"].iloc[0])
    if np.isfinite(margin):
        span(-margin, margin, color="#ececec", zorder=0, linewidth=0)


def difference_limits(means: Array, intervals: Array, seeds: Array) -> tuple[float, float]:
    """The limits of an axis that shows zero, and all differences as far as they fit."""
    limit = axis_limit(means, intervals, seeds)
    values = [0, *means, *intervals[np.isfinite(intervals)], *seeds]
    shown = np.clip(values, -limit, limit)
    margin = 0.08 * (shown.max() - shown.min()) or limit
    return float(shown.min() - margin), float(shown.max() + margin)


def axis_limit(means: Array, intervals: Array, seeds: Array) -> float:
    """How far an axis of differences extends on both sides of zero.

    The interval from two seeds can be twenty times as wide as all others. It is cut off, so that
    the others remain visible.
    """
    ends = np.abs(intervals).ravel()
    limit = 1.1 * max(3 * np.abs(means).max(), 1.5 * np.nanmedian([*ends, 0]), 1e-3)
    return float(min(limit, max(1.1 * np.nanmax([*ends, *np.abs(means), *np.abs(seeds)]), 1e-3)))
