"""The same sweep with every launcher: same results, one parent, nothing lost."""

from __future__ import annotations

import importlib.util
import os
import signal
import time

import pytest

LAUNCHERS = {
    "parallel": (None, ["hydra.launcher.slots=4"]),
    "parallel_ray": ("hydra_plugins.hydra_ray_launcher", ["hydra.launcher.ray.init.num_cpus=4"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_gives_the_results_of_the_basic_one(
    start_sweep, finish, runs_of_phase, results, basic, launcher, tmp_path
):
    """The database does not exist yet, and four jobs start at once."""
    package, four_at_once = LAUNCHERS[launcher]
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    finish(start_sweep(tmp_path, f"hydra/launcher={launcher}", *four_at_once))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (parent,) = runs_of_phase(uri, "sweep")
    assert parent.info.status == "FINISHED"
    children = runs_of_phase(uri, "pretext") + runs_of_phase(uri, "downstream")
    assert len(children) == 5  # one pre-training for all
    for run in children:
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.experiment_id == parent.info.experiment_id
    assert results(uri) == basic


def worker(folder) -> int:
    """The process id of one of the sweep's workers, once there is one."""
    deadline = time.monotonic() + 120
    while not (found := [*folder.rglob(".workers/*.pid")]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(found[0].stem.rpartition("-")[2])


@pytest.mark.slow
def test_a_killed_worker_affects_no_other_job_and_resume_runs_its_job_again(
    start_sweep, finish, runs_of_phase, results, basic, make_store, tmp_path
):
    uri = make_store(tmp_path)
    process = start_sweep(tmp_path, "hydra/launcher=parallel")
    os.kill(worker(tmp_path), signal.SIGKILL)
    assert "3 of 4 jobs finished" in finish(process, expect=1)
    assert [run.info.status for run in runs_of_phase(uri, "sweep")] == ["FAILED"]
    finished = {
        run.info.run_id: run.info.end_time
        for run in runs_of_phase(uri, "downstream")
        if run.info.status == "FINISHED"
    }
    assert len(finished) == 3

    assert "3 finished earlier, 1 to train" in finish(start_sweep(tmp_path, "resume=true"))
    ended = {run.info.run_id: run.info.end_time for run in runs_of_phase(uri, "downstream")}
    assert finished.items() <= ended.items()
    for phase in ("sweep", "pretext", "downstream"):
        assert "RUNNING" not in {run.info.status for run in runs_of_phase(uri, phase)}
    assert results(uri) == basic


@pytest.mark.slow
def test_a_job_whose_worker_ray_lost_is_run_again(
    start_sweep, finish, runs_of_phase, results, basic, make_store, tmp_path
):
    package, _ = LAUNCHERS["parallel_ray"]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    uri = make_store(tmp_path)
    process = start_sweep(tmp_path, "hydra/launcher=parallel_ray")
    os.kill(worker(tmp_path), signal.SIGKILL)
    finish(process)
    assert [run.info.status for run in runs_of_phase(uri, "sweep")] == ["FINISHED"]
    assert results(uri) == basic


@pytest.mark.slow
def test_ctrl_c_stops_jobs_that_a_launcher_would_leave_running(
    start_sweep, runs_of_phase, make_store, tmp_path
):
    uri = make_store(tmp_path)
    process = start_sweep(tmp_path, "hydra/launcher=parallel", "schedule.epochs=100000")
    first = worker(tmp_path)
    deadline = time.monotonic() + 120
    while not runs_of_phase(uri, "downstream"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)  # only to the sweep, not to its workers
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert [run.info.status for run in runs_of_phase(uri, "sweep")] == ["KILLED"]
    assert {run.info.status for run in runs_of_phase(uri, "downstream")} == {"KILLED"}
