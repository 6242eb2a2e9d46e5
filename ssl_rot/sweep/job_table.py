"""How the jobs of a sweep ended, as MLflow has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from ssl_rot.errors import without_password
from ssl_rot.sweep.failures import JobFailure, load_failures
from ssl_rot.tracking import StoredRun, Tag, Tracker

if TYPE_CHECKING:
    from ssl_rot.sweep.plan import Plan

_COLUMNS = ["job", "overrides", "status", "test_acc", "val_acc", "error", "run_id"]

Row = dict[str, Any]


def make_job_table(tracker: Tracker, parent_run_id: str, plan: Plan | None) -> pd.DataFrame:
    """One row per job; without a plan, per downstream run and per job that failed without one.

    Returns:
        Columns ``job`` (its number), ``overrides`` (those that not all jobs have), ``status``
        (MLflow's, or ``MISSING``), ``test_acc`` and ``val_acc`` (last epoch, in [0, 1]), ``error``
        (one line) and ``run_id``.
    """
    parent = tracker.runs.get(parent_run_id)
    children = tracker.runs.children(parent_run_id)
    failures = load_failures(parent)
    if plan is not None:
        rows = _list_planned_jobs(plan, children, failures)
    else:
        rows = _list_unplanned_jobs(children, failures, parent.params["overrides"].split(" "))
    return pd.DataFrame(rows, columns=_COLUMNS)


def _list_planned_jobs(
    plan: Plan, children: list[StoredRun], failures: dict[int, JobFailure]
) -> list[Row]:
    """Jobs are found by their number: their keys may differ from those of the plan.

    Keys contain what ``precision=auto`` came to on the machine of the job.
    """
    own = {(run.tags[Tag.PHASE], run.tags[Tag.JOB]): run for run in children}
    finished = {
        key: run
        for run in children
        if run.status == "FINISHED"
        for key in (run.tags[Tag.CONFIG_KEY], run.tags.get(Tag.REQUEST_KEY))
    }
    common = set.intersection(*(set(job.overrides) for job in plan.jobs))
    rows = []
    for job in plan.jobs:
        run = own.get(("downstream", str(job.number)))
        if run is None or run.status != "FINISHED":
            duplicate = finished.get(job.keys.config) or finished.get(job.request_key)
            run = duplicate or job.finished or run
        pretext = own.get(("pretext", str(job.number)))
        if run is not None:
            outcome = _describe_run(run)
        elif job.number in failures:
            outcome = _describe_failure(failures[job.number])
        elif pretext is not None and pretext.status != "FINISHED":
            outcome = _describe_run(pretext)
        else:
            outcome = {"status": "MISSING", "error": "it had not started: no run in MLflow"}
        overrides = [item for item in job.overrides if item not in common] or job.overrides
        text = without_password(" ".join(overrides))
        rows.append({"job": job.number, "overrides": text, **outcome})
    return rows


def _describe_failure(failure: JobFailure) -> Row:
    return {"status": "FAILED", "error": failure.error}


def _describe_run(run: StoredRun) -> Row:
    return {
        "status": run.status,
        "test_acc": run.metrics.get("test_acc"),
        "val_acc": run.metrics.get("val_acc"),
        "error": "" if run.status == "FINISHED" else run.tags.get(Tag.ERROR, ""),
        "run_id": run.run_id,
    }


def _list_unplanned_jobs(
    children: list[StoredRun], failures: dict[int, JobFailure], given: list[str]
) -> list[Row]:
    """The jobs that a sweeper chose; ``given`` are the command line's overrides, which all have."""
    runs = {int(run.tags[Tag.JOB]): run for run in children if run.tags[Tag.PHASE] == "downstream"}
    rows: list[Row] = []
    for number in failures.keys() - runs.keys():
        own = " ".join(item for item in failures[number].overrides if item not in given)
        rows.append({"job": number, "overrides": own, **_describe_failure(failures[number])})
    params = [run.params.items() for run in runs.values()]
    common = set.intersection(*map(set, params)) if len(params) > 1 else set()
    for number, run in runs.items():
        own = " ".join(
            f"{key}={value}"
            for key, value in sorted(run.params.items() - common)
            # The optimizer's and the scheduler's own keys repeat those of the schedule.
            if ".optimizer." not in key and ".scheduler." not in key
        )
        rows.append({"job": number, "overrides": own, **_describe_run(run)})
    return sorted(rows, key=lambda row: int(row["job"]))


def tag_best_run(tracker: Tracker, table: pd.DataFrame) -> None:
    """Tags the finished run with the best validation accuracy, and prints which it is."""
    finished = table[table["status"] == "FINISHED"]
    if finished.empty:
        return
    best = finished.iloc[int(finished["val_acc"].astype(float).argmax())]
    for run_id in finished["run_id"]:
        tracker.runs.tag(run_id, Tag.BEST, str(run_id == best["run_id"]).lower())
    print(
        f"\nBest on the validation split: job {best['job']} with {best['val_acc']:.4f}, "
        f"{best['overrides']} (run {best['run_id']}, tagged {Tag.BEST})"
    )


def print_job_table(table: pd.DataFrame) -> None:
    """Prints the table, followed by the errors of the jobs that did not finish."""
    shown = table[["job", "overrides", "status", "test_acc"]]
    text = shown.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.4f}")
    is_finished = table["status"] == "FINISHED"
    print(f"\n{text}\n\n{int(is_finished.sum())} of {len(table)} jobs finished", flush=True)
    if is_finished.all():
        return
    for row in table[~is_finished].to_dict("records"):
        print(f"  job {row['job']}: {row['error'] or row['status']}")
    print("The same command with resume=true runs only these jobs again.", flush=True)
