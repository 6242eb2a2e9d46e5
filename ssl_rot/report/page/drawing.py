"""What the figures have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_rot.report.comparison.settings import spoken


@dataclass(frozen=True)
class Drawing:
    """A figure, and what stands beside it on the page."""

    name: str
    title: str
    caption: str
    figure: Figure


def names_below(figure: Figure, handles: list[Any], names: list[str], **more: Any) -> None:
    """A legend under the plot, in two columns where the names are short."""
    if names:
        columns = 2 if max(map(len, names)) <= 36 else 1
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.2 * len(names) / columns)
        figure.legend(
            handles, names, loc="outside lower center", ncols=columns, fontsize="small", **more
        )


def legend_above(figure: Figure, axes: Axes) -> None:
    """The arms, which every panel of a figure shows alike."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)


def axis_name(metric: str) -> str:
    """A metric with its unit."""
    return f"{spoken(metric)} (%)" if metric.endswith("_acc") else spoken(metric)


def short(name: str, most: int) -> str:
    """A name of at most so many letters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
