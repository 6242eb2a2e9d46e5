"""How the jobs of a sweep ended, as MLflow has it."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pandas as pd

from ssl_rot.errors import SweepFailed, without_password
from ssl_rot.sweep.failures import JobFailure, load_failures
from ssl_rot.sweep.markdown import describe_jobs
from ssl_rot.tracking import RunLog, StoredRun, Tag, Tracker

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
    """The jobs that a sweeper chose; ``given`` are the command line's overrides, which all have.

    A job may have several runs, one for each of its seeds.
    """
    runs: dict[int, list[StoredRun]] = defaultdict(list)
    for run in children:
        if run.tags[Tag.PHASE] == "downstream":
            runs[int(run.tags[Tag.JOB])].append(run)
    rows: list[Row] = []
    for number in failures.keys() - runs.keys():
        own = " ".join(item for item in failures[number].overrides if item not in given)
        rows.append({"job": number, "overrides": own, **_describe_failure(failures[number])})
    # Without the seed, in which the runs of a job differ.
    params = {
        number: set.intersection(*(set(run.params.items()) for run in own))
        for number, own in runs.items()
    }
    common = set.intersection(*params.values()) if len(params) > 1 else set()
    for number, seeds in runs.items():
        own = " ".join(
            f"{key}={value}"
            for key, value in sorted(params[number] - common)
            # The optimizer's and the scheduler's own keys repeat those of the schedule.
            if ".optimizer." not in key and ".scheduler." not in key
        )
        outcome = _describe_seeds(seeds)
        if outcome["status"] == "FINISHED" and number in failures:  # before a seed had a run
            outcome = _describe_failure(failures[number])
        rows.append({"job": number, "overrides": own, **outcome})
    return sorted(rows, key=lambda row: int(row["job"]))


def _describe_seeds(runs: list[StoredRun]) -> Row:
    """The mean accuracies of a job's runs; without them, the first that did not finish."""
    rows = [_describe_run(run) for run in runs]
    if unfinished := [row for row in rows if row["status"] != "FINISHED"]:
        return unfinished[0]
    means = {name: fmean(row[name] for row in rows) for name in ("test_acc", "val_acc")}
    return rows[0] | means | {"run_id": " ".join(run.run_id for run in runs)}


def tag_best_run(tracker: Tracker, table: pd.DataFrame) -> None:
    """Tags the runs of the job with the best validation accuracy, and prints which it is."""
    finished = table[table["status"] == "FINISHED"]
    if finished.empty:
        return
    best = finished.iloc[int(finished["val_acc"].astype(float).argmax())]
    for job in finished.to_dict("records"):
        for run_id in job["run_id"].split():
            tracker.runs.tag(run_id, Tag.BEST, str(job["job"] == best["job"]).lower())
    runs = best["run_id"].split()
    arm = tracker.runs.get(runs[0]).tags[Tag.ARM]
    print(
        f"\nBest for {arm} on the validation split: job {best['job']} with {best['val_acc']:.4f}, "
        f"{best['overrides']} ({'run' if len(runs) == 1 else 'runs'} {', '.join(runs)}, "
        f"tagged {Tag.BEST})"
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


def record_job_table(tracker: Tracker, log: RunLog, plan: Plan | None) -> SweepFailed | None:
    """Prints and records the table of jobs; returns an error if some did not finish."""
    table = make_job_table(tracker, str(log.run_id), plan)
    print_job_table(table)
    if plan is None:
        tag_best_run(tracker, table)
    log.table(table, "jobs")
    log.describe(describe_jobs(table))
    print(f"mlflow ui: {tracker.store.page(str(log.run_id))}", flush=True)
    failed = int((table["status"] != "FINISHED").sum())
    return SweepFailed(f"{failed} of {len(table)} jobs did not finish") if failed else None
