"""The answer of the report in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.contrasts import name_verdict
from ssl_rot.report.comparison.inference import VERDICTS
from ssl_rot.report.comparison.metrics import PERCENT, display_name, unit_of

_WORDS = {
    "undecided": "Undecided",
    "not enough runs": "Not enough runs for a verdict",
}


def write_headline(cells: pd.DataFrame) -> str:
    """The verdict of a single cell, or how often each verdict was reached."""
    if cells.empty:
        return "Nothing could be compared."
    rows = cells.to_dict("records")
    verdicts = [name_verdict(row["verdict"], row["arm"], row["reference"]) for row in rows]
    if len(cells) == 1:
        cell = rows[0]
        better = verdicts[0].removesuffix(" better")
        sentence = _WORDS.get(cell["verdict"], f"{better[0].upper()}{better[1:]} is better")
        return (
            f"{sentence}: {format_difference(cell)} of "
            f"{display_name(cell['metric'])} over {cell['n']} seed{'s' * (cell['n'] != 1)}."
        )
    counts = Counter(verdicts)
    order = sorted(counts, key=lambda name: VERDICTS.index(rows[verdicts.index(name)]["verdict"]))
    return f"Of {len(cells)} cells: {', '.join(f'{name} in {counts[name]}' for name in order)}."


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
