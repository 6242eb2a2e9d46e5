"""The figures of the report, drawn from its tables alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray
from scipy import stats

from ssl_rot.report.cost import Curves
from ssl_rot.report.settings import spoken, unit
from ssl_rot.report.statistics import LABELS, cell_of, label, natural, setting_keys
from ssl_rot.report.style import (
    ARM_LOOKS,
    GROUP_COLOURS,
    GROUP_MARKERS,
    VERDICT_LOOKS,
    Look,
    styled,
)

# More than this and a figure cannot be read; the captions say what was left to the tables.
MOST_CURVES = 6
MOST_PANELS = 6
MOST_ROWS = 40
MOST_NAMED = 8

FIGURE_NAMES = re.compile(r"forest|labels|curves-\d+|pretext|cost")
CURVES = ("test_loss", "test_acc", "train_loss", "train_acc")


@dataclass(frozen=True)
class Drawing:
    """A figure, and what stands beside it on the page."""

    name: str
    title: str
    caption: str
    figure: Figure


def draw_all(cells: pd.DataFrame, pairs: pd.DataFrame, lines: Curves) -> list[Drawing]:
    """Every figure that the tables have something for.

    Args:
        cells: from :func:`ssl_rot.report.compare`, not empty.
        pairs: from :func:`ssl_rot.report.pair_runs`.
        lines: from :func:`ssl_rot.report.cost.curves`.
    """
    compared = pairs[pairs["left_out"] == ""]
    with styled():
        drawings = [forest(cells), by_labels(cells), *curves(cells, compared, lines)]
        drawings += [pretext_gain(cells, compared), accuracy_cost(cells)]
    return [drawing for drawing in drawings if drawing is not None]


def forest(cells: pd.DataFrame) -> Drawing:
    """The mean paired difference of each cell with its 95 % interval."""
    metric = cells["metric"].iloc[0]
    factor, points = unit(metric)
    shown = cells.head(MOST_ROWS)
    figure = Figure(figsize=(7.5, 1.4 + 0.34 * len(shown)), layout="constrained")
    axes = figure.subplots()
    middle = factor * shown["difference"].to_numpy(dtype=float)
    ends = factor * shown[["low", "high"]].to_numpy(dtype=float)
    # The interval of two pairs can be twenty times as wide as all others; it is cut at the edge.
    reach = 1.1 * max(3 * np.abs(middle).max(), 1.5 * np.nanmedian(np.abs([*ends.flat, 0])), 1e-3)
    reach = min(reach, max(1.1 * np.nanmax(np.abs([*ends.flat, *middle])), 1e-3))
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
    axes.set_yticks(range(len(shown)), [_short(name, 70) for name in names])
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
    """The metric of both arms against the label budget."""
    key = LABELS.removeprefix("params.")
    keys = setting_keys(cells)
    if key not in keys or cells[key].nunique() < 2:
        return None
    metric = cells["metric"].iloc[0]
    factor, _ = unit(metric)
    others = [k for k in keys if k != key]
    panels = list(cells.groupby(others, sort=False) if others else [((), cells)])
    shown = [(name, part) for name, part in panels if part[key].nunique() > 1][:MOST_PANELS]
    if not shown:
        return None
    budgets = sorted(cells[key].unique(), key=natural)
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(max(5.6, 3.4 * columns), 0.7 + 3.1 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (name, part) in zip(grid.flat, shown, strict=False):
        at = np.array([budgets.index(value) for value in part[key]])
        for arm, look in ARM_LOOKS.items():
            mean, sd = (factor * part[f"{arm}_{what}"].to_numpy(float) for what in ("mean", "sd"))
            n = part["n"].to_numpy(float)
            # Of so few seeds the interval of an arm often leaves [0, 1], which the axis does not.
            half = stats.t.ppf(0.975, np.maximum(n - 1, 1)) * sd / np.sqrt(n)
            style = {"color": look.colour, "linestyle": look.dash, "marker": look.marker}
            axes.errorbar(
                at + 0.06 * look.side,
                mean,
                np.nan_to_num(half),
                label=look.label,
                capsize=3,
                **style,
            )
        if others:
            settings = dict(zip(others, map(str, name), strict=True))
            axes.set_title(_short(label(settings), 44))
        if metric.endswith("_acc"):
            axes.set_ylim(0, 102)
        axes.set_xticks(range(len(budgets)), ["all" if b == "null" else b for b in budgets])
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel("labels a class", fontsize="medium")
    figure.supylabel(_axis(metric), fontsize="medium")
    _legend(figure, grid.flat[0])
    hidden = len(panels) - len(shown)
    return Drawing(
        "labels",
        f"{spoken(metric).capitalize()} against labels a class",
        "Mean over seeds with its 95 % t interval, each arm by itself. The intervals may overlap "
        "where the pairs differ clearly, since a seed moves both arms alike."
        + (f" {hidden} more settings are in the table." if hidden else ""),
        figure,
    )


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
        axes.set_ylabel(_axis(metric))
        if metric.endswith("_acc"):
            axes.set_ylim(0, 102)
        else:
            axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not drawn:
        return None
    for axes in grid[1]:
        axes.set_xlabel("epoch of the downstream task")
    _legend(figure, grid[0, 0])
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
    _names_below(figure, *axes.get_legend_handles_labels())
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
        (Look(name, colour, "-", marker), _short(name, 70), compared[rows == row])
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
    axes.set_ylabel(_axis(metric))
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    _number_ends(axes, whole.to_numpy(float), rotation.to_numpy(float))
    if len(cells) <= MOST_NAMED:
        names = [f"{number}  {_short(name, 70)}" for number, name in enumerate(cells["cell"], 1)]
        _names_below(figure, [Line2D([], [], linestyle="") for _ in names], names, handlelength=0)
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


def _names_below(figure: Figure, handles: list[Any], names: list[str], **more: Any) -> None:
    """A legend under the plot, in two columns where the names are short."""
    if names:
        columns = 2 if max(map(len, names)) <= 36 else 1
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.2 * len(names) / columns)
        figure.legend(
            handles, names, loc="outside lower center", ncols=columns, fontsize="small", **more
        )


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)


def _axis(metric: str) -> str:
    return f"{spoken(metric)} (%)" if metric.endswith("_acc") else spoken(metric)


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
