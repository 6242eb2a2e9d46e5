"""The figures of the report, drawn from its tables alone."""

from __future__ import annotations

import re

import pandas as pd

from ssl_rot.report.comparison.cost import Curves
from ssl_rot.report.page.cost_figures import accuracy_cost, pretext_gain
from ssl_rot.report.page.curve_figures import curves
from ssl_rot.report.page.drawing import Drawing
from ssl_rot.report.page.effect_figures import by_labels, by_stage, forest
from ssl_rot.report.page.style import styled

FIGURE_NAMES = re.compile(r"forest|labels|stages|curves-\d+|pretext|cost")


def draw_all(cells: pd.DataFrame, pairs: pd.DataFrame, lines: Curves) -> list[Drawing]:
    """Every figure that the tables have something for.

    Args:
        cells: from :func:`ssl_rot.report.compare`, not empty.
        pairs: from :func:`ssl_rot.report.pair_runs`.
        lines: from :func:`ssl_rot.report.comparison.cost.curves`.
    """
    compared = pairs[pairs["left_out"] == ""]
    with styled():
        drawings = [forest(cells), by_labels(cells), by_stage(cells)]
        drawings += [*curves(cells, compared, lines)]
        drawings += [pretext_gain(cells, compared), accuracy_cost(cells)]
    return [drawing for drawing in drawings if drawing is not None]
