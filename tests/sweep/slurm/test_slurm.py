"""Sweeps on a real SLURM cluster of one node, without accounting."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ssl_rot.tracking import Tracker
from tests.sweep.slurm.conftest import wait_for
from tests.warm import Process

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

SLURM = (
    *("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2"),
    *("dataset.image_size=8", "model.widths=[8,16]", "model.blocks=[1,1]", "precision=fp32"),
)
# Long epochs; no checkpoint except at the end of a job.
LONG = ("+experiment=supervised", "schedule.batch_size=1", "checkpoint.every=100")


@pytest.fixture
def start(cluster, start_multirun, make_store, tmp_path) -> Callable[..., Process]:
    """Starts a sweep in the test's folder."""
    make_store(tmp_path)
    return lambda *overrides: start_multirun(tmp_path, *SLURM, *overrides)


@pytest.fixture
def runs(runs_of_phase, tmp_path):
    return lambda phase: runs_of_phase(f"sqlite:///{tmp_path}/mlflow.db", phase)


def workers(folder: Path) -> set[int]:
    """The processes that have started a job of the sweep."""
    return {int(path.stem.rpartition("-")[2]) for path in folder.rglob(".workers/*.pid")}


def epochs(folder: Path, phase: str) -> list[int]:
    """How many epochs each run of a phase has finished, in the order of the jobs."""
    paths = sorted(folder.rglob(f"{phase}/history.csv"))
    return [len(path.read_text().splitlines()) - 1 for path in paths]


def job_id(process: Process) -> str:
    found = re.search(r"Submitted to SLURM as job (\d+)", process.output)
    assert found is not None, process.output
    return found[1]


def checkpoints(folder: Path) -> list[int]:
    """The epoch of each run's latest checkpoint, in the order of the jobs."""
    folders = sorted(path.parent for path in folder.rglob("downstream/history.csv"))
    return [max(int(at.name[5:10]) for at in run.glob("checkpoints/*.ckpt")) for run in folders]


def test_an_array_gives_the_results_of_the_basic_launcher(
    cluster, start_sweep, finish, runs, results, basic, make_store, tmp_path
):
    """Two tasks of two jobs each."""
    uri = make_store(tmp_path)
    output = finish(start_sweep(tmp_path, *SLURM[:3], "hydra.launcher.jobs_per_task=2"))
    assert "4 jobs in 2 tasks" in output
    assert "4 of 4 jobs finished" in output
    assert "sacct" not in output
    assert len(workers(tmp_path)) == 2
    (parent,) = runs("sweep")
    assert parent.info.status == "FINISHED"
    children = runs("pretext") + runs("downstream")
    assert len(children) == 5
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert results(uri) == basic


def test_a_job_that_slurm_requeues_resumes_by_itself(cluster, start, finish, runs, tmp_path):
    """First as `scontrol requeue` does it, then because its node goes down without a warning."""
    pretext = ("pretext.schedule.batch_size=4", "pretext.schedule.epochs=4", "checkpoint.every=1")
    process = start("+experiment=rotation", "dataset.train_size=96", "seed=0", *pretext)
    wait_for(lambda: epochs(tmp_path, "pretext") > [0])
    cluster("scontrol", "requeue", job_id(process))
    (first,) = workers(tmp_path)
    wait_for(lambda: len(workers(tmp_path)) == 2 and epochs(tmp_path, "downstream") > [0])
    (second,) = workers(tmp_path) - {first}
    node = cluster("sinfo", "--noheader", "--format=%n").strip()
    cluster("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    os.kill(second, signal.SIGKILL)
    assert "1 of 1 jobs finished" in finish(process)
    assert len(workers(tmp_path)) == 3
    for phase in ("pretext", "downstream"):
        assert [run.info.status for run in runs(phase)] == ["FINISHED"]
    assert epochs(tmp_path, "pretext") == [4]


def test_submit_and_leave_then_resume_and_press_ctrl_c(cluster, start, finish, runs, tmp_path):
    """One job gets SLURM's warning before its time limit, the other one is canceled."""
    jobs = (*LONG, "dataset.labels_per_class=5,6", "schedule.epochs=10000")
    process = start(*jobs, "hydra.launcher.signal_delay_s=30", "hydra.launcher.wait=false")
    assert "closes the sweep once all jobs have ended" in finish(process)
    wait_for(lambda: len(epochs(tmp_path, "downstream")) == 2)
    Tracker("ssl_rot", f"sqlite:///{tmp_path}/mlflow.db").close_dead()
    assert [run.info.status for run in runs("sweep")] == ["RUNNING"]
    assert "is still running" in finish(start(*jobs, "resume=true"), expect=2)
    cluster("scancel", f"{job_id(process)}_1")
    # SLURM looks at the limits every 30 s, and warns in the first look that is near enough.
    elapsed = cluster("squeue", "--noheader", "--format=%M", "--job", f"{job_id(process)}_0")
    minutes, seconds = map(int, elapsed.split(":"))
    limit = minutes + (1 if seconds < 20 else 2)
    cluster("scontrol", "update", f"JobId={job_id(process)}_0", f"TimeLimit={limit}")
    wait_for(lambda: runs("sweep")[0].info.status != "RUNNING")
    assert [run.info.status for run in runs("sweep")] == ["FAILED"]
    jobs_of = {run.data.tags["ssl_rot.job"]: run for run in runs("downstream")}
    assert {run.info.status for run in jobs_of.values()} == {"KILLED"}
    errors = [jobs_of[number].data.tags["ssl_rot.error"] for number in ("0", "1")]
    assert errors == [f"Interrupted: stopped by SIG{name}" for name in ("USR2", "TERM")]
    interrupted = epochs(tmp_path, "downstream")
    assert checkpoints(tmp_path) == interrupted
    table = pd.read_csv(next(tmp_path.rglob("jobs.csv")))
    assert table["status"].tolist() == ["KILLED", "KILLED"]
    printed = [path.read_text() for path in tmp_path.rglob("*_log.out")]
    assert sum("0 of 2 jobs finished" in text for text in printed) == 1

    process = start(*jobs, "hydra.launcher.jobs_per_task=1", "resume=true")
    wait_for(lambda: all(map(int.__gt__, epochs(tmp_path, "downstream"), interrupted)))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not cluster("squeue", "--noheader", "--states=PENDING,RUNNING")
    assert [run.info.status for run in runs("sweep") + runs("downstream")] == ["KILLED"] * 3
    assert checkpoints(tmp_path) == epochs(tmp_path, "downstream")
