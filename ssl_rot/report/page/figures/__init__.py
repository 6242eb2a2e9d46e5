"""The figures of the report, drawn from its tables alone."""

from __future__ import annotations

import re

import pandas as pd

from ssl_rot.report.comparison.curves import Curves
from ssl_rot.report.comparison.label_budgets import PART, PER_CLASS
from ssl_rot.report.page.figures.costs import draw_accuracy_against_cost, draw_pretext_gain
from ssl_rot.report.page.figures.differences import (
    BY_STAGE,
    draw_by_labels,
    draw_by_part_of_labels,
    draw_by_stage,
    is_shown_against,
)
from ssl_rot.report.page.figures.forest import draw_forest
from ssl_rot.report.page.figures.learning_curves import draw_learning_curves
from ssl_rot.report.page.figures.report_figure import ReportFigure, report_style
from ssl_rot.report.page.figures.trials import draw_trials

FIGURE_NAMES = re.compile(r"forest|labels(-part)?|stages|curves-\d+|pretext|cost|trials")


def draw_figures(
    cells: pd.DataFrame, pairs: pd.DataFrame, curves: Curves, trials: pd.DataFrame | None = None
) -> list[ReportFigure]:
    """Draws every figure for which the tables have data; ``cells`` must not be empty."""
    cells = cells[cells["n"] > 0]  # those without a finished pair come last
    if cells.empty:
        return []
    compared = pairs[pairs["left_out"] == ""]
    is_shown = any(is_shown_against(cells, key) for key in (PER_CLASS, PART, BY_STAGE))
    with report_style():
        figures = [
            draw_by_labels(cells, compared),
            draw_by_part_of_labels(cells, compared),
            draw_by_stage(cells, compared),
            # The same differences again, if one of these already shows every cell.
            None if is_shown else draw_forest(cells, compared),
            *draw_learning_curves(cells, compared, curves),
            draw_pretext_gain(cells, compared),
            draw_accuracy_against_cost(cells),
            draw_trials(trials) if trials is not None else None,
        ]
    return [figure for figure in figures if figure is not None]
