"""Jobs that outlive their sweep: after a SIGKILL of the sweep alone, those in training go on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ssl_rot.sweep.plan import PlannedJob
from ssl_rot.sweep.worker_locks import has_workers, wait_for_workers
from ssl_rot.tracking import Tag, Tracker
from ssl_rot.tracking.whereabouts import folder_of, is_here, is_running, locate

log = logging.getLogger(__name__)


def wait_for_orphans(tracker: Tracker, jobs: Sequence[PlannedJob]) -> bool:
    """Waits for those jobs that a killed sweep has left running, so that none is trained twice.

    Returns whether there were any. Their locks cover the whole job, which has no run in MLflow
    between its pre-training and the rest.
    """
    keys = {job.keys.config for job in jobs} | {job.keys.pretext for job in jobs} - {None}
    has_waited = False
    for stored in tracker.runs.unfinished("sweep"):
        sweep = locate(stored, tracker.store.uri)
        if not is_here(sweep) or is_running(sweep) or not has_workers(folder_of(sweep)):
            continue
        children = tracker.runs.children(sweep.run_id)
        if any(child.tags.get(Tag.CONFIG_KEY) in keys for child in children):
            log.warning(
                "Waiting for jobs of a killed sweep, which are still running: %s", folder_of(sweep)
            )
            wait_for_workers(folder_of(sweep))
            has_waited = True
    return has_waited
