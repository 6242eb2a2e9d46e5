"""Tells the user if ``resume=true`` finds no run of this config to resume, and why."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

from ssl_rot.config.run_keys import WITHOUT_EFFECT
from ssl_rot.errors import ResumeError
from ssl_rot.experiment.context import RunContext
from ssl_rot.tracking import RECORD, RunRecord, StoredRun, Tag

log = logging.getLogger(__name__)

_MAX_SHOWN = 8  # keys that a message lists


def check_resumable(context: RunContext) -> None:
    """Compares a run that is to be resumed with those that exist, before anything is trained.

    An interrupted run in the same output folder was probably meant, so one of another config is an
    error. Elsewhere it is only a warning: a new job among resumed ones is nothing unusual.

    Raises:
        ResumeError: names the keys that differ.
    """

    def distance(run: RunRecord | StoredRun) -> int:
        return len(_list_differences(run.params, context))

    keys = {context.keys.config, context.keys.pretext, context.keys.floor}
    records = (RunRecord.load(path.parent) for path in sorted(context.folder.glob(f"*/{RECORD}")))
    interrupted = {
        record.tags[Tag.CONFIG_KEY]: record
        for record in records
        if record is not None and record.status != "FINISHED"
    }
    if interrupted and keys.isdisjoint(interrupted):
        nearest = min(interrupted.values(), key=distance)
        raise ResumeError(
            f"resume=true: the interrupted run in {nearest.folder} has another config. What "
            f"differs:\n{_describe_differences(nearest.params, context)}\nTo resume it, set the "
            "old values. To start a new run, leave out resume=true or choose another hydra.run.dir."
        )
    if _has_runs(context):
        return
    runs = context.tracker.runs.interrupted(socket.gethostname())
    if runs:
        run = min(runs, key=distance)
        log.warning(
            "resume=true: no run has this config, so a new one starts. The most similar "
            "interrupted run, %s in %s, differs in:\n%s",
            run.run_id,
            run.tags[Tag.FOLDER],
            _describe_differences(run.params, context),
        )


def _has_runs(context: RunContext) -> bool:
    """Whether MLflow has a run of this config to skip or to resume."""
    keys = {"downstream": context.keys.config, "pretext": context.keys.pretext}
    return any(
        context.tracker.resumable(phase, key) is not None
        or context.tracker.runs.find(phase, Tag.CONFIG_KEY, key) is not None
        for phase, key in keys.items()
        if key is not None
    )


def _list_differences(old: Mapping[str, str], context: RunContext) -> list[str]:
    new = context.params
    return [
        f"  - {key} was {old.get(key, 'not set')}, is {new.get(key, 'not set')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key.partition(".")[0] not in WITHOUT_EFFECT
    ]


def _describe_differences(old: Mapping[str, str], context: RunContext) -> str:
    lines = _list_differences(old, context)
    if not lines:
        return "  - no key, but the data, the file of model.weights, or code that is not installed"
    more = [f"  - and {len(lines) - _MAX_SHOWN} more"] if len(lines) > _MAX_SHOWN else []
    return "\n".join(lines[:_MAX_SHOWN] + more)
