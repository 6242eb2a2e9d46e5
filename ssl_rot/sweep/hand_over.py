"""A sweep that was left to SLURM: closed by a job that waits for all others."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from ssl_rot.errors import ConfigError, SweepFailed
from ssl_rot.sweep.best_model import log_best_model
from ssl_rot.sweep.job_table import record_job_table
from ssl_rot.sweep.plan import Plan
from ssl_rot.sweep.verdict import record_verdict
from ssl_rot.tracking import Tag, Tracker
from ssl_rot.tracking.slurm import is_queued


def close_handed_over(
    experiment: str, uri: str, plan: Plan | None, folder: Path, *, with_best_model: bool
) -> None:
    """Closes a sweep that was handed over; ends the program with 1 if a job failed."""
    tracker = Tracker(experiment, uri)
    with suppress(SweepFailed), tracker.take_over(folder) as log:
        tracker.close_dead()
        failure = record_job_table(tracker, log, plan)
        record_verdict(log, uri, plan)
        if with_best_model:
            log_best_model(tracker, str(log.run_id), plan)
        if failure is None:
            return
        raise failure
    sys.exit(1)


def check_not_queued(tracker: Tracker, key: str) -> None:
    """Refuses to resume a sweep whose jobs SLURM still has."""
    for run in tracker.runs.unfinished("sweep", Tag.CONFIG_KEY, key):
        closer = run.tags.get(Tag.CLOSER)
        if run.status == "RUNNING" and closer is not None and is_queued(closer):
            raise ConfigError(
                [
                    f"resume=true: this sweep is still running; SLURM job {closer} will close it. "
                    f"To see it: python -m ssl_rot.sweep status {run.run_id}. To end it: scancel "
                    "its jobs"
                ]
            )
