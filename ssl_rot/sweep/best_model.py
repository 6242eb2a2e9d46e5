"""Ends a sweep with the model of the setting that its validation split chooses."""

from __future__ import annotations

import logging

from ssl_rot.errors import describe_error
from ssl_rot.sweep.plan import Plan, earlier_runs
from ssl_rot.tracking import Tracker

log = logging.getLogger(__name__)


def log_best_model(tracker: Tracker, run_id: str, plan: Plan | None) -> None:
    """Logs the model of the best setting of a sweep, the run ``run_id``, and says which it is.

    A sweep is not failed by it: whatever goes wrong becomes a warning.
    """
    try:
        # The report's libraries take seconds to import, and a sweep needs them only here.
        from ssl_rot.deploy.chosen import choose_by_validation
        from ssl_rot.deploy.logged_model import log_classifier
        from ssl_rot.report.sweep_verdict import load_sweep_runs

        runs = load_sweep_runs(tracker.store.uri, run_id, earlier_runs(plan))
        chosen = None if runs is None else choose_by_validation(runs)
        if chosen is None:
            return  # no job has finished
        print(
            f"\nModel: {log_classifier(tracker.store, chosen.run_id)}, {chosen.reason}", flush=True
        )
    except Exception as error:
        log.warning(
            "The sweep has finished, but its best model was not logged: %s", describe_error(error)
        )
