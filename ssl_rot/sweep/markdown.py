"""The description of a sweep's run in MLflow: its plan, its jobs, its verdict; Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

_MOST_ROWS = 25  # MLflow cuts long descriptions


def describe_plan(command: str, summary: str) -> str:
    """What the sweep is, and the command that makes it again."""
    return f"### Plan\n\n{summary}\n\n```\n{command}\n```"


def describe_jobs(table: pd.DataFrame) -> str:
    """How the jobs ended, those that did not finish first."""
    is_finished = table["status"] == "FINISHED"
    ordered = pd.concat([table[~is_finished], table[is_finished]])
    columns = ["job", "overrides", "status", "test_acc"]
    lines = [_row(columns), _row(["---"] * len(columns))]
    for job in ordered.head(_MOST_ROWS).to_dict("records"):
        status = job["status"] if not job["error"] else f"{job['status']}: {job['error'][:100]}"
        accuracy = "" if pd.isna(job["test_acc"]) else f"{job['test_acc']:.4f}"
        lines.append(_row([str(job["job"]), job["overrides"], status, accuracy]))
    finished = f"{int(is_finished.sum())} of {len(table)} jobs finished"
    more = f", the first {_MOST_ROWS} below" if len(table) > _MOST_ROWS else ""
    head = f"### Jobs\n\n{finished}{more}; all of them are in the artifact jobs.csv."
    return head + "\n\n" + "\n".join(lines)


def describe_verdict(text: str, files: Sequence[Path], folder: str) -> str:
    """What came out, and where its page and figures are among the run's artifacts."""
    names = ", ".join(file.name for file in files)
    words, _, table = text.replace("```", "").partition("\n\n")
    quoted = f"\n\n```\n{table}\n```" if table else ""
    return f"### Verdict\n\n{words}{quoted}\n\nArtifacts, folder {folder}: {names}."


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
