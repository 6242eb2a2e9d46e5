"""Why jobs failed, kept as tags of the sweep's run: a job may fail before it has a run of its own.

Nothing heavy is imported at the top: ``ssl_rot.run`` imports this for single runs too.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra.conf import HydraConf
from omegaconf import DictConfig

from ssl_rot.errors import describe_error

if TYPE_CHECKING:
    from ssl_rot.tracking import StoredRun, Tracker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobFailure:
    """Why a job failed, in one line."""

    error: str
    overrides: list[str]


def record_failure(config: DictConfig, hydra: HydraConf, error: Exception) -> None:
    """Records with the sweep's run why a job failed."""
    from ssl_rot.experiment.context import open_tracker

    parent = config.tracking.parent_run_id
    own = [item for item in hydra.overrides.task if not item.startswith("tracking.parent_run_id=")]
    try:
        tracker = open_tracker(config)
        tag_failure(tracker, parent, hydra.job.num, JobFailure(describe_error(error), own))
    except Exception as failure:
        # The sweep learns of failures from MLflow, so that its terminal would not show this one.
        log.error(
            "Job %s failed: %s\nThis could not be recorded in MLflow: %s",
            hydra.job.num,
            error,
            failure,
            extra={"urgent": True},
        )


def tag_failure(tracker: Tracker, parent: str, number: int, failure: JobFailure) -> None:
    """Records the failure of job ``number`` with the sweep's run ``parent``."""
    from ssl_rot.tracking import Tag

    tracker.runs.tag(parent, f"{Tag.JOB_OVERRIDES}.{number}", " ".join(failure.overrides))
    tracker.runs.tag(parent, f"{Tag.JOB_ERROR}.{number}", failure.error)


def load_failures(parent: StoredRun) -> dict[int, JobFailure]:
    """The failures recorded with a sweep's run, by the number of the job."""
    from ssl_rot.tracking import Tag

    failures = {}
    for tag, error in parent.tags.items():
        name, _, number = tag.rpartition(".")
        if name == Tag.JOB_ERROR:
            overrides = parent.tags.get(f"{Tag.JOB_OVERRIDES}.{number}", "").split(" ")
            failures[int(number)] = JobFailure(error, overrides)
    return failures


def forget_failures(tracker: Tracker, parent: StoredRun) -> None:
    """Removes the failures recorded with a sweep's run."""
    from ssl_rot.tracking import Tag

    for tag in (Tag.JOB_ERROR, Tag.JOB_OVERRIDES):
        tracker.runs.remove_tags(parent, f"{tag}.")
