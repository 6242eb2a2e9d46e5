"""Whether it is worth it: the gain against the pretext's accuracy, and accuracy against cost."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from ssl_rot.report.comparison.naming import cell_of
from ssl_rot.report.comparison.settings import spoken, unit
from ssl_rot.report.page.drawing import Drawing, axis_name, names_below, short
from ssl_rot.report.page.style import ARM_LOOKS, GROUP_COLOURS, GROUP_MARKERS, Look

MOST_NAMED = 8  # more markers cannot be told apart


def pretext_gain(cells: pd.DataFrame, compared: pd.DataFrame) -> Drawing | None:
    """Whether a better answer to the rotation task goes with a larger gain, pair by pair."""
    known = compared.dropna(subset=["pretext_acc"])
    if known.empty:
        return None
    metric = cells["metric"].iloc[0]
    factor, points = unit(metric)
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="black", linewidth=1)
    for look, name, part in _groups(cells, known):
        axes.plot(
            100 * part["pretext_acc"], factor * part["difference"], look.marker,
            color=look.colour, label=name, markersize=6, alpha=0.85,
        )  # fmt: skip
    axes.set_xlabel("accuracy on the turned test images, last pretext epoch (%)")
    axes.set_ylabel(f"rotation less supervised-only\n({points} of {spoken(metric)})")
    names_below(figure, *axes.get_legend_handles_labels())
    return Drawing(
        "pretext",
        "Pretext accuracy against downstream gain",
        "Each point is a pair. Points above the line: rotation is better.",
        figure,
    )


def _groups(
    cells: pd.DataFrame, compared: pd.DataFrame
) -> list[tuple[Look, str | None, pd.DataFrame]]:
    """The pairs by cell, or all in one where so many markers could not be told apart."""
    if not 1 < len(cells) <= MOST_NAMED:
        return [(ARM_LOOKS["rotation"], None, compared)]
    rows = cell_of(compared, cells)
    looks = zip(GROUP_MARKERS, GROUP_COLOURS, strict=True)
    return [
        (Look(name, colour, "-", marker), short(name, 70), compared[rows == row])
        for row, (name, (marker, colour)) in enumerate(zip(cells["cell"], looks, strict=False))
    ]


def accuracy_cost(cells: pd.DataFrame) -> Drawing | None:
    """The metric against the images processed, the pretext's included."""
    if cells[["supervised_images", "rotation_images", "pretext_images"]].isna().any(axis=None):
        return None
    metric = cells["metric"].iloc[0]
    factor, _ = unit(metric)
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    whole = cells["rotation_images"] + cells["pretext_images"]
    shared = cells["rotation_images"] + cells["pretext_images_shared"]
    supervised, rotation = factor * cells["supervised_mean"], factor * cells["rotation_mean"]
    for row in range(len(cells)):
        xs = [x.iloc[row] for x in (cells["supervised_images"], shared, whole)]
        ys = [y.iloc[row] for y in (supervised, rotation, rotation)]
        axes.plot(xs, ys, color="#bbbbbb", zorder=1)
    arms = ARM_LOOKS["supervised"], ARM_LOOKS["rotation"]
    for x, y, look, name, face in (
        (cells["supervised_images"], supervised, arms[0], "supervised-only", arms[0].colour),
        (whole, rotation, arms[1], "rotation, the whole pretext counted", arms[1].colour),
        (shared, rotation, arms[1], "rotation, its share of the pretext", "white"),
    ):
        axes.plot(
            x, y, look.marker, color=look.colour, markerfacecolor=face, markersize=7, label=name
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("images processed, pretext and downstream together")
    axes.set_ylabel(axis_name(metric))
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    _number_ends(axes, whole.to_numpy(float), rotation.to_numpy(float))
    if len(cells) <= MOST_NAMED:
        names = [f"{number}  {short(name, 70)}" for number, name in enumerate(cells["cell"], 1)]
        names_below(figure, [Line2D([], [], linestyle="") for _ in names], names, handlelength=0)
    return Drawing(
        "cost",
        f"{spoken(metric).capitalize()} against cost",
        "A line joins the arms of a cell, numbered as in the table. Filled: the run alone pays for "
        "the pretext; hollow: its cost is divided by the finished runs that started from it.",
        figure,
    )


def _number_ends(axes: Axes, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> None:
    """Numbers points from 1, to their right; those that would cover each other are moved apart."""
    low, high = axes.get_ylim()
    height, least = -np.inf, 0.05 * (high - low)
    for row in np.argsort(ys):
        height = max(ys[row], height + least)
        axes.annotate(
            str(row + 1), (xs[row], height), (8, 0), textcoords="offset points",
            va="center", fontsize="small", annotation_clip=False,
        )  # fmt: skip
