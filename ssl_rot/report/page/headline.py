"""The answer of the report in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.inference import VERDICTS
from ssl_rot.report.comparison.metrics import PERCENT, display_name, unit_of

_SENTENCES = {
    "rotation better": "Rotation is better",
    "supervised-only better": "Supervised-only is better",
    "no clear difference": "No clear difference",
    "not enough runs": "Not enough runs for a verdict",
}


def write_headline(cells: pd.DataFrame) -> str:
    """The verdict of a single cell, or how often each verdict was reached."""
    if cells.empty:
        return "Nothing could be compared."
    if len(cells) == 1:
        cell = cells.iloc[0].to_dict()
        return (
            f"{_SENTENCES[cell['verdict']]}: {format_difference(cell)} of "
            f"{display_name(cell['metric'])} over {cell['n']} seed{'s' * (cell['n'] != 1)}."
        )
    counts = cells["verdict"].value_counts()
    parts = [f"{verdict} in {counts[verdict]}" for verdict in VERDICTS if verdict in counts]
    return f"Of {len(cells)} cells: {', '.join(parts)}."


def format_difference(cell: Mapping[Any, Any]) -> str:
    """``+3.1 points [+1.2, +5.0]``."""
    unit = unit_of(cell["metric"])
    digits = unit.digits - 1
    text = f"{unit.factor * cell['difference']:+.{digits}f}"
    if unit is PERCENT:
        text += " points"
    if np.isfinite(cell["low"]):
        low, high = (f"{unit.factor * cell[end]:+.{digits}f}" for end in ("low", "high"))
        text += f" [{low}, {high}]"
    return text
