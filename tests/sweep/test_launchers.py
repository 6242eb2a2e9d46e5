"""The same sweep on every launcher: same results, one parent, nothing lost."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mlflow
import pytest

ROOT = Path(__file__).resolve().parents[2]
SWEEP = (
    *("dataset.image_size=8", "dataset.train_size=96", "model.widths=[4,8]", "model.blocks=[1,1]"),
    *("schedule.epochs=2", "schedule.batch_size=16", "pretext.schedule.epochs=1"),
    *("+experiment=rotation,supervised", "dataset.labels_per_class=2,3"),
)
FOUR_AT_ONCE = {
    "parallel": [],  # SSL_ROT_SLOTS
    "parallel_joblib": ["hydra.launcher.n_jobs=4"],
    "parallel_ray": ["hydra.launcher.ray.init.num_cpus=4"],
}
PACKAGES = {
    "parallel": "hydra_plugins.hydra_submitit_launcher",
    "parallel_joblib": "hydra_plugins.hydra_joblib_launcher",
    "parallel_ray": "hydra_plugins.hydra_ray_launcher",
}


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ssl_rot.run", "--multirun", *SWEEP, *overrides],
        cwd=folder,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "SSL_ROT_SLOTS": "4"}
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], expect: int = 0) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == expect, output
    return output


def all_runs(folder: Path, phase: str) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    return client.search_runs(experiments, f"tags.`ssl_rot.phase` = '{phase}'")


def results(folder: Path) -> dict[str, list[tuple[str, int, float]]]:
    """Every point of every metric but for times, by config key, pretext runs included."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return {
        run.data.tags["ssl_rot.config_key"]: sorted(
            (name, point.step, point.value)
            for name in run.data.metrics
            if "second" not in name
            for point in client.get_metric_history(run.info.run_id, name)
        )
        for phase in ("pretext", "downstream")
        for run in all_runs(folder, phase)
    }


@pytest.fixture(scope="module")
def basic(tmp_path_factory) -> Path:
    """The folder of the sweep on Hydra's own launcher."""
    folder = tmp_path_factory.mktemp("basic")
    finish(start(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("launcher", FOUR_AT_ONCE)
def test_a_launcher_gives_what_basic_gives(basic, launcher, tmp_path):
    """From a missing database, with four jobs at once."""
    if importlib.util.find_spec(PACKAGES[launcher]) is None:
        pytest.skip(f"pip install {PACKAGES[launcher].partition('.')[2].replace('_', '-')}")
    finish(start(tmp_path, f"hydra/launcher={launcher}", *FOUR_AT_ONCE[launcher]))
    (parent,) = all_runs(tmp_path, "sweep")
    assert parent.info.status == "FINISHED"
    children = all_runs(tmp_path, "pretext") + all_runs(tmp_path, "downstream")
    assert len(children) == 5  # one pre-training for all
    for run in children:
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.experiment_id == parent.info.experiment_id
    assert results(tmp_path) == results(basic)


@pytest.mark.slow
def test_a_killed_worker_takes_no_other_job_with_it_and_resume_runs_it_again(
    basic, make_store, tmp_path
):
    make_store(tmp_path)
    process = start(tmp_path, "hydra/launcher=parallel")
    deadline = time.monotonic() + 120
    while not (workers := [*tmp_path.rglob(".workers/*.pid")]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(int(workers[0].stem), signal.SIGKILL)
    output = finish(process, expect=1)
    assert "3 of 4 jobs finished" in output
    (parent,) = all_runs(tmp_path, "sweep")
    assert parent.info.status == "FAILED"

    before = {run.info.run_id for run in all_runs(tmp_path, "downstream")
              if run.info.status == "FINISHED"}  # fmt: skip
    finish(start(tmp_path, "resume=true"))
    runs = all_runs(tmp_path, "downstream")
    assert Counter(run.info.status for run in runs if run.info.run_id in before) == {"FINISHED": 3}
    phases = [
        run for phase in ("sweep", "pretext", "downstream") for run in all_runs(tmp_path, phase)
    ]
    assert "RUNNING" not in {run.info.status for run in phases}
    assert {k: v for k, v in results(tmp_path).items() if v} == results(basic)
