"""Loss and accuracy by epoch, with both arms in each panel."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from ssl_rot.report.comparison.cell_names import find_cell_rows
from ssl_rot.report.comparison.curves import Curves
from ssl_rot.report.comparison.metrics import unit_of
from ssl_rot.report.page.figures.report_figure import (
    ReportFigure,
    Style,
    add_arm_legend,
    arm_styles,
    axis_label,
)

MOST_CURVES = 6  # cells that get a figure; more would make the page too long to read

METRICS = ("test_loss", "test_acc", "train_loss", "train_acc")


def draw_learning_curves(
    cells: pd.DataFrame, compared: pd.DataFrame, curves: Curves
) -> list[ReportFigure]:
    """Draws loss and accuracy on the test and training images for the first cells."""
    rows, styles = find_cell_rows(compared, cells), arm_styles(cells)
    figures = [
        _draw_cell(name, row + 1, compared[rows == row], styles, curves)
        for row, name in enumerate(cells["cell"].head(MOST_CURVES))
    ]
    return [figure for figure in figures if figure is not None]


def _draw_cell(
    name: str, number: int, pairs: pd.DataFrame, styles: dict[str, Style], curves: Curves
) -> ReportFigure | None:
    figure = Figure(figsize=(6.6, 5), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True)
    for axes, metric in zip(grid.flat, METRICS, strict=True):
        for side in ("reference", "arm"):
            table = _curves_by_seed(pairs, side, metric, curves)
            if not table.empty:
                style = styles[pairs[side].iloc[0]]
                _draw_mean_and_band(axes, unit_of(metric).factor * table, style)
        axes.set_ylabel(axis_label(metric))
        axes.set_ylim(0, 102 if metric.endswith("_acc") else None)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not any(axes.lines for axes in grid.flat):
        return None
    for axes in grid[1]:
        axes.set_xlabel("epoch of the downstream task")
    add_arm_legend(figure, grid.flat)
    seeds = pairs["seed"].nunique()
    caption = "A single seed, so there is no interval."
    if seeds > 1:
        caption = (
            f"Mean over {seeds} seeds, with a 95 % t interval for each arm. The interval of a loss "
            "is cut off at twice the largest loss."
        )
    return ReportFigure(f"curves-{number}", f"Curves: {name}", caption, figure)


def _curves_by_seed(pairs: pd.DataFrame, side: str, metric: str, curves: Curves) -> pd.DataFrame:
    """A row per epoch and a column per seed; runs with the same seed are averaged."""
    columns = {}
    for seed, part in pairs.groupby("seed", sort=False):
        run_ids = part[f"{side}_run_id"].unique()
        found = [curves[i][metric] for i in run_ids if metric in curves.get(i, {})]
        if found:
            columns[seed] = pd.concat(
                [pd.Series(curve.values, index=curve.epochs) for curve in found], axis=1
            ).mean(axis=1)
    return pd.DataFrame(columns)


def _draw_mean_and_band(axes: Axes, table: pd.DataFrame, style: Style) -> None:
    count = table.notna().sum(axis=1)
    mean = table.mean(axis=1)
    half = stats.t.ppf(0.975, (count - 1).clip(lower=1)) * table.std(axis=1) / np.sqrt(count)
    axes.plot(
        table.index, mean, style.line, color=style.color, label=style.label,
        marker=style.marker, markevery=max(1, len(table) // 8), markersize=5,
    )  # fmt: skip
    top = 2 * np.nanmax(table.to_numpy())
    axes.fill_between(
        table.index, mean - half, np.minimum(mean + half, top), color=style.color, alpha=0.18,
        linewidth=0,
    )  # fmt: skip
