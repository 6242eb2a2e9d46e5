"""What a metric is called, which direction is better, and the unit in which it is shown."""

from __future__ import annotations

from math import isfinite, nan
from typing import NamedTuple


class Unit(NamedTuple):
    """How values of a metric are shown."""

    factor: float  # by which the logged value is multiplied
    of_difference: str  # the unit of a difference between two values
    suffix: str  # of the metric's name in a heading or on an axis
    digits: int  # decimal places in a table


PERCENT = Unit(100.0, "percentage points", " (%)", 2)
PLAIN = Unit(1.0, "units", "", 4)
WHOLE = Unit(1, "units", "", 0)  # epochs and other counts


def unit_of(metric: str) -> Unit:
    """Percent for an accuracy; a loss is shown as it was logged."""
    return PERCENT if metric.endswith("_acc") else PLAIN


def is_higher_better(metric: str) -> bool:
    """True for an accuracy, false for a loss."""
    return not metric.endswith("_loss")


def display_name(metric: str) -> str:
    """``test accuracy`` for ``test_acc``."""
    return metric.replace("_acc", " accuracy").replace("_", " ")


def format_difference(metric: str, difference: float, low: float = nan, high: float = nan) -> str:
    """``+3.1 points [+1.2, +5.0]``; without an interval if its ends are not known."""
    unit = unit_of(metric)
    digits = unit.digits - 1
    text = f"{unit.factor * difference:+.{digits}f}"
    if unit is PERCENT:
        text += " points"
    if isfinite(low):
        text += f" [{unit.factor * low:+.{digits}f}, {unit.factor * high:+.{digits}f}]"
    return text
