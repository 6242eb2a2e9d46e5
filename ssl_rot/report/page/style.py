"""How the figures look: on a screen, in print without colours, and to the colour-blind."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Look:
    """Of an arm or a verdict; dash and marker tell them apart where the colour does not."""

    label: str
    colour: str
    dash: str
    marker: str
    side: int = 0


# Okabe and Ito's palette, which colour-blind readers can tell apart.
ARM_LOOKS = {
    "supervised": Look("supervised-only", "#0072B2", "--", "s", -1),
    "rotation": Look("rotation", "#D55E00", "-", "o", 1),
}
VERDICT_LOOKS = {
    "rotation better": Look("rotation better", "#D55E00", "-", "o"),
    "supervised-only better": Look("supervised-only better", "#0072B2", "-", "s"),
    "no clear difference": Look("no clear difference", "#555555", "-", "D"),
    "not enough runs": Look("not enough runs", "#999999", "-", "x"),
}
GROUP_MARKERS = "osD^vP*X"
GROUP_COLOURS = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73"),
    *("#0072B2", "#D55E00", "#CC79A7", "#888888"),
)

_SETTINGS: dict[Any, Any] = {
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
    "svg.hashsalt": "ssl_rot",  # the same report twice is the same file twice
    # A name that a user gave, as "$x_1$", is text and not a formula.
    "text.parse_math": False,
}


def styled() -> AbstractContextManager[None]:
    """The context in which figures are drawn; leaves matplotlib's settings as they were."""
    return mpl.rc_context(_SETTINGS)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """As PNG and as SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, dpi=150, metadata=metadata)
    return paths
