"""The validation accuracy to expect from a number of trials."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssl_rot.report.comparison.selection_curve import expected_best
from ssl_rot.report.page.figures.report_figure import (
    ReportFigure,
    add_arm_legend,
    arm_styles,
    shorten,
)

MOST_PANELS = 6


def draw_trials(trials: pd.DataFrame) -> ReportFigure | None:
    """Draws, for each arm and cell, the expected best validation accuracy of k trials."""
    names = list(dict.fromkeys(trials.loc[trials.duplicated(["arm", "cell"]), "cell"]))
    if not names:
        return None
    shown = names[:MOST_PANELS]
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(max(5.6, 3.4 * columns), 0.7 + 2.8 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    styles = arm_styles(trials.assign(reference="supervised"))
    for axes, name in zip(grid.flat, shown, strict=False):
        for arm, part in trials[trials["cell"] == name].groupby("arm", sort=False):
            style = styles[str(arm)]
            best = 100 * expected_best(part["val_mean"].to_numpy(float))
            axes.plot(
                np.arange(1, len(best) + 1), best, style.line, color=style.color,
                marker=style.marker, markersize=4, label=style.label,
            )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(names) > 1:
            axes.set_title(shorten(name, 44))
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel("settings tried", fontsize="medium")
    figure.supylabel("expected best validation accuracy (%)", fontsize="medium")
    add_arm_legend(figure, grid.flat)
    return ReportFigure(
        "trials",
        "What tuning is worth to each arm",
        "The validation accuracy of the best of k settings, on average over all choices of k of "
        "those that were tried (Dodge et al., 2019, in the unbiased form). The lead of an arm "
        "that is ahead at every k is not due to more trials.",
        figure,
    )
