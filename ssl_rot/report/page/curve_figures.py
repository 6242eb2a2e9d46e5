"""Loss and accuracy by epoch, both arms in a figure: the article's four plots."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from ssl_rot.report.comparison.cost import Curves
from ssl_rot.report.comparison.naming import cell_of
from ssl_rot.report.comparison.settings import unit
from ssl_rot.report.page.drawing import Drawing, axis_name, legend_above
from ssl_rot.report.page.style import ARM_LOOKS, Look

MOST_CURVES = 6  # more make a page that nobody scrolls through

CURVES = ("test_loss", "test_acc", "train_loss", "train_acc")


def curves(cells: pd.DataFrame, compared: pd.DataFrame, lines: Curves) -> list[Drawing]:
    """Loss and accuracy by epoch, on test and train, for the first cells."""
    drawings = []
    rows = cell_of(compared, cells)
    for row, name in enumerate(cells["cell"].head(MOST_CURVES)):
        drawing = _curves_of(name, row + 1, compared[rows == row], lines)
        drawings += [drawing] if drawing is not None else []
    return drawings


def _curves_of(name: str, number: int, pairs: pd.DataFrame, lines: Curves) -> Drawing | None:
    figure = Figure(figsize=(6.6, 5), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True)
    drawn = False
    for axes, metric in zip(grid.flat, CURVES, strict=True):
        factor, _ = unit(metric)
        for arm, look in ARM_LOOKS.items():
            table = _by_seed(pairs, arm, metric, lines)
            if table.empty:
                continue
            drawn = True
            _band(axes, factor * table, look)
        axes.set_ylabel(axis_name(metric))
        if metric.endswith("_acc"):
            axes.set_ylim(0, 102)
        else:
            axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not drawn:
        return None
    for axes in grid[1]:
        axes.set_xlabel("epoch of the downstream task")
    legend_above(figure, grid[0, 0])
    seeds = pairs["seed"].nunique()
    band = "with the 95 % t band of each arm" if seeds > 1 else "one seed, so without a band"
    return Drawing(
        f"curves-{number}",
        f"Curves: {name}",
        f"Mean over {seeds} seed{'s' * (seeds > 1)}, {band}; a loss band wider than twice the "
        "largest loss is cut.",
        figure,
    )


def _by_seed(pairs: pd.DataFrame, arm: str, metric: str, lines: Curves) -> pd.DataFrame:
    """Epoch by seed; runs that share a seed are averaged."""
    columns = {}
    for seed, part in pairs.groupby("seed", sort=False):
        runs = [
            lines[i][metric] for i in part[f"{arm}_run_id"].unique() if metric in lines.get(i, {})
        ]
        if runs:
            columns[seed] = pd.concat(
                [pd.Series(line.values, index=line.epochs) for line in runs], axis=1
            ).mean(axis=1)
    return pd.DataFrame(columns)


def _band(axes: Axes, table: pd.DataFrame, look: Look) -> None:
    count = table.notna().sum(axis=1)
    mean = table.mean(axis=1)
    half = stats.t.ppf(0.975, (count - 1).clip(lower=1)) * table.std(axis=1) / np.sqrt(count)
    every = max(1, len(table) // 8)
    axes.plot(
        table.index, mean, look.dash, color=look.colour, label=look.label,
        marker=look.marker, markevery=every, markersize=5,
    )  # fmt: skip
    top = 2 * np.nanmax(table.to_numpy())
    axes.fill_between(
        table.index, mean - half, np.minimum(mean + half, top), color=look.colour, alpha=0.18,
        linewidth=0,
    )  # fmt: skip
