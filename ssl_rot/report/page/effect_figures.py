"""What came out: the paired differences of the cells, and both arms against the label budget."""

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

from ssl_rot.report.comparison.naming import LABELS, label, natural, setting_keys
from ssl_rot.report.comparison.settings import spoken, unit
from ssl_rot.report.page.drawing import Drawing, axis_name, legend_above, short
from ssl_rot.report.page.style import ARM_LOOKS, VERDICT_LOOKS

# More than this and a figure cannot be read; the captions say what was left to the tables.
MOST_PANELS = 6
MOST_ROWS = 40

Array = NDArray[np.float64]


def forest(cells: pd.DataFrame) -> Drawing:
    """The mean paired difference of each cell with its 95 % interval."""
    metric = cells["metric"].iloc[0]
    factor, points = unit(metric)
    shown = cells.head(MOST_ROWS)
    figure = Figure(figsize=(7.5, 1.4 + 0.34 * len(shown)), layout="constrained")
    axes = figure.subplots()
    middle = factor * shown["difference"].to_numpy(dtype=float)
    ends = factor * shown[["low", "high"]].to_numpy(dtype=float)
    reach = _reach(middle, ends)
    axes.axvline(0, color="black", linewidth=1)
    for row, (verdict, mean, (low, high)) in enumerate(
        zip(shown["verdict"], middle, ends, strict=True)
    ):
        look = VERDICT_LOOKS[verdict]
        axes.plot([max(low, -reach), min(high, reach)], [row, row], color=look.colour, linewidth=2)
        for end, marker in ((low, "<"), (high, ">")):
            if abs(end) > reach:
                axes.plot(np.sign(end) * reach, row, marker, color=look.colour, markersize=6)
        axes.plot(mean, row, look.marker, color=look.colour, markersize=7)
    for verdict in dict.fromkeys(shown["verdict"]):
        look = VERDICT_LOOKS[verdict]
        axes.plot([], [], look.marker, color=look.colour, label=verdict)
    names = [f"{name}  (n = {n})" for name, n in zip(shown["cell"], shown["n"], strict=True)]
    axes.set_yticks(range(len(shown)), [short(name, 70) for name in names])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(-reach * 1.04, reach * 1.04)
    axes.grid(axis="y", visible=False)
    figure.supxlabel(
        f"rotation less supervised-only, {points} of {spoken(metric)}", fontsize="medium"
    )
    figure.legend(loc="outside upper right", ncols=len(VERDICT_LOOKS))
    hidden = len(cells) - len(shown)
    return Drawing(
        "forest",
        "Paired differences of all cells",
        "Mean difference of the pairs, and its 95 % interval, of one cell by itself; the verdict, "
        "which the marker gives, allows for there being several. An arrow: the interval goes on."
        + (f" {hidden} more cells are in the table." if hidden else ""),
        figure,
    )


def by_labels(cells: pd.DataFrame) -> Drawing | None:
    """Both arms against the label budget, and under them their paired difference."""
    return _against(cells, LABELS.removeprefix("params."), "labels", "labels a class", natural)


def by_stage(cells: pd.DataFrame) -> Drawing | None:
    """Likewise against how much of the network is kept: which stage has the best features."""
    return _against(cells, "model.cut", "stages", "stages kept, up to", _depth)


def _against(
    cells: pd.DataFrame, key: str, name: str, title: str, order: Callable[[str], Any]
) -> Drawing | None:
    keys = setting_keys(cells)
    if key not in keys or cells[key].nunique() < 2:
        return None
    metric = cells["metric"].iloc[0]
    factor, points = unit(metric)
    others = [k for k in keys if k != key]
    # dropna: a panel whose option lacks a key that another's has is a panel too.
    grouped = cells.groupby(others, sort=False, dropna=False) if others else [((), cells)]
    panels = list(grouped)
    shown = [(panel, part) for panel, part in panels if part[key].nunique() > 1][:MOST_PANELS]
    if not shown:
        return None
    values = sorted(cells[key].unique(), key=order)
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(max(5.6, 3.4 * columns), 0.7 + 4.1 * rows), layout="constrained")
    # Two good arms lie on each other; their difference needs a scale of its own.
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[2, 1] * rows)
    every = pd.concat([part for _, part in shown])
    span = _span(factor * every["difference"].to_numpy(float), factor * _ends(every))
    floor = factor * every[["rotation_mean", "supervised_mean"]].to_numpy(float).min()
    above, below = grid[::2].flatten(), grid[1::2].flatten()
    for upper, lower, (panel, part) in zip(above, below, shown, strict=False):
        part = part.sort_values(key, key=lambda column: column.map(order))
        at = np.array([values.index(value) for value in part[key]])
        _arms(upper, at, part, factor)
        if others:
            upper.set_title(short(label(dict(zip(others, panel, strict=True))), 44))
        if metric.endswith("_acc"):
            # Of so few seeds the interval of an arm often leaves [0, 1], which the axis does not.
            upper.set_ylim(max(0, floor - 12), 102)
        _differences(lower, at, part, factor)
        lower.set_ylim(*span)
        names = ["all" if value == "null" else value for value in values]
        for axes, ticks in ((upper, [""] * len(names)), (lower, names)):
            axes.set_xticks(range(len(names)), ticks)
            axes.set_xlim(-0.3, len(names) - 0.7)
    for axes in [*above[len(shown) :], *below[len(shown) :]]:
        axes.set_visible(False)
    for upper, lower in zip(above[::columns], below[::columns], strict=True):
        upper.set_ylabel(axis_name(metric))
        lower.set_ylabel(f"difference\n({points})")
    figure.supxlabel(title, fontsize="medium")
    legend_above(figure, above[0])
    hidden = len(panels) - len(shown)
    return Drawing(
        name,
        f"{spoken(metric).capitalize()} against {title.split(',')[0]}",
        "Above: mean over seeds with its 95 % t interval, each arm by itself. These may overlap "
        "where the pairs differ clearly, since a seed moves both arms alike. Below: rotation less "
        "supervised-only, the paired difference with its interval and the verdict's marker."
        + (f" {hidden} more settings are in the table." if hidden else ""),
        figure,
    )


def _depth(stage: str) -> tuple[bool, int, str]:
    """Sorts stem, stage1, stage2, ..., stage10, and null (all of them) last."""
    digits = stage.lstrip(string.ascii_letters)
    return stage == "null", int(digits) if digits.isdecimal() else 0, stage


def _arms(axes: Axes, at: NDArray[np.int64], cells: pd.DataFrame, factor: float) -> None:
    for arm, look in ARM_LOOKS.items():
        mean, sd = (factor * cells[f"{arm}_{what}"].to_numpy(float) for what in ("mean", "sd"))
        n = cells["n"].to_numpy(float)
        half = stats.t.ppf(0.975, np.maximum(n - 1, 1)) * sd / np.sqrt(n)
        axes.errorbar(
            at + 0.06 * look.side, mean, np.nan_to_num(half), label=look.label, capsize=3,
            color=look.colour, linestyle=look.dash, marker=look.marker,
        )  # fmt: skip


def _differences(axes: Axes, at: NDArray[np.int64], cells: pd.DataFrame, factor: float) -> None:
    axes.axhline(0, color="black", linewidth=1)
    middle, ends = factor * cells["difference"].to_numpy(float), factor * _ends(cells)
    for x, mean, half, verdict in zip(
        at, middle, np.nan_to_num(ends[:, 1] - middle), cells["verdict"], strict=True
    ):
        look = VERDICT_LOOKS[verdict]
        axes.errorbar(x, mean, half, capsize=3, markersize=4, color=look.colour, marker=look.marker)


def _span(middle: Array, ends: Array) -> tuple[float, float]:
    reach = _reach(middle, ends)
    shown = np.clip([0, *middle, *ends[np.isfinite(ends)]], -reach, reach)
    margin = 0.08 * (shown.max() - shown.min()) or reach
    return float(shown.min() - margin), float(shown.max() + margin)


def _ends(cells: pd.DataFrame) -> Array:
    return cells[["low", "high"]].to_numpy(dtype=float)


def _reach(middle: Array, ends: Array) -> float:
    """How far an axis of differences goes to both sides of zero.

    The interval of two pairs can be twenty times as wide as all others; it is cut at the edge.
    """
    reach = 1.1 * max(3 * np.abs(middle).max(), 1.5 * np.nanmedian(np.abs([*ends.flat, 0])), 1e-3)
    return float(min(reach, max(1.1 * np.nanmax(np.abs([*ends.flat, *middle])), 1e-3)))
