"""A figure of the report, and the parts that several figures share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_rot.report.comparison.metrics import display_name, unit_of


@dataclass(frozen=True)
class ReportFigure:
    """A figure with its file name, title and caption."""

    name: str
    title: str
    caption: str
    figure: Figure


def add_legend_below(figure: Figure, handles: list[Any], names: list[str], **options: Any) -> None:
    """Adds a legend below the plot, in two columns if all names are short."""
    if names:
        columns = 2 if max(map(len, names)) <= 36 else 1
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.2 * len(names) / columns)
        figure.legend(
            handles, names, loc="outside lower center", ncols=columns, fontsize="small", **options
        )


def add_arm_legend(figure: Figure, axes: Axes) -> None:
    """Adds the legend of the arms, which is the same for every panel, above the plot."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)


def axis_label(metric: str) -> str:
    """The name of a metric with its unit."""
    return f"{display_name(metric)}{unit_of(metric).suffix}"


def shorten(name: str, most: int) -> str:
    """The name, cut to at most that many characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
