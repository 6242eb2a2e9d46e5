"""The paired differences of all cells, and both arms against a setting such as the label budget."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from ssl_rot.report.comparison.cell_names import format_settings, natural_sort_key, setting_columns
from ssl_rot.report.comparison.columns import LABELS
from ssl_rot.report.comparison.contrasts import name_difference, name_sides, name_verdict
from ssl_rot.report.comparison.metrics import display_name, unit_of
from ssl_rot.report.page.figures.report_figure import (
    VERDICT_STYLES,
    ReportFigure,
    Style,
    add_arm_legend,
    arm_styles,
    axis_label,
    shorten,
)

# With more a figure cannot be read; its caption says how much is only in the tables.
MOST_PANELS = 6
MOST_ROWS = 40

Array = NDArray[np.float64]


def draw_forest(cells: pd.DataFrame) -> ReportFigure:
    """Draws the mean paired difference of each cell with its 95 % interval: a forest plot."""
    metric = cells["metric"].iloc[0]
    unit = unit_of(metric)
    shown = cells.head(MOST_ROWS)
    figure = Figure(figsize=(7.5, 1.4 + 0.34 * len(shown)), layout="constrained")
    axes = figure.subplots()
    means, intervals = _differences(shown, unit.factor)
    limit = _axis_limit(means, intervals)
    axes.axvline(0, color="black", linewidth=1)
    for row, (verdict, mean, (low, high)) in enumerate(
        zip(shown["verdict"], means, intervals, strict=True)
    ):
        style = VERDICT_STYLES[verdict]
        axes.plot([max(low, -limit), min(high, limit)], [row, row], color=style.color, linewidth=2)
        for end, arrow in ((low, "<"), (high, ">")):
            if abs(end) > limit:
                axes.plot(np.sign(end) * limit, row, arrow, color=style.color, markersize=6)
        axes.plot(mean, row, style.marker, color=style.color, markersize=7)
    arm, reference = name_sides(shown)
    for verdict in dict.fromkeys(shown["verdict"]):
        style = VERDICT_STYLES[verdict]
        label = name_verdict(verdict, arm, reference)
        axes.plot([], [], style.marker, color=style.color, label=label)
    labels = [f"{name}  (n = {n})" for name, n in zip(shown["cell"], shown["n"], strict=True)]
    axes.set_yticks(range(len(shown)), [shorten(label, 70) for label in labels])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(-limit * 1.04, limit * 1.04)
    axes.grid(axis="y", visible=False)
    figure.supxlabel(
        f"{name_difference(cells)}, {unit.of_difference} of {display_name(metric)}",
        fontsize="medium",
    )
    figure.legend(loc="outside upper right", ncols=len(VERDICT_STYLES))
    hidden = len(cells) - len(shown)
    return ReportFigure(
        "forest",
        "Paired differences of all cells",
        "Mean paired difference of each cell with its own 95 % interval. The marker shows the "
        "verdict. It allows for the number of cells, so an interval that excludes zero can still "
        "be undecided. An arrow means that the interval extends beyond the plot."
        + (f" {hidden} more cells are in the table." if hidden else ""),
        figure,
    )


def draw_by_labels(cells: pd.DataFrame) -> ReportFigure | None:
    """Draws both arms against the label budget, with their paired difference below."""
    key = LABELS.removeprefix("params.")
    return _draw_against(cells, key, "labels", "labels per class", natural_sort_key)


def draw_by_stage(cells: pd.DataFrame) -> ReportFigure | None:
    """Draws both arms against the last stage of the backbone that is kept."""
    return _draw_against(cells, "model.cut", "stages", "last stage kept", _stage_sort_key)


def _draw_against(
    cells: pd.DataFrame, key: str, name: str, title: str, sort_key: Callable[[str], Any]
) -> ReportFigure | None:
    """Draws both arms and their difference against one setting, whose x axis has the title.

    Each combination of the other settings has a panel of its own.
    """
    keys = setting_columns(cells)
    if key not in keys or cells[key].nunique() < 2:
        return None
    metric = cells["metric"].iloc[0]
    unit = unit_of(metric)
    others = [k for k in keys if k != key]
    # Not every option of a group has every key, so NaN can be a setting too.
    grouped = cells.groupby(others, sort=False, dropna=False) if others else [((), cells)]
    panels = list(grouped)
    shown = [(panel, part) for panel, part in panels if part[key].nunique() > 1][:MOST_PANELS]
    if not shown:
        return None
    values = sorted(cells[key].unique(), key=sort_key)
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(max(5.6, 3.4 * columns), 0.7 + 4.1 * rows), layout="constrained")
    # Two accurate arms overlap in the upper panel; their difference needs its own scale.
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[2, 1] * rows)
    all_shown = pd.concat([part for _, part in shown])
    difference_limits = _difference_limits(*_differences(all_shown, unit.factor))
    styles = arm_styles(all_shown)
    lowest = unit.factor * all_shown[["arm_mean", "reference_mean"]].to_numpy(float).min()
    above, below = grid[::2].flatten(), grid[1::2].flatten()
    for upper, lower, (panel, part) in zip(above, below, shown, strict=False):
        part = part.sort_values(key, key=lambda column: column.map(sort_key))
        part = part.assign(position=[values.index(value) for value in part[key]])
        _draw_arms(upper, part, styles, unit.factor)
        if others:
            upper.set_title(shorten(format_settings(dict(zip(others, panel, strict=True))), 44))
        if metric.endswith("_acc"):
            # With few seeds the interval of an arm often extends beyond [0, 1]; the axis does not.
            upper.set_ylim(max(0, lowest - 12), 102)
        _draw_differences(lower, part, unit.factor)
        lower.set_ylim(*difference_limits)
        names = ["all" if value == "null" else value for value in values]
        for axes, ticks in ((upper, [""] * len(names)), (lower, names)):
            axes.set_xticks(range(len(names)), ticks)
            axes.set_xlim(-0.3, len(names) - 0.7)
    for axes in [*above[len(shown) :], *below[len(shown) :]]:
        axes.set_visible(False)
    for upper, lower in zip(above[::columns], below[::columns], strict=True):
        upper.set_ylabel(axis_label(metric))
        lower.set_ylabel(f"difference\n({unit.of_difference})")
    figure.supxlabel(title, fontsize="medium")
    add_arm_legend(figure, above[: len(shown)])
    hidden = len(panels) - len(shown)
    return ReportFigure(
        name,
        f"{display_name(metric).capitalize()} against {title}",
        "Top: mean over seeds, with the 95 % t interval of each arm. These intervals may overlap "
        "even if the paired difference is clear, because a seed shifts both arms in the same "
        f"direction. Bottom: the paired difference, {name_difference(cells)}, with its own "
        "95 % interval and the marker of the verdict."
        + (f" {hidden} more settings are in the table." if hidden else ""),
        figure,
    )


def _stage_sort_key(stage: str) -> tuple[bool, int, str]:
    """Sorts stem, stage1, stage2, ..., stage10, and then null (all stages)."""
    digits = stage.lstrip(string.ascii_letters)
    return stage == "null", int(digits) if digits.isdecimal() else 0, stage


def _draw_arms(axes: Axes, cells: pd.DataFrame, styles: dict[str, Style], factor: float) -> None:
    sides = []
    for side in ("reference", "arm"):
        columns = {side: "name", f"{side}_mean": "mean", f"{side}_sd": "sd"}
        sides.append(cells.rename(columns=columns)[["name", "position", "mean", "sd", "n"]])
    # Several contrasts share their reference.
    both = pd.concat(sides).drop_duplicates(["name", "position"])
    shifts = 0.12 * (np.arange(len(styles)) - (len(styles) - 1) / 2)
    for (arm, style), shift in zip(styles.items(), shifts, strict=True):
        part = both[both["name"] == arm]
        n = part["n"].to_numpy(float)
        half = stats.t.ppf(0.975, np.maximum(n - 1, 1)) * factor * part["sd"] / np.sqrt(n)
        if len(part) > 0:
            axes.errorbar(
                part["position"] + shift, factor * part["mean"], half.fillna(0),
                label=style.label, capsize=3, color=style.color, linestyle=style.line,
                marker=style.marker,
            )  # fmt: skip


def _draw_differences(axes: Axes, cells: pd.DataFrame, factor: float) -> None:
    axes.axhline(0, color="black", linewidth=1)
    means, intervals = _differences(cells, factor)
    halves = np.nan_to_num(intervals[:, 1] - means)
    for x, mean, half, verdict in zip(
        cells["position"], means, halves, cells["verdict"], strict=True
    ):
        style = VERDICT_STYLES[verdict]
        axes.errorbar(
            x, mean, half, capsize=3, markersize=4, color=style.color, marker=style.marker
        )


def _differences(cells: pd.DataFrame, factor: float) -> tuple[Array, Array]:
    """The mean differences ``[cells]`` and the ends of their intervals ``[cells, 2]``."""
    means = cells["difference"].to_numpy(dtype=float)
    return factor * means, factor * cells[["low", "high"]].to_numpy(dtype=float)


def _difference_limits(means: Array, intervals: Array) -> tuple[float, float]:
    """The limits of an axis that shows zero, and all differences as far as they fit."""
    limit = _axis_limit(means, intervals)
    shown = np.clip([0, *means, *intervals[np.isfinite(intervals)]], -limit, limit)
    margin = 0.08 * (shown.max() - shown.min()) or limit
    return float(shown.min() - margin), float(shown.max() + margin)


def _axis_limit(means: Array, intervals: Array) -> float:
    """How far an axis of differences extends on both sides of zero.

    The interval from two seeds can be twenty times as wide as all others. It is cut off, so that
    the others remain visible.
    """
    ends = np.abs(intervals).ravel()
    limit = 1.1 * max(3 * np.abs(means).max(), 1.5 * np.nanmedian([*ends, 0]), 1e-3)
    return float(min(limit, max(1.1 * np.nanmax([*ends, *np.abs(means)]), 1e-3)))
