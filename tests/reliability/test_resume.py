"""What ``resume=true`` takes, and what it leaves alone."""

from __future__ import annotations

import shutil

import pytest

from ssl_rot import stages
from ssl_rot.tracking import RunLog

PARENT = "mlflow.parentRunId"
TINY = (
    *("dataset.image_size=8", "dataset.train_size=96", "dataset.labels_per_class=3"),
    *("model.widths=[4,8]", "model.blocks=[1,1]", "precision=fp32"),
    *("schedule.epochs=2", "schedule.batch_size=16", "pretext.schedule.epochs=1"),
)


def downstream(runs):
    return [run for run in runs if run.data.tags["ssl_rot.phase"] == "downstream"]


def stop_after_first_epoch(monkeypatch):
    """The next downstream phase is stopped as by Ctrl-C, its first epoch kept."""
    record = RunLog.epoch

    def stopping(self, number, values):
        record(self, number, values)
        if self.record.prefix == "":
            raise KeyboardInterrupt

    monkeypatch.setattr(RunLog, "epoch", stopping)


def test_another_experiment_trains_its_own(run_job, tmp_path):
    run_job(tmp_path, "+experiment=rotation")
    other = run_job(tmp_path, "+experiment=rotation", "tracking.experiment_name=o", "resume=true")
    assert "downstream" in other.runs
    assert "pretext" not in other.runs  # weights are shared by the whole store


def test_the_total_counts_the_pretext_of_a_finished_run(run_job, tmp_path):
    first = run_job(tmp_path, "+experiment=rotation")
    again = run_job(tmp_path, "+experiment=rotation", "resume=true")
    assert not again.runs
    total = [line for line in first.output.splitlines() if line.startswith("  total")]
    assert total == [line for line in again.output.splitlines() if line.startswith("  total")]
    assert total


def test_a_sweep_takes_up_a_run_that_was_stopped_alone(
    run_job, call_main, make_store, all_runs, tmp_path, monkeypatch
):
    uri = make_store(tmp_path)
    with monkeypatch.context() as patch:
        stop_after_first_epoch(patch)
        with pytest.raises(KeyboardInterrupt):
            run_job(tmp_path, "+experiment=rotation")
    (stopped,) = downstream(all_runs(uri))
    assert stopped.info.status == "KILLED"
    args = ("+experiment=rotation,supervised", f"tracking.uri={uri}", "resume=true")
    status, output = call_main("--multirun", *TINY, *args)
    assert status == 0, output
    runs = all_runs(uri)
    (parent,) = [run for run in runs if run.data.tags["ssl_rot.phase"] == "sweep"]
    assert len(downstream(runs)) == 2
    assert {run.data.tags[PARENT] for run in downstream(runs)} == {parent.info.run_id}
    assert stopped.info.run_id in {run.info.run_id for run in downstream(runs)}


def test_params_that_a_stop_kept_back_are_sent(
    run_job, all_runs, make_store, tmp_path, monkeypatch
):
    uri = make_store(tmp_path)

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ssl_rot.tracking.run_log.Param", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_job(tmp_path, "+experiment=supervised")
    run_job(tmp_path, "+experiment=supervised", "resume=true")
    (run,) = all_runs(uri)
    assert run.info.status == "FINISHED"
    assert run.data.params["schedule.epochs"] == "2"


def test_pretext_weights_that_are_gone_are_trained_again(run_job, tmp_path):
    first = run_job(tmp_path, "+experiment=rotation")
    shutil.rmtree(first.runs["pretext"].info.artifact_uri.removeprefix("file://"))
    again = run_job(tmp_path, "+experiment=rotation", "dataset.labels_per_class=2")
    assert set(again.runs) == {"pretext", "downstream"}


def test_a_finished_pretext_is_not_trained_again_even_without_reuse(
    run_job, all_runs, make_store, tmp_path, monkeypatch
):
    uri = make_store(tmp_path)
    with monkeypatch.context() as patch:
        stop_after_first_epoch(patch)
        with pytest.raises(KeyboardInterrupt):
            run_job(tmp_path, "+experiment=rotation", "pretext.reuse=false")
    run_job(tmp_path, "+experiment=rotation", "pretext.reuse=false", "resume=true")
    phases = [run.data.tags["ssl_rot.phase"] for run in all_runs(uri)]
    assert sorted(phases) == ["downstream", "pretext"]


def test_checkpoints_go_when_the_run_is_finished(run_job, tmp_path):
    run_job(tmp_path, "+experiment=supervised", "checkpoint.every=1")
    assert not [*tmp_path.rglob("*.ckpt")]
    run_job(
        tmp_path, "+experiment=supervised", "checkpoint.every=1", "checkpoint.keep=null", "seed=1"
    )
    assert len([*tmp_path.rglob("*.ckpt")]) == 2


def test_the_commit_is_ours_whatever_script_was_started(monkeypatch):
    monkeypatch.setattr(stages, "get_git_commit", lambda path: f"commit of {path}")
    versions = stages._versions()
    if "mlflow.source.git.commit" in versions:  # run from a checkout
        assert versions["mlflow.source.git.commit"] == f"commit of {stages.ssl_rot.__file__}"
