"""What the gain costs: gain against pretext accuracy, and accuracy against images processed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from ssl_rot.report.comparison.cell_names import find_cell_rows
from ssl_rot.report.comparison.metrics import display_name, is_higher_better, unit_of
from ssl_rot.report.page.figures.report_figure import (
    ARM_STYLES,
    GROUP_COLORS,
    GROUP_MARKERS,
    ReportFigure,
    Style,
    add_legend_below,
    axis_label,
    shorten,
)

MOST_NAMED = 8  # cells; more markers could not be told apart


def draw_pretext_gain(cells: pd.DataFrame, compared: pd.DataFrame) -> ReportFigure | None:
    """Draws whether a higher accuracy on the rotation task goes with a larger gain downstream."""
    known = compared.dropna(subset=["pretext_acc"])
    if known.empty:
        return None
    metric = cells["metric"].iloc[0]
    unit = unit_of(metric)
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="black", linewidth=1)
    for style, name, part in _group_by_cell(cells, known):
        axes.plot(
            100 * part["pretext_acc"], unit.factor * part["difference"], style.marker,
            color=style.color, label=name, markersize=6, alpha=0.85,
        )  # fmt: skip
    axes.set_xlabel("accuracy on the rotated test images, last pretext epoch (%)")
    title = f"rotation minus supervised-only\n({unit.of_difference} of {display_name(metric)})"
    axes.set_ylabel(title)
    add_legend_below(figure, *axes.get_legend_handles_labels())
    better = "above" if is_higher_better(metric) else "below"
    return ReportFigure(
        "pretext",
        "Pretext accuracy against downstream gain",
        f"Each point is a pair. In points {better} the line, rotation is better.",
        figure,
    )


def _group_by_cell(
    cells: pd.DataFrame, compared: pd.DataFrame
) -> list[tuple[Style, str | None, pd.DataFrame]]:
    """The pairs of each cell, or all in one group if there are too many cells for the markers."""
    if not 1 < len(cells) <= MOST_NAMED:
        return [(ARM_STYLES["rotation"], None, compared)]
    rows = find_cell_rows(compared, cells)
    styles = zip(GROUP_MARKERS, GROUP_COLORS, strict=True)
    return [
        (Style(name, color, "-", marker), shorten(name, 70), compared[rows == row])
        for row, (name, (marker, color)) in enumerate(zip(cells["cell"], styles, strict=False))
    ]


def draw_accuracy_against_cost(cells: pd.DataFrame) -> ReportFigure | None:
    """Draws the metric against the number of images processed, pretext included."""
    if cells[["supervised_images", "rotation_images", "pretext_images"]].isna().any(axis=None):
        return None
    metric = cells["metric"].iloc[0]
    factor = unit_of(metric).factor
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    downstream = cells["supervised_images"]
    total = cells["rotation_images"] + cells["pretext_images"]
    shared = cells["rotation_images"] + cells["pretext_images_shared"]
    supervised, rotation = factor * cells["supervised_mean"], factor * cells["rotation_mean"]
    xs, ys = np.stack([downstream, shared, total]), np.stack([supervised, rotation, rotation])
    axes.plot(xs, ys, color="#bbbbbb", zorder=1)
    blue, orange = ARM_STYLES["supervised"], ARM_STYLES["rotation"]
    for x, y, style, name, face in (
        (downstream, supervised, blue, "supervised-only", blue.color),
        (total, rotation, orange, "rotation, with its whole pretext", orange.color),
        (shared, rotation, orange, "rotation, with its share of the pretext", "white"),
    ):
        axes.plot(
            x, y, style.marker, color=style.color, markerfacecolor=face, markersize=7, label=name
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("images processed, pretext and downstream together")
    axes.set_ylabel(axis_label(metric))
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    _number_points(axes, total.to_numpy(float), rotation.to_numpy(float))
    if len(cells) <= MOST_NAMED:
        names = [f"{number}  {shorten(name, 70)}" for number, name in enumerate(cells["cell"], 1)]
        invisible = [Line2D([], [], linestyle="") for _ in names]
        add_legend_below(figure, invisible, names, handlelength=0)
    return ReportFigure(
        "cost",
        f"{display_name(metric).capitalize()} against cost",
        "A line connects the arms of a cell, which has the same number as in the table. Filled: "
        "with the whole cost of the pretext. Hollow: with that cost divided by the number of "
        "finished runs that started from it.",
        figure,
    )


def _number_points(axes: Axes, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> None:
    """Numbers the points from 1, on their right; overlapping numbers are moved apart."""
    bottom, top = axes.get_ylim()
    height, distance = -np.inf, 0.05 * (top - bottom)
    for row in np.argsort(ys):
        height = max(ys[row], height + distance)
        axes.annotate(
            str(row + 1), (xs[row], height), (8, 0), textcoords="offset points",
            va="center", fontsize="small", annotation_clip=False,
        )  # fmt: skip
