"""What ``resume=true`` takes, and what it leaves to others."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from filelock import FileLock, Timeout

from ssl_rot.run import run
from ssl_rot.tracking import RunLog, Tracker

TINY = (
    *("dataset.image_size=8", "dataset.train_size=96", "dataset.labels_per_class=3"),
    *("model.widths=[8,16]", "model.blocks=[1,1]", "precision=fp32"),
    "dataset.augment.crop_padding=0",
    *("schedule.epochs=2", "schedule.batch_size=16", "pretext.schedule.epochs=1", "floors=false"),
)


def test_jobs_that_resume_unshared_pretrainings_do_not_wait_for_each_other(
    run_job, compose, choices, make_store, all_runs, monkeypatch, tmp_path
):
    args = ("+experiment=rotation", "pretext.reuse=false")
    uri = make_store(tmp_path)
    epoch = RunLog.epoch

    def stop(log, *args):
        epoch(log, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run_job(tmp_path, *args)

    # Both look for the interrupted pre-training before either takes it, if they can.
    both = threading.Barrier(2, timeout=5)
    resumable = Tracker.resumable
    is_free = []

    def look(tracker, phase, *key):
        found = resumable(tracker, phase, *key)
        with suppress(threading.BrokenBarrierError):
            both.wait() if phase == "pretext" else None
        return found

    def train(log, *args):
        try:
            with FileLock(tmp_path / ".mlflow.db.locks" / "dead.lock", timeout=3):
                is_free.append(True)
        except Timeout:
            is_free.append(False)
        epoch(log, *args)

    monkeypatch.setattr(Tracker, "resumable", look)
    monkeypatch.setattr(RunLog, "epoch", train)
    jobs = []
    for number in range(2):
        overrides = (
            *args,
            *TINY,
            f"tracking.uri={uri}",
            "resume=true",
            f"schedule.lr=0.0{number + 4}",
        )
        cfg = compose(*overrides)
        job = (cfg, choices(*overrides), tmp_path / f"resumed{number}")
        jobs.append(threading.Thread(target=run, args=job))
        jobs[-1].start()
    for thread in jobs:
        thread.join()
    assert all(is_free)
    phases = sorted(r.data.tags["ssl_rot.phase"] for r in all_runs(uri))
    assert phases == ["downstream"] * 2 + ["pretext"] * 2
    assert {r.info.status for r in all_runs(uri)} == {"FINISHED"}
