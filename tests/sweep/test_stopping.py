"""Sweeps and jobs that are asked to stop: none loses its current epoch."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.warm import Process

# Long epochs; no checkpoint except at the end.
LONG = (
    *("+experiment=supervised", "schedule.batch_size=1"),
    *("dataset.image_size=8", "model.widths=[8,16]", "model.blocks=[1,1]", "precision=fp32"),
    *("schedule.epochs=4", "checkpoint.every=100"),
)


@pytest.fixture
def start(start_multirun) -> Callable[..., Process]:
    """Starts a sweep of jobs with long epochs, two at once."""
    return lambda folder, *overrides: start_multirun(folder, *LONG, *overrides)


def epochs(folder: Path) -> dict[Path, int]:
    """How many epochs each job has finished, by the folder of its run."""
    return {
        path.parent: len(path.read_text().splitlines()) - 1
        for path in folder.rglob("downstream/history.csv")
    }


def in_training(folder: Path, jobs: int) -> dict[Path, int]:
    """Waits until ``jobs`` jobs have finished an epoch; returns how many each has finished."""
    deadline = time.monotonic() + 120
    while len(found := {run: n for run, n in epochs(folder).items() if n > 0}) < jobs:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def kept(run: Path) -> int:
    """The epoch of a run's latest checkpoint."""
    names = sorted(path.name for path in run.glob("checkpoints/epoch*.ckpt"))
    return int(names[-1][5:10]) if names else 0


LAUNCHERS = {
    "basic": (None, 1),
    "parallel": (None, 2),
    "parallel_ray": ("hydra_plugins.hydra_ray_launcher", 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ctrl_c_in_a_terminal_costs_no_running_job_its_epoch(
    start, runs_of_phase, make_store, tmp_path, launcher
):
    """The terminal signals every process; one job ends its epoch long before the other."""
    package, at_once = LAUNCHERS[launcher]
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    uri = make_store(tmp_path)
    args = [f"hydra/launcher={launcher}", "dataset.labels_per_class=5,50", "schedule.epochs=10000"]
    args += ["hydra.launcher.slots=2"] if launcher == "parallel" else []
    process = start(tmp_path, *args)
    before = in_training(tmp_path, at_once)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert [run.info.status for run in runs_of_phase(uri, "sweep")] == ["KILLED"]
    jobs = runs_of_phase(uri, "downstream")
    assert [run.info.status for run in jobs] == ["KILLED"] * at_once
    for run in jobs:
        assert run.data.tags["ssl_rot.error"].startswith("Interrupted: stopped by SIG")
    after = epochs(tmp_path)
    assert after.keys() == before.keys()
    for run, done in after.items():
        assert kept(run) == done >= before[run]


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait_for_the_epoch_to_end(
    start, make_store, runs_of_phase, tmp_path
):
    uri = make_store(tmp_path)
    args = ["dataset.labels_per_class=100", "schedule.epochs=10000"]
    process = start(tmp_path, "hydra/launcher=parallel", *args)
    before = in_training(tmp_path, 1)
    for _ in range(2):  # both in the second epoch
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert {run.info.status for run in runs_of_phase(uri, "sweep")} == {"KILLED"}
    # The sweep waits ten seconds for it; on a machine that is short of processors it may take more.
    deadline = time.monotonic() + 60
    while {run.info.status for run in runs_of_phase(uri, "downstream")} != {"KILLED"}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert epochs(tmp_path) == before
    assert [kept(run) for run in before] == [0]


@pytest.mark.slow
def test_slurms_warning_leaves_a_checkpoint_to_resume_from(
    start, runs_of_phase, finish, make_store, tmp_path
):
    """The signal that SLURM sends to jobs of submitit, sent to one whose process is known."""
    uri = make_store(tmp_path)
    process = start(tmp_path, "hydra/launcher=parallel", "dataset.labels_per_class=20")
    in_training(tmp_path, 1)
    (lock,) = tmp_path.rglob(".workers/*.pid")
    os.kill(int(lock.stem.rpartition("-")[2]), signal.SIGUSR2)
    finish(process, expect=1)
    (run,) = runs_of_phase(uri, "downstream")
    assert run.info.status == "KILLED"
    assert "SIGUSR2" in run.data.tags["ssl_rot.error"]
    ((folder, done),) = epochs(tmp_path).items()
    assert kept(folder) == done < 4

    finish(start(tmp_path, "hydra/launcher=parallel", "dataset.labels_per_class=20", "resume=true"))
    (again,) = runs_of_phase(uri, "downstream")
    assert again.info.run_id == run.info.run_id
    assert again.info.status == "FINISHED"
    assert epochs(tmp_path) == {folder: 4}


@pytest.mark.slow
def test_jobs_that_outlive_their_sweep_are_waited_for_and_not_trained_twice(
    start, make_store, runs_of_phase, tmp_path
):
    uri = make_store(tmp_path)
    args = ("hydra/launcher=parallel", "hydra.launcher.slots=2", "seed=0,1,2")
    args += ("dataset.labels_per_class=50", "schedule.epochs=30")
    process = start(tmp_path, *args)
    before = in_training(tmp_path, 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    orphans = {run.info.run_id for run in runs_of_phase(uri, "downstream")}
    assert all(done < 30 for done in before.values())
    process = start(tmp_path, *args, "resume=true")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert "Waiting for jobs that a killed sweep left running" in output
    jobs = runs_of_phase(uri, "downstream")
    assert [run.info.status for run in jobs] == ["FINISHED"] * 3
    assert len(orphans) == 2
    assert orphans < {run.info.run_id for run in jobs}
