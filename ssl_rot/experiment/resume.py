"""What ``resume=true`` says when it does not find what it was meant to go on with."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from pathlib import Path

from ssl_rot.config.run_keys import WITHOUT_EFFECT
from ssl_rot.errors import ResumeError
from ssl_rot.experiment.context import RunContext
from ssl_rot.tracking import RECORD, RunRecord, Tag

log = logging.getLogger(__name__)

_SHOWN = 8  # keys that a message names


def check_resumable(context: RunContext) -> None:
    """Compares a run that is to be resumed with what exists, before anything is trained.

    In its own output folder an interrupted run of another config is refused: it is the one that was
    meant. Elsewhere it is only named, since a new job among resumed ones is nothing unusual.

    Raises:
        ResumeError: names the keys that differ.
    """
    keys = {context.keys.config, context.keys.pretext}
    interrupted = [record for record in _records(context.folder) if record.status != "FINISHED"]
    here = {record.tags[Tag.CONFIG_KEY]: record for record in interrupted}
    if here and keys.isdisjoint(here):
        old = min(here.values(), key=lambda record: len(_differences(record.params, context)))
        raise ResumeError(
            f"resume=true: the interrupted run in {old.folder} is one of another config. What "
            f"differs:\n{_told(old.params, context)}\nGive it the old values to go on with it; or "
            "leave resume=true out, or take another hydra.run.dir, to start afresh."
        )
    if _known(context):
        return
    runs = context.tracker.runs.interrupted(socket.gethostname())
    if runs:
        run = min(runs, key=lambda run: len(_differences(run.params, context)))
        log.warning(
            "resume=true: there is no run of this config, it starts afresh. The interrupted run "
            "nearest to it, %s in %s, differs:\n%s",
            run.run_id,
            run.tags[Tag.FOLDER],
            _told(run.params, context),
        )


def _records(folder: Path) -> list[RunRecord]:
    found = [RunRecord.load(path.parent) for path in sorted(folder.glob(f"*/{RECORD}"))]
    return [record for record in found if record is not None]


def _known(context: RunContext) -> bool:
    """Whether there is anything to skip or to go on with."""
    keys = {"downstream": context.keys.config, "pretext": context.keys.pretext}
    return any(
        context.tracker.resumable(phase, Tag.CONFIG_KEY, key) is not None
        or context.tracker.runs.find(phase, Tag.CONFIG_KEY, key) is not None
        for phase, key in keys.items()
        if key is not None
    )


def _differences(old: Mapping[str, str], context: RunContext) -> list[str]:
    new = context.params
    return [
        f"  - {key} was {old.get(key, 'not set')}, is {new.get(key, 'not set')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key.partition(".")[0] not in WITHOUT_EFFECT
    ]


def _told(old: Mapping[str, str], context: RunContext) -> str:
    lines = _differences(old, context)
    if not lines:
        return "  - no key, but the data, the file of model.weights, or code that is not installed"
    more = [f"  - and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join(lines[:_SHOWN] + more)
