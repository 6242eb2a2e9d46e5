"""The arms and their paired differences against a setting, such as the label budget."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from ssl_rot.report.comparison.cell_names import format_settings, natural_sort_key, setting_columns
from ssl_rot.report.comparison.contrasts import name_difference
from ssl_rot.report.comparison.floors import FLOORS
from ssl_rot.report.comparison.label_budgets import PART, PER_CLASS, name_budget
from ssl_rot.report.comparison.metrics import display_name, unit_of
from ssl_rot.report.page.figures.difference_axis import (
    ABOUT_BAND,
    Array,
    difference_limits,
    draw_margin,
    seed_values,
    to_differences,
)
from ssl_rot.report.page.figures.report_figure import (
    VERDICT_STYLES,
    ReportFigure,
    Style,
    add_arm_legend,
    arm_styles,
    axis_label,
    shorten,
)

# With more the figure cannot be read; its caption says how much is only in the tables.
MOST_PANELS = 6

BY_STAGE = "model.cut"

_FLOOR_LINES = {"knn": ":", "linear": (0, (6, 2))}


def draw_by_labels(cells: pd.DataFrame, compared: pd.DataFrame) -> ReportFigure | None:
    """Draws the arms against the label budget, with their paired difference below."""
    return _draw_against(cells, compared, PER_CLASS, "labels", "labels per class", natural_sort_key)


def draw_by_part_of_labels(cells: pd.DataFrame, compared: pd.DataFrame) -> ReportFigure | None:
    """The same against a budget that is a part of all labels."""
    return _draw_against(
        cells, compared, PART, "labels-part", "part of the labels", natural_sort_key
    )


def draw_by_stage(cells: pd.DataFrame, compared: pd.DataFrame) -> ReportFigure | None:
    """Draws the arms against the last stage of the backbone that is kept."""
    return _draw_against(cells, compared, BY_STAGE, "stages", "last stage kept", _stage_sort_key)


def is_shown_against(cells: pd.DataFrame, key: str) -> bool:
    """Whether a figure against this setting shows every cell, so that no other need do so."""
    panels = _find_panels(cells, key)
    return 0 < len(panels) <= MOST_PANELS and all(part[key].nunique() > 1 for _, part in panels)


def _find_panels(cells: pd.DataFrame, key: str) -> list[tuple[Any, pd.DataFrame]]:
    """The cells of each combination of the settings other than ``key``."""
    keys = setting_columns(cells)
    if key not in keys or cells[key].nunique() < 2:
        return []
    others = [other for other in keys if other != key]
    # Not every option of a group has every key, so NaN can be a setting too.
    return list(cells.groupby(others, sort=False, dropna=False)) if others else [((), cells)]


def _draw_against(
    cells: pd.DataFrame,
    compared: pd.DataFrame,
    key: str,
    name: str,
    title: str,
    sort_key: Callable[[str], Any],
) -> ReportFigure | None:
    """Draws the arms and their difference against one setting, whose x axis has the title.

    Each combination of the other settings has a panel of its own.
    """
    panels = _find_panels(cells, key)
    metric = cells["metric"].iloc[0]
    unit = unit_of(metric)
    others = [other for other in setting_columns(cells) if other != key]
    shown = [(panel, part) for panel, part in panels if part[key].nunique() > 1][:MOST_PANELS]
    if not shown:
        return None
    values = sorted(cells[key].unique(), key=sort_key)
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    arms = len(arm_styles(cells))
    width = max(5.6, (3.4 if arms < 4 else 4.6) * columns, 1.2 * arms)
    figure = Figure(figsize=(width, 0.7 + 4.1 * rows), layout="constrained")
    # Two accurate arms overlap in the upper panel; their difference needs its own scale.
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[2, 1] * rows)
    all_shown = pd.concat([part for _, part in shown])
    styles = arm_styles(all_shown)
    columns_of_seeds = {"arm": "arm_value", "reference": "reference_value", "both": "difference"}
    seeds = pd.DataFrame(
        {
            side: pd.Series(seed_values(cells, compared, column, unit.factor), cells.index)
            for side, column in columns_of_seeds.items()
        }
    )
    limits = difference_limits(
        *to_differences(all_shown, unit.factor), np.concatenate(list(seeds["both"]))
    )
    means = ["arm_mean", "reference_mean", *(f"floor_{floor}" for floor in FLOORS)]
    levels = unit.factor * all_shown.reindex(columns=means).to_numpy(float)
    dots = [values for side in ("arm", "reference") for values in seeds[side]]
    shown_levels = np.concatenate([levels.ravel(), *dots])
    lowest, highest = np.nanmin(shown_levels), np.nanmax(shown_levels)
    above, below = grid[::2].flatten(), grid[1::2].flatten()
    for upper, lower, (panel, part) in zip(above, below, shown, strict=False):
        part = part.sort_values(key, key=lambda column: column.map(sort_key))
        part = part.assign(position=[values.index(value) for value in part[key]])
        of_part = seeds.loc[part.index]
        _draw_arms(upper, part, of_part, styles, unit.factor)
        _draw_floors(upper, part, unit.factor)
        if others:
            upper.set_title(shorten(format_settings(dict(zip(others, panel, strict=True))), 44))
        if metric.endswith("_acc"):
            # With few seeds the interval of an arm often extends beyond [0, 1]; the axis does not.
            upper.set_ylim(max(0, lowest - 12), min(102, highest + 12))
        _draw_differences(lower, part, list(of_part["both"]), styles, unit.factor)
        lower.set_ylim(*limits)
        names = [name_budget(key, value) for value in values]
        for axes, ticks in ((upper, [""] * len(names)), (lower, names)):
            axes.set_xticks(range(len(names)), ticks)
            edge = 0.2 + max(_shifts(styles).values())
            axes.set_xlim(-edge, len(names) - 1 + edge)
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
        "Top: mean over seeds, with the 95 % t interval of each arm and a dot for each seed. These "
        "intervals may overlap even if the paired difference is clear, because a seed shifts both "
        f"arms in the same direction. Bottom: the paired difference, {name_difference(cells)}, "
        "with the 95 % interval of that cell alone, a dot for each seed, and the marker of the "
        "verdict, which allows for the number of cells: circle better, square worse, triangle "
        "equivalent, diamond undecided, cross not enough runs. "
        + ABOUT_BAND * bool(cells["margin"].notna().any())
        + (f" {hidden} more settings are in the table." if hidden else ""),
        figure,
    )


def _stage_sort_key(stage: str) -> tuple[bool, int, str]:
    """Sorts stem, stage1, stage2, ..., stage10, and then null (all stages)."""
    digits = stage.lstrip(string.ascii_letters)
    return stage == "null", int(digits) if digits.isdecimal() else 0, stage


def _draw_arms(
    axes: Axes,
    cells: pd.DataFrame,
    seeds: pd.DataFrame,
    styles: dict[str, Style],
    factor: float,
) -> None:
    """Draws the mean of each arm with its interval, and a dot for each seed."""
    sides = []
    for side in ("reference", "arm"):
        columns = {side: "name", f"{side}_mean": "mean", f"{side}_sd": "sd"}
        part = cells.rename(columns=columns)[["name", "position", "mean", "sd", "n"]]
        sides.append(part.assign(seeds=seeds[side]))
    # Several contrasts share their reference.
    both = pd.concat(sides).drop_duplicates(["name", "position"])
    for arm, shift in _shifts(styles).items():
        style, part = styles[arm], both[both["name"] == arm]
        n = part["n"].to_numpy(float)
        half = stats.t.ppf(0.975, np.maximum(n - 1, 1)) * factor * part["sd"] / np.sqrt(n)
        if len(part) == 0:
            continue
        axes.errorbar(
            part["position"] + shift, factor * part["mean"], half.fillna(0),
            label=style.label, capsize=3, color=style.color, linestyle=style.line,
            marker=style.marker,
        )  # fmt: skip
        for position, values in zip(part["position"], part["seeds"], strict=True):
            _draw_dots(axes, position + shift, values, style.color)


def _draw_floors(axes: Axes, cells: pd.DataFrame, factor: float) -> None:
    """Draws what the trivial methods reach with the same labels, where that was measured."""
    for floor, line in _FLOOR_LINES.items():
        column = f"floor_{floor}"
        known = cells.dropna(subset=[column]) if column in cells else cells.head(0)
        by_position = known.groupby("position")[column].mean() if len(known) > 0 else known
        if len(by_position) > 0:
            name = f"{FLOORS[floor][0].lower()}{FLOORS[floor][1:]}"
            axes.plot(
                by_position.index, factor * by_position, linestyle=line, color="#444444",
                linewidth=1.2, marker="_", markersize=9, label=name,
            )  # fmt: skip


def _draw_differences(
    axes: Axes, cells: pd.DataFrame, seeds: list[Array], styles: dict[str, Style], factor: float
) -> None:
    draw_margin(axes.axhspan, cells, factor)
    axes.axhline(0, color="black", linewidth=1)
    means, intervals = to_differences(cells, factor)
    halves = np.nan_to_num(intervals[:, 1] - means)
    shifts = dict.fromkeys(styles, 0.0) if _is_one_contrast(cells) else _shifts(styles)
    for x, arm, mean, half, verdict, values in zip(
        cells["position"], cells["arm"], means, halves, cells["verdict"], seeds, strict=True
    ):
        style = VERDICT_STYLES[verdict]
        # The differences of several arms are told apart by the color and the place of the arm.
        color = style.color if _is_one_contrast(cells) else styles[arm].color
        place = x + shifts[arm]
        axes.errorbar(place, mean, half, capsize=3, markersize=4, color=color, marker=style.marker)
        _draw_dots(axes, place, values, color)


def _draw_dots(axes: Axes, x: float, values: Array, color: str) -> None:
    """Draws single seeds, a little to the right of their mean."""
    places = np.full(len(values), x + 0.04)
    axes.scatter(places, values, s=7, color=color, alpha=0.55, linewidths=0)


def _shifts(styles: dict[str, Style]) -> dict[str, float]:
    """How far right of its position on the x axis each arm is drawn, so that none hides another."""
    middle = (len(styles) - 1) / 2
    step = min(0.12, 0.6 / len(styles))
    return {arm: step * (number - middle) for number, arm in enumerate(styles)}


def _is_one_contrast(cells: pd.DataFrame) -> bool:
    return len(cells[["arm", "reference"]].drop_duplicates()) == 1
