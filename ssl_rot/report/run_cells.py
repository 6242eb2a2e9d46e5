"""What the report of an experiment says of the cells that one run is in."""

from __future__ import annotations

from dataclasses import replace

from ssl_rot.errors import UserError
from ssl_rot.report.analysis import Question, answer
from ssl_rot.report.comparison.cell_names import find_cell_rows
from ssl_rot.report.load.runs import load_runs
from ssl_rot.report.page.cell_tables import verdict_table
from ssl_rot.report.page.rendering import Report


def describe_cells(uri: str, experiment: str, run_id: str) -> str | None:
    """The verdicts of a run's cells as a text table, among all runs of its experiment.

    Returns:
        ``None`` if there is no comparison, as with runs of one arm, or the run has no part in it.
    """
    try:
        report = answer(load_runs(experiment, uri=uri), Question(), "", "")
    except UserError:
        return None
    return table_of(report, run_id)


def table_of(report: Report, run_id: str) -> str | None:
    """The rows of the table of verdicts that the pairs of a run belong to."""
    pairs, cells = report.pairs, report.cells
    is_own = (pairs["arm_run_id"] == run_id) | (pairs["reference_run_id"] == run_id)
    own = pairs[is_own & (pairs["left_out"] == "")]
    if own.empty:
        return None
    table = verdict_table(cells)
    rows = sorted(set(find_cell_rows(own, cells)))
    return replace(table, rows=[table.rows[row] for row in rows]).to_text()
