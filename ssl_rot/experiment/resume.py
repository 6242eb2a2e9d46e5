"""Tells the user if ``resume=true`` finds no run of this config to resume, and why."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from ssl_rot.config.run_keys import WITHOUT_EFFECT
from ssl_rot.errors import ResumeError
from ssl_rot.experiment.context import RunContext
from ssl_rot.experiment.pipeline import find_finished_run
from ssl_rot.tracking import RECORD, RunRecord, StoredRun, Tag

log = logging.getLogger(__name__)

_Run = TypeVar("_Run", RunRecord, StoredRun)
_MAX_SHOWN = 8  # keys that a message lists
_HIDDEN = {*WITHOUT_EFFECT} - {"device", "compile", "sync_batchnorm"}  # those change the arithmetic


def check_resumable(contexts: Sequence[RunContext], folder: Path) -> None:
    """Compares what is to be resumed with the runs that exist, before anything is trained.

    An interrupted run in the same output folder was probably meant, so one of another config is an
    error. Elsewhere it is only a warning: a new job among resumed ones is nothing unusual.

    Args:
        contexts: of a single run, or of all jobs of a sweep.
        folder: the output folder.

    Raises:
        ResumeError: names the keys that differ.
    """
    keys = {key for c in contexts for key in (c.keys.config, c.keys.pretext)}
    records = (RunRecord.load(path.parent) for path in sorted(folder.rglob(f"*/{RECORD}")))
    interrupted = [
        record
        for record in records
        if record is not None
        and record.status != "FINISHED"
        and record.tags[Tag.PHASE] in ("pretext", "downstream")
    ]
    if interrupted and not _has_any(interrupted, keys):
        nearest, context = _find_nearest(interrupted, contexts)
        differences = _describe_differences(nearest, context)
        raise ResumeError(
            f"resume=true: the interrupted run in {nearest.folder} has another config. What "
            f"differs:\n{differences}\nTo resume it, set the old values. To start "
            "anew, leave out resume=true or choose another output folder (hydra.run.dir, "
            "in a sweep hydra.sweep.dir)."
        )
    tracker = contexts[0].tracker
    runs = tracker.runs.interrupted(socket.gethostname())
    if runs and not _has_any(runs, keys) and not any(map(_has_runs, contexts)):
        run, context = _find_nearest(runs, contexts)
        log.warning(
            "resume=true: no run has this config, so a new one starts. The most similar "
            "interrupted run, %s in %s, differs in:\n%s",
            run.run_id,
            tracker.locate(run).tags[Tag.FOLDER],
            _describe_differences(run, context),
        )


def _has_any(runs: Iterable[RunRecord | StoredRun], keys: set[str | None]) -> bool:
    return any(run.tags.get(Tag.CONFIG_KEY) in keys for run in runs)


def _has_runs(context: RunContext) -> bool:
    """Whether MLflow has a run of this config to skip, or one to resume under another host name."""
    keys = {"downstream": context.keys.config, "pretext": context.keys.pretext}
    return find_finished_run(context) is not None or any(
        key is not None and context.tracker.resumable(phase, key) is not None
        for phase, key in keys.items()
    )


def _find_nearest(runs: Sequence[_Run], contexts: Sequence[RunContext]) -> tuple[_Run, RunContext]:
    pairs = [(run, context) for run in runs for context in contexts]
    return min(pairs, key=lambda pair: len(_list_differences(*pair)))


def _list_differences(run: RunRecord | StoredRun, context: RunContext) -> list[str]:
    old, new = run.params, context.params
    return [
        f"  - {key} was {old.get(key, 'not set')}, is {new.get(key, 'not set')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key.partition(".")[0] not in _HIDDEN
    ]


def _describe_differences(run: RunRecord | StoredRun, context: RunContext) -> str:
    lines = _list_differences(run, context)
    if not lines:
        return (
            "  - no key, but what precision=auto comes to on this hardware, the data, the file of "
            "model.weights, or code that is not installed"
        )
    more = [f"  - and {len(lines) - _MAX_SHOWN} more"] if len(lines) > _MAX_SHOWN else []
    return "\n".join(lines[:_MAX_SHOWN] + more)
