"""Jobs that outlive their sweep: after a SIGKILL of the sweep alone, those in training go on."""

from __future__ import annotations

import logging

from ssl_rot.sweep.plan import Plan, Planner, earlier_runs, look_up_results
from ssl_rot.sweep.worker_locks import has_workers, wait_for_workers
from ssl_rot.tracking import Tag
from ssl_rot.tracking.whereabouts import folder_of, is_here, is_running, locate

log = logging.getLogger(__name__)


def wait_for_orphans(planner: Planner, plan: Plan) -> Plan:
    """Waits for jobs that a killed sweep left running, so that none is trained twice.

    Their locks cover the whole job, which has no run in MLflow between its pre-training and the
    rest.

    Returns:
        The plan with what they have finished.
    """
    tracker = planner.tracker
    keys = {key for job in plan.jobs for key in (job.keys.config, job.keys.pretext)} - {None}
    has_waited = False
    for stored in tracker.runs.unfinished("sweep"):
        sweep = locate(stored, tracker.store.uri)
        if not is_here(sweep) or not has_workers(folder_of(sweep)) or is_running(sweep):
            continue
        children = tracker.runs.children(sweep.run_id)
        if any(child.tags.get(Tag.CONFIG_KEY) in keys for child in children):
            log.warning("Waiting for jobs that a killed sweep left running: %s", folder_of(sweep))
            wait_for_workers(folder_of(sweep))
            has_waited = True
    if has_waited:
        plan = look_up_results(planner, plan.jobs)
        print(f"{len(earlier_runs(plan))} of {len(plan.jobs)} jobs are finished.", flush=True)
    return plan
