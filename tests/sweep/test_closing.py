"""However a sweep ends, its run in MLflow ends with it, and says how."""

from __future__ import annotations

import os
import signal

import pytest

from ssl_rot.errors import TrackingError
from ssl_rot.sweep import parent_run

TINY = (
    *("--multirun", "hydra/launcher=basic", "+experiment=supervised", "dataset.image_size=8"),
    *("dataset.train_size=32", "dataset.labels_per_class=2", "model.widths=[4]"),
    *("model.blocks=[1]", "schedule.epochs=1", "floors=false"),
)


@pytest.fixture
def sweep(call_main, make_store, tmp_path):
    """``sweep("seed=0,1")``: a sweep of tiny runs in this process; exit status and output."""
    make_store(tmp_path)
    return lambda *args: call_main(*TINY, *args)


@pytest.fixture
def how_it_ended(all_runs, tmp_path):
    """The status of the only sweep's run, and its error."""

    def look() -> tuple[str, str | None]:
        runs = all_runs(f"sqlite:///{tmp_path}/mlflow.db")
        (run,) = (run for run in runs if run.data.tags["ssl_rot.phase"] == "sweep")
        return run.info.status, run.data.tags.get("ssl_rot.error")

    return look


def interrupt(*args: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_while_the_table_of_jobs_is_recorded(sweep, how_it_ended, monkeypatch, presses):
    monkeypatch.setattr(parent_run, "record_job_table", interrupt)
    if presses == 2:
        monkeypatch.setattr("ssl_rot.run.run", interrupt)
    status, output = sweep()
    assert status == 130
    assert "Interrupted. Run the same command with resume=true" in output
    assert how_it_ended() == ("KILLED", "Interrupted: stopped by SIGINT")


def test_ctrl_c_on_a_full_disk_is_ctrl_c(sweep, how_it_ended, monkeypatch, tmp_path):
    def interrupt_on_a_full_disk(*args: object) -> None:
        (tmp_path / "here" / "run.json.tmp").mkdir()  # the record cannot be written
        interrupt()

    monkeypatch.setattr(parent_run, "record_job_table", interrupt_on_a_full_disk)
    status, output = sweep("hydra.sweep.dir=here")
    assert status == 130
    assert "Traceback" not in output
    assert how_it_ended() == ("KILLED", "Interrupted: stopped by SIGINT")


def test_ctrl_c_while_mlflow_is_away_is_no_traceback(sweep, how_it_ended, monkeypatch):
    def fail(*args: object) -> None:
        raise TrackingError("MLflow is away")

    monkeypatch.setattr("ssl_rot.run.run", interrupt)
    monkeypatch.setattr(parent_run, "record_job_table", fail)
    status, output = sweep()
    assert status == 130
    assert "The table of jobs could not be recorded: MLflow is away" in output
    assert "Traceback" not in output
    assert how_it_ended() == ("FAILED", "TrackingError: MLflow is away")


def test_a_sweep_that_cannot_be_opened(sweep, how_it_ended, tmp_path):
    """The disk is full, for example, once its run has started."""
    (tmp_path / "here" / "sweep.json").mkdir(parents=True)
    status, output = sweep("hydra.sweep.dir=here")
    assert status == 2
    assert "sweep.json cannot be written: Is a directory" in output
    status, error = how_it_ended()
    assert status == "FAILED"
    assert error.startswith("StorageError: ")
