"""The folder of a sweep."""

from __future__ import annotations

import pytest

from ssl_rot.sweep import worker_locks

TINY = (
    *("--multirun", "hydra/launcher=basic", "+experiment=supervised"),
    *("dataset.image_size=8", "dataset.train_size=32"),
    *("dataset.labels_per_class=2", "model.widths=[4]", "model.blocks=[1]", "schedule.epochs=1"),
)


@pytest.fixture
def sweep(call_main, make_store, tmp_path):
    """``sweep("seed=0,1")``: a sweep of tiny runs in this process; exit status and output."""
    make_store(tmp_path)
    return lambda *args: call_main(*TINY, *args)


def test_a_sweep_in_the_folder_of_a_running_one_is_refused(sweep, all_runs, tmp_path):
    """As happens to two that start in the same second."""
    with worker_locks.claim_folder(tmp_path / "same"):
        status, output = sweep("hydra.sweep.dir=same")
    assert status == 2
    assert f"another sweep is running in hydra.sweep.dir={tmp_path}/same" in output
    assert "Traceback" not in output
    assert not all_runs(f"sqlite:///{tmp_path}/mlflow.db")
    assert sweep("hydra.sweep.dir=same")[0] == 0


def test_a_folder_that_cannot_be_written_to_is_reported(sweep, all_runs, tmp_path):
    (tmp_path / "file").touch()
    status, output = sweep("hydra.sweep.dir=file/sweep")
    assert status == 2
    assert f"hydra.sweep.dir={tmp_path}/file/sweep cannot be written to" in output
    assert "Traceback" not in output
    assert not all_runs(f"sqlite:///{tmp_path}/mlflow.db")
