"""Jobs that outlive their sweep: after a SIGKILL of the sweep alone, those in training go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from ssl_rot.tracking import Tag, Tracker

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0


def wait_for_orphans(tracker: Tracker, keys: Collection[str | None]) -> None:
    """Waits until no run with one of these config keys is being trained: none is trained twice."""
    if not (running := _find_running(tracker, keys)):
        return
    log.warning(
        "Jobs of an earlier sweep are still running. Waiting for them: %s", ", ".join(running)
    )
    looks_without_any = 0
    while looks_without_any < 2:  # between its pre-training and the rest, a job has no run
        time.sleep(_POLL_SECONDS)
        looks_without_any = 0 if _find_running(tracker, keys) else looks_without_any + 1


def _find_running(tracker: Tracker, keys: Collection[str | None]) -> list[str]:
    return [run.run_id for run in tracker.running() if run.tags.get(Tag.CONFIG_KEY) in keys]
