"""Tells the user if ``resume=true`` finds no run of this config to resume, and why."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from ssl_rot.config.run_keys import WITHOUT_EFFECT, RunKeys
from ssl_rot.errors import ResumeError
from ssl_rot.experiment.pipeline import find_finished_runs
from ssl_rot.tracking import RECORD, RunRecord, StoredRun, Tag, Tracker
from ssl_rot.tracking.whereabouts import locate

log = logging.getLogger(__name__)

_Run = TypeVar("_Run", RunRecord, StoredRun)
_MAX_SHOWN = 8  # keys that a message lists
_HIDDEN = {*WITHOUT_EFFECT} - {"device", "compile", "sync_batchnorm"}  # those change the arithmetic


class Candidate(Protocol):
    """A run that may be resumed: a single one, or a job of a sweep."""

    @property
    def keys(self) -> RunKeys: ...

    @property
    def params(self) -> dict[str, str]: ...


def check_resumable(candidates: Sequence[Candidate], folder: Path, tracker: Tracker) -> None:
    """Compares what is to be resumed with the runs that exist, before anything is trained.

    An interrupted run in the same output folder was probably meant, so one of another config is an
    error. Elsewhere it is only a warning: a new job among resumed ones is nothing unusual.

    Args:
        folder: the output folder of the run or the sweep.

    Raises:
        ResumeError: names the keys that differ.
    """
    keys = {
        key for each in candidates for key in (each.keys.config, each.keys.pretext, each.keys.floor)
    }
    records = (RunRecord.load(path.parent) for path in sorted(folder.rglob(f"*/{RECORD}")))
    interrupted = [
        record
        for record in records
        if record is not None
        and record.status != "FINISHED"
        and record.tags[Tag.PHASE] in ("pretext", "downstream")
    ]
    if interrupted and not _has_any(interrupted, keys):
        nearest, candidate = _find_nearest(interrupted, candidates)
        differences = _describe_differences(nearest, candidate)
        raise ResumeError(
            f"resume=true: the interrupted run in {nearest.folder} has another config. What "
            f"differs:\n{differences}\nTo resume it, set the old values. To start "
            "anew, leave out resume=true or choose another output folder (hydra.run.dir, "
            "in a sweep hydra.sweep.dir)."
        )
    runs = tracker.runs.interrupted(socket.gethostname())
    if not runs or _has_any(runs, keys) or not keys.isdisjoint(find_finished_runs(tracker)):
        return
    if not any(_is_resumable(each, tracker) for each in candidates):
        run, candidate = _find_nearest(runs, candidates)
        log.warning(
            "resume=true: no run has this config, so a new one starts. The most similar "
            "interrupted run, %s in %s, differs in:\n%s",
            run.run_id,
            locate(run, tracker.store.uri).tags[Tag.FOLDER],
            _describe_differences(run, candidate),
        )


def _has_any(runs: Iterable[RunRecord | StoredRun], keys: set[str | None]) -> bool:
    return any(run.tags.get(Tag.CONFIG_KEY) in keys for run in runs)


def _is_resumable(candidate: Candidate, tracker: Tracker) -> bool:
    """Also a run of a machine that had another name."""
    phases = {"downstream": candidate.keys.config, "pretext": candidate.keys.pretext}
    return any(
        key is not None and tracker.resumable(phase, key) is not None
        for phase, key in phases.items()
    )


def _find_nearest(runs: Sequence[_Run], candidates: Sequence[Candidate]) -> tuple[_Run, Candidate]:
    pairs = [(run, candidate) for run in runs for candidate in candidates]
    return min(pairs, key=lambda pair: len(_list_differences(*pair)))


def _list_differences(run: RunRecord | StoredRun, candidate: Candidate) -> list[str]:
    old, new = run.params, candidate.params
    return [
        f"  - {key} was {old.get(key, 'not set')}, is {new.get(key, 'not set')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key.partition(".")[0] not in _HIDDEN
    ]


def _describe_differences(run: RunRecord | StoredRun, candidate: Candidate) -> str:
    lines = _list_differences(run, candidate)
    if not lines:
        return (
            "  - no key. One of these differs: what precision=auto resolves to on this hardware, "
            "the data, the file of model.weights, or the source file of a class of your own"
        )
    more = [f"  - and {len(lines) - _MAX_SHOWN} more"] if len(lines) > _MAX_SHOWN else []
    return "\n".join(lines[:_MAX_SHOWN] + more)
