"""How a sweep's jobs ended, as MLflow has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ssl_rot.tracking import Tag, Tracker

if TYPE_CHECKING:
    from ssl_rot.plan import Plan

NO_RECORD = "no run in MLflow: its process ended before it began"


def outcomes(tracker: Tracker, parent: str, plan: Plan | None) -> pd.DataFrame:
    """One row a job.

    Returns:
        Columns ``job`` (its number), ``overrides`` (what sets it apart from the other jobs),
        ``status`` (MLflow's, or ``MISSING``), ``test_acc`` (last epoch), ``error`` (a line) and
        ``run_id``. Without a plan the rows are the downstream runs there are.
    """
    runs = sorted(tracker.children(parent), key=lambda run: run.info.start_time)
    by_key: dict[str, dict[str, object]] = {}
    for run in runs:
        tags, metrics = run.data.tags, run.data.metrics
        key = tags.get(Tag.CONFIG_KEY, run.info.run_id)
        by_key[key] = {
            "status": run.info.status,
            "test_acc": metrics.get("test_acc", float("nan")),
            "error": tags.get(Tag.ERROR, "") if run.info.status != "FINISHED" else "",
            "run_id": run.info.run_id,
            "phase": tags.get(Tag.PHASE),
        }
    if plan is None:
        rows = [
            {"job": number, "overrides": "", **row}
            for number, row in enumerate(by_key.values())
            if row["phase"] == "downstream"
        ]
        return _frame(rows)
    common = set.intersection(*(set(job.overrides) for job in plan.jobs)) if plan.jobs else set()
    rows = []
    for job in plan.jobs:
        row = by_key.get(job.keys.config)
        if row is None and job.finished:
            found = tracker.find("downstream", Tag.CONFIG_KEY, job.keys.config)
            assert found is not None
            accuracy, run_id = found.data.metrics["test_acc"], found.info.run_id
            row = {"status": "FINISHED", "test_acc": accuracy, "error": "", "run_id": run_id}
        if row is None and job.keys.pretext in by_key:
            pretext = by_key[str(job.keys.pretext)]
            if pretext["status"] != "FINISHED":
                row = pretext
        if row is None:
            row = {"status": "MISSING", "test_acc": float("nan"), "error": NO_RECORD, "run_id": ""}
        own = [item for item in job.overrides if item not in common] or list(job.overrides)
        rows.append({"job": job.number, "overrides": " ".join(own), **row})
    return _frame(rows)


def _frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["job", "overrides", "status", "test_acc", "error", "run_id"])


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
