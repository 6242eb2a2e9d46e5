"""A figure of the report, and the style and the parts that all figures share.

They can be read on screen, in black-and-white print, and by color-blind readers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_rot.report.comparison.contrasts import SUPERVISED, name_arm
from ssl_rot.report.comparison.metrics import display_name, unit_of


@dataclass(frozen=True)
class Style:
    """The style of an arm or a verdict; line and marker distinguish them without color."""

    label: str
    color: str
    line: str
    marker: str


# The palette of Okabe and Ito, which color-blind readers can distinguish.
_SUPERVISED = ("#0072B2", "--", "s")
_ROTATION = ("#D55E00", "-", "o")
_OTHERS = (
    *(("#009E73", "-.", "^"), ("#CC79A7", ":", "D"), ("#E69F00", "-", "v"), ("#56B4E9", "--", "P")),
    ("#555555", "-.", "X"),
)
VERDICT_STYLES = {
    "better": Style("better", "#D55E00", "-", "o"),
    "worse": Style("worse", "#0072B2", "-", "s"),
    "equivalent": Style("equivalent", "#009E73", "-", "^"),
    "undecided": Style("undecided", "#555555", "-", "D"),
    "not enough runs": Style("not enough runs", "#999999", "-", "x"),
}


def arm_styles(cells: pd.DataFrame) -> dict[str, Style]:
    """The style of each arm of the cells, references first. The two usual arms keep theirs."""
    arms = list(dict.fromkeys([*cells["reference"], *cells["arm"]]))
    usual = {SUPERVISED: _SUPERVISED, "rotation": _ROTATION}
    others = itertools.cycle(_OTHERS)
    return {arm: Style(name_arm(arm), *(usual.get(arm) or next(others))) for arm in arms}


GROUP_MARKERS = "osD^vP*X"
GROUP_COLORS = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73"),
    *("#0072B2", "#D55E00", "#CC79A7", "#888888"),
)

_RC_PARAMS: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "axes.titlesize": "medium",
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "svg.hashsalt": "ssl_rot",  # the same report again gives the same files
    # Names that users choose, such as "$x_1$", are text and not formulas.
    "text.parse_math": False,
}


def report_style() -> AbstractContextManager[None]:
    """A context in which figures have this style; matplotlib's settings are restored after it."""
    return mpl.rc_context(_RC_PARAMS)


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


def add_arm_legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """Adds the legend of the arms above the plot; not every panel needs to have all of them."""
    handles: dict[str, Any] = {}
    for panel in axes:
        handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    columns = min(3, len(handles))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=columns)


def axis_label(metric: str) -> str:
    """The name of a metric with its unit."""
    return f"{display_name(metric)}{unit_of(metric).suffix}"


def shorten(name: str, most: int) -> str:
    """The name, cut to at most that many characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
