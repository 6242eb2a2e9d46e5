"""What SLURM says about jobs, without its accounting, which many clusters do not have."""

from __future__ import annotations

import os
import subprocess

RESTARTS_VARIABLE = "SLURM_RESTART_COUNT"


def is_requeued() -> bool:
    """Whether this process belongs to a SLURM job that has started before."""
    return int(os.environ.get(RESTARTS_VARIABLE) or 0) > 0


def is_queued(job_id: str) -> bool:
    """Whether a job of this user, or a task of the array with that id, is pending or running.

    ``True`` if that cannot be found out: SLURM does not answer, or is on other machines only.
    """
    command = ["squeue", "--me", "--noheader", "--format=%F"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return True
    return answer.returncode != 0 or job_id in answer.stdout.split()
