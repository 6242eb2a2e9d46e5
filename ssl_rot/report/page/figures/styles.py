"""How the figures look: on screen, in black-and-white print, and to color-blind readers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Style:
    """The style of an arm or a verdict; line and marker distinguish them without color."""

    label: str
    color: str
    line: str
    marker: str


# The palette of Okabe and Ito, which color-blind readers can distinguish.
ARM_STYLES = {
    "supervised": Style("supervised-only", "#0072B2", "--", "s"),
    "rotation": Style("rotation", "#D55E00", "-", "o"),
}
VERDICT_STYLES = {
    "rotation better": Style("rotation better", "#D55E00", "-", "o"),
    "supervised-only better": Style("supervised-only better", "#0072B2", "-", "s"),
    "no clear difference": Style("no clear difference", "#555555", "-", "D"),
    "not enough runs": Style("not enough runs", "#999999", "-", "x"),
}
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


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Saves a figure as PNG and as SVG, and returns the paths in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    with report_style():
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=150, metadata=metadata)
    return paths
