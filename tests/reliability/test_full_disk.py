"""A disk that is full, for real: at a checkpoint, at MLflow's artifacts and at its database."""

from __future__ import annotations

import os
import subprocess

import pytest

from ssl_rot.tracking import tracker

TINY = (
    *("+experiment=supervised", "dataset.image_size=8", "dataset.train_size=96"),
    *("dataset.labels_per_class=3", "model.widths=[8,16]", "model.blocks=[1,1]", "precision=fp32"),
    "dataset.augment.crop_padding=0",
    *("schedule.epochs=6", "schedule.batch_size=16", "checkpoint.every=1", "floors=false"),
)


class Disk:
    """A small disk of its own."""

    def __init__(self, path):
        self.path, self.ballast = path, path / "ballast"

    def fill(self, leave=0):
        with self.ballast.open("ab") as file:
            file.truncate(0)
            free = os.statvfs(self.path)
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_bsize - leave)

    def empty(self):
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path):
    """Makes small disks: ``disk("mlruns")`` under ``tmp_path``."""
    made = []

    def make(name):
        path = tmp_path / name
        path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("only root may mount a small disk")
        made.append(path)
        return Disk(path)

    yield make
    for path in made:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def whole(run_job, points, make_store, tmp_path_factory):
    """The points of a run that met with nothing."""
    folder = tmp_path_factory.mktemp("whole")
    run = run_job(folder, *TINY).runs["downstream"]
    return points(make_store(folder), run.info.run_id)


def test_at_a_checkpoint(call_main, make_store, all_runs, points, whole, disk, tmp_path):
    uri, small = make_store(tmp_path), disk("run")
    # Every checkpoint is kept, and there is room for some of them.
    args = (*TINY, "checkpoint.keep=null", f"hydra.run.dir={small.path}")
    small.fill(leave=150_000)
    status, output = call_main(*args)
    assert status == 2, output
    assert "cannot be written: No space left on device" in output
    assert "resume=true" in output
    assert "Traceback" not in output
    (run,) = all_runs(uri)
    assert run.info.status == "FAILED"
    assert [*small.path.rglob("*.ckpt")]

    small.empty()
    status, output = call_main(*args, "resume=true")
    assert status == 0, output
    (again,) = all_runs(uri)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert points(uri, run.info.run_id) == whole


@pytest.mark.parametrize("full", ["artifacts", "database"])
def test_at_mlflow(
    call_main,
    make_store,
    all_runs,
    points,
    whole,
    disk,
    at_epoch,
    sync_command,
    call_sync,
    monkeypatch,
    tmp_path,
    full,
):
    """As an outage: training goes on, and all of it is sent when there is room."""
    monkeypatch.setattr(tracker, "PATIENCE", 1.0)
    small = disk("mlruns" if full == "artifacts" else "store")
    uri = make_store(tmp_path if full == "artifacts" else small.path)
    at_epoch("downstream", 3, small.fill)
    status, output = call_main(*TINY, f"tracking.uri={uri}")
    assert status == 2, output
    assert "Nothing is lost" in output
    assert "Traceback" not in output

    small.empty()
    assert call_sync(sync_command(output))[0] == 0
    (run,) = all_runs(uri)
    assert run.info.status == "FINISHED"
    assert points(uri, run.info.run_id) == whole
