"""What ``resume=true`` says when it does not find what it was meant to go on with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from ssl_rot.errors import ResumeError
from ssl_rot.job import Job
from ssl_rot.keys import WITHOUT_EFFECT
from ssl_rot.tracking import RECORD, Record, Tag

log = logging.getLogger(__name__)

_SHOWN = 8  # keys that a message names


def check(job: Job) -> None:
    """Compares a job that is to be resumed with what there is, before anything is trained.

    In its own output folder an interrupted run of another config is refused: it is the one that was
    meant. Elsewhere it is only named, since a new job among resumed ones is nothing unusual.

    Raises:
        ResumeError: names the keys that differ.
    """
    keys = {job.keys.config, job.keys.pretext}
    interrupted = [record for record in _records(job.folder) if record.status != "FINISHED"]
    here = {record.tags[Tag.CONFIG_KEY]: record for record in interrupted}
    if here and keys.isdisjoint(here):
        old = min(here.values(), key=lambda record: len(_differences(record.params, job)))
        raise ResumeError(
            f"resume=true: the interrupted run in {old.folder} is one of another config. What "
            f"differs:\n{_told(old.params, job)}\nGive it the old values to go on with it; or "
            "leave resume=true out, or take another hydra.run.dir, to start afresh."
        )
    if _known(job):
        return
    runs = job.tracker.interrupted()
    if runs:
        run = min(runs, key=lambda run: len(_differences(run.data.params, job)))
        log.warning(
            "resume=true: there is no run of this config, it starts afresh. The interrupted run "
            "nearest to it, %s in %s, differs:\n%s",
            run.info.run_id,
            run.data.tags[Tag.FOLDER],
            _told(run.data.params, job),
        )


def _records(folder: Path) -> list[Record]:
    found = [Record.load(path.parent) for path in sorted(folder.glob(f"*/{RECORD}"))]
    return [record for record in found if record is not None]


def _known(job: Job) -> bool:
    """Whether there is anything to skip or to go on with."""
    keys = {"downstream": job.keys.config, "pretext": job.keys.pretext}
    return any(
        job.tracker.unfinished(phase, Tag.CONFIG_KEY, key) is not None
        or job.tracker.find(phase, Tag.CONFIG_KEY, key) is not None
        for phase, key in keys.items()
        if key is not None
    )


def _differences(old: Mapping[str, str], job: Job) -> list[str]:
    new = job.params
    return [
        f"  - {key} was {old.get(key, 'not set')}, is {new.get(key, 'not set')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key.partition(".")[0] not in WITHOUT_EFFECT
    ]


def _told(old: Mapping[str, str], job: Job) -> str:
    lines = _differences(old, job)
    if not lines:
        return "  - no key, but the data, the file of model.weights, or code that is not installed"
    more = [f"  - and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join(lines[:_SHOWN] + more)
