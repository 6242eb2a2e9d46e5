"""How a sweep's jobs ended, as MLflow has it."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pandas as pd

from ssl_rot.tracking import StoredRun, Tag, Tracker

if TYPE_CHECKING:
    from ssl_rot.sweep.plan import Plan, PlannedJob

NO_RECORD = "no run in MLflow: it had not begun"
_COLUMNS = ["job", "overrides", "status", "test_acc", "val_acc", "error", "run_id"]

Row = dict[str, Any]


def job_table(tracker: Tracker, parent: str, plan: Plan | None) -> pd.DataFrame:
    """One row a job.

    Args:
        tracker: of the sweep.
        parent: the sweep's run.
        plan: of the sweep; without one the rows are the downstream runs that there are, and the
            jobs that failed before they had one.

    Returns:
        Columns ``job`` (its number), ``overrides`` (what sets it apart from the other jobs),
        ``status`` (MLflow's, or ``MISSING``), ``test_acc`` and ``val_acc`` (last epoch), ``error``
        (a line) and ``run_id``.
    """
    children = tracker.runs.children(parent)
    if plan is None:
        runs = [run for run in children if run.tags[Tag.PHASE] == "downstream"]
        rows = _early(tracker, parent, runs)
        # Jobs are started in their order: those with a run have the numbers that are left.
        taken = {row["job"] for row in rows}
        left = (number for number in count() if number not in taken)
        rows += [{"job": number, **row} for number, row in zip(left, _chosen(runs), strict=False)]
        rows.sort(key=lambda row: int(row["job"]))
    else:
        early = tracker.runs.tags(parent, f"{Tag.JOB_ERROR}.")
        by_key = {run.tags[Tag.CONFIG_KEY]: run for run in children}
        rows = [
            {"job": job.number, **_outcome(tracker, job, by_key, early.get(str(job.number)))}
            for job in plan.jobs
        ]
        common = set.intersection(*(set(job.overrides) for job in plan.jobs))
        for row, job in zip(rows, plan.jobs, strict=True):
            own = [item for item in job.overrides if item not in common]
            row["overrides"] = " ".join(own or job.overrides)
    return pd.DataFrame(rows, columns=_COLUMNS)


def _row(run: StoredRun) -> Row:
    finished = run.status == "FINISHED"
    return {
        "status": run.status,
        "test_acc": run.metrics.get("test_acc"),
        "val_acc": run.metrics.get("val_acc"),
        "error": "" if finished else run.tags.get(Tag.ERROR, ""),
        "run_id": run.run_id,
    }


def _outcome(
    tracker: Tracker, job: PlannedJob, by_key: dict[str, StoredRun], early: str | None
) -> Row:
    run = by_key.get(job.keys.config)
    if run is None and job.finished:
        run = tracker.runs.find("downstream", Tag.CONFIG_KEY, job.keys.config)
    if run is not None:
        return _row(run)
    if early is not None:
        return {"status": "FAILED", "error": early}
    pretext = by_key.get(str(job.keys.pretext))
    if pretext is not None and pretext.status != "FINISHED":
        return _row(pretext)
    return {"status": "MISSING", "error": NO_RECORD}


def _early(tracker: Tracker, parent: str, runs: list[StoredRun]) -> list[Row]:
    """Rows of jobs that nobody planned and that failed before they had one of ``runs``."""
    known = {run.tags[Tag.CONFIG_KEY] for run in runs}
    keys = tracker.runs.tags(parent, f"{Tag.JOB_KEY}.")
    overrides = tracker.runs.tags(parent, f"{Tag.JOB_OVERRIDES}.")
    # What was given on the command line is the same for all.
    common = tracker.runs.get(parent).params["overrides"].split(" ")
    return [
        {
            "job": int(number),
            "overrides": " ".join(
                item for item in overrides[number].split(" ") if item not in common
            ),
            "status": "FAILED",
            "error": error,
        }
        for number, error in tracker.runs.tags(parent, f"{Tag.JOB_ERROR}.").items()
        if keys.get(number) not in known
    ]


def _chosen(runs: list[StoredRun]) -> list[Row]:
    """Rows of runs that nobody planned: told apart by the params that differ."""
    params = [run.params.items() for run in runs]
    common = set.intersection(*map(set, params)) if len(params) > 1 else set()
    return [
        {
            # The optimizer's own keys repeat those of the schedule.
            "overrides": " ".join(
                f"{k}={v}"
                for k, v in sorted(run.params.items() - common)
                if ".optimizer." not in k and ".scheduler." not in k
            ),
            **_row(run),
        }
        for run in runs
    ]


def mark_best(tracker: Tracker, table: pd.DataFrame) -> None:
    """Tags the finished run that is best on the validation split, and tells of it."""
    finished = table[table["status"] == "FINISHED"]
    if finished.empty:
        return
    best = finished.iloc[int(finished["val_acc"].astype(float).argmax())]
    for run_id in finished["run_id"]:
        tracker.runs.tag(run_id, Tag.BEST, str(run_id == best["run_id"]).lower())
    print(
        f"\nBest on the validation split: job {best['job']} with {best['val_acc']:.4f}, "
        f"{best['overrides']} (run {best['run_id']}, tag {Tag.BEST})"
    )


def print_table(table: pd.DataFrame) -> None:
    """The table in the terminal, the failed jobs' errors under it."""
    shown = table[["job", "overrides", "status", "test_acc"]]
    text = shown.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.4f}")
    lost = table[table["status"] != "FINISHED"]
    lines = [
        f"  job {job}: {error or status}"
        for job, error, status in zip(lost["job"], lost["error"], lost["status"], strict=True)
    ]
    done = int((table["status"] == "FINISHED").sum())
    print(f"\n{text}\n\n{done} of {len(table)} jobs finished", flush=True)
    if lines:
        print("\n".join([*lines, "resume=true runs these again, and only these."]), flush=True)
