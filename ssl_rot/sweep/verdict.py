"""Ends a sweep over several arms with the report's verdict on its runs."""

from __future__ import annotations

import logging
from importlib import import_module
from types import ModuleType

from ssl_rot.errors import describe_error
from ssl_rot.imports import importing_much
from ssl_rot.sweep.markdown import describe_verdict
from ssl_rot.sweep.plan import Plan, earlier_runs
from ssl_rot.tracking import RunLog

_log = logging.getLogger(__name__)

FOLDER = "report"


def import_report() -> ModuleType:
    """Imports what a verdict needs, and a sweep only at its end: it takes seconds."""
    with importing_much():
        return import_module("ssl_rot.report.sweep_verdict")


def record_verdict(log: RunLog, uri: str, plan: Plan | None) -> None:
    """Prints the verdict, and adds the page, its numbers and a table to the sweep's run.

    A sweep is not failed by it: whatever goes wrong becomes a warning.

    Args:
        log: of the sweep's own run.
        uri: of the store that the runs of its jobs are in.
        plan: knows the jobs whose results are earlier runs', perhaps of other sweeps.
    """
    if plan is not None and not plan.compares_arms:
        return
    try:
        folder = log.record.folder
        verdict = import_report().conclude_sweep(
            uri, str(log.run_id), folder / FOLDER, earlier_runs(plan)
        )
        if verdict is None:
            return
        print(f"\n{verdict.text}\n\n{folder / FOLDER / 'report.html'}")
        for file in verdict.files:
            log.artifacts([file], str(file.parent.relative_to(folder)))
        log.table(verdict.table, "verdict")
        log.describe(describe_verdict(verdict.text, verdict.files, FOLDER))
        if verdict.metrics:
            log.epoch(1 + max(log.history.rows, default=0), verdict.metrics)  # of this attempt
    except Exception as error:
        _log.warning(
            "The sweep has finished, but its report could not be made (%s). "
            "Once the cause is known, run: python -m ssl_rot.report",
            describe_error(error),
        )
