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
from ssl_rot.report.comparison.contrasts import SUPERVISED, name_difference, name_sides
from ssl_rot.report.comparison.metrics import display_name, is_higher_better, unit_of
from ssl_rot.report.page.figures.report_figure import (
    GROUP_COLORS,
    GROUP_MARKERS,
    ReportFigure,
    Style,
    add_legend_below,
    arm_styles,
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
    axes.set_xlabel("accuracy on the pretext task's test images, last pretext epoch (%)")
    axes.set_ylabel(f"{name_difference(cells)}\n({unit.of_difference} of {display_name(metric)})")
    add_legend_below(figure, *axes.get_legend_handles_labels())
    better = "above" if is_higher_better(metric) else "below"
    return ReportFigure(
        "pretext",
        "Pretext accuracy against downstream gain",
        f"Each point is a pair. In points {better} the line, {name_sides(cells)[0]} is better.",
        figure,
    )


def _group_by_cell(
    cells: pd.DataFrame, compared: pd.DataFrame
) -> list[tuple[Style, str | None, pd.DataFrame]]:
    """The pairs of each cell, or all in one group if there are too many cells for the markers."""
    if not 1 < len(cells) <= MOST_NAMED:
        styles = arm_styles(cells)
        parts = [(styles[arm], compared[compared["arm"] == arm]) for arm in cells["arm"].unique()]
        return [(style, style.label if len(parts) > 1 else None, part) for style, part in parts]
    rows = find_cell_rows(compared, cells)
    markers = zip(GROUP_MARKERS, GROUP_COLORS, strict=True)
    return [
        (Style(name, color, "-", marker), shorten(name, 70), compared[rows == row])
        for row, (name, (marker, color)) in enumerate(zip(cells["cell"], markers, strict=False))
    ]


def draw_accuracy_against_cost(cells: pd.DataFrame) -> ReportFigure | None:
    """Draws the metric against the number of images processed, pretext included."""
    pretexts = (("arm", "pretext_images"), ("reference", "reference_pretext_images"))
    needed = [cells["reference_images"], cells["arm_images"]]
    needed += [cells.loc[cells[side] != SUPERVISED, column] for side, column in pretexts]
    if any(column.isna().any() for column in needed):
        return None
    metric = cells["metric"].iloc[0]
    factor = unit_of(metric).factor
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    theirs = cells["reference_images"] + cells["reference_pretext_images"].fillna(0)
    total = cells["arm_images"] + cells["pretext_images"].fillna(0)
    shared = cells["arm_images"] + cells["pretext_images_shared"].fillna(0)
    reference, own = factor * cells["reference_mean"], factor * cells["arm_mean"]
    axes.plot(
        np.stack([theirs, shared, total]), np.stack([reference, own, own]),
        color="#bbbbbb", zorder=1,
    )  # fmt: skip
    styles = arm_styles(cells)
    for arm, style in styles.items():
        at, of = cells["reference"] == arm, cells["arm"] == arm
        if at.any():
            _plot_points(axes, theirs[at], reference[at], style, style.label)
        if of.any():
            _plot_points(axes, total[of], own[of], style, f"{style.label}, with its whole pretext")
            share = f"{style.label}, with its share of the pretext"
            _plot_points(axes, shared[of], own[of], style, share, hollow=True)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("images processed, pretext and downstream together")
    axes.set_ylabel(axis_label(metric))
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    _number_points(axes, total.to_numpy(float), own.to_numpy(float))
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


def _plot_points(
    axes: Axes,
    xs: pd.Series[float],
    ys: pd.Series[float],
    style: Style,
    label: str,
    hollow: bool = False,
) -> None:
    face = "white" if hollow else style.color
    axes.plot(
        xs, ys, style.marker, color=style.color, markerfacecolor=face, markersize=7, label=label
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
