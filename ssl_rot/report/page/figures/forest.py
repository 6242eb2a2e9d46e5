"""The paired differences of all cells below each other: a forest plot."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ssl_rot.report.comparison.contrasts import name_difference, name_sides, name_verdict
from ssl_rot.report.comparison.metrics import display_name, unit_of
from ssl_rot.report.page.figures.difference_axis import (
    ABOUT_BAND,
    axis_limit,
    draw_margin,
    seed_values,
    to_differences,
)
from ssl_rot.report.page.figures.report_figure import VERDICT_STYLES, ReportFigure, shorten

# With more the figure cannot be read; its caption says how much is only in the tables.
MOST_ROWS = 40


def draw_forest(cells: pd.DataFrame, compared: pd.DataFrame) -> ReportFigure:
    """Draws the mean paired difference of each cell with its interval and its seeds."""
    metric = cells["metric"].iloc[0]
    unit = unit_of(metric)
    shown = cells.head(MOST_ROWS)
    figure = Figure(figsize=(7.5, 1.4 + 0.36 * len(shown)), layout="constrained")
    axes = figure.subplots()
    means, intervals = to_differences(shown, unit.factor)
    of_seeds = seed_values(cells, compared, "difference", unit.factor)
    limit = axis_limit(means, intervals, np.concatenate(of_seeds))
    draw_margin(axes.axvspan, shown, unit.factor)
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
        seeds = of_seeds[row][np.abs(of_seeds[row]) <= limit]
        axes.scatter(seeds, np.full(len(seeds), row + 0.28), s=7, color="#777777", linewidths=0)
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
        "Mean paired difference of each cell, with the 95 % interval of that cell alone and a dot "
        "for each seed. The marker shows the verdict, which allows for the number of cells: an "
        "interval that excludes zero can still be undecided. "
        + ABOUT_BAND * bool(shown["margin"].notna().any())
        + "An arrow means that the interval extends beyond the plot."
        + (f" {hidden} more cells are in the table." if hidden else ""),
        figure,
    )
