"""What ``resume=true`` takes, and what it leaves alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

import ssl_rot
from ssl_rot import files
from ssl_rot.errors import StorageError
from ssl_rot.tracking import RunLog, versions

PARENT = "mlflow.parentRunId"
TINY = (
    *("dataset.image_size=8", "dataset.train_size=96", "dataset.labels_per_class=3"),
    *("model.widths=[8,16]", "model.blocks=[1,1]", "precision=fp32"),
    "dataset.augment.crop_padding=0",
    *("schedule.epochs=2", "schedule.batch_size=16", "pretext.schedule.epochs=1", "floors=false"),
)


def downstream(runs):
    return [run for run in runs if run.data.tags["ssl_rot.phase"] == "downstream"]


def stop_after_first_epoch(monkeypatch, prefix=""):
    """The next downstream (``pretext/``) phase is stopped as by Ctrl-C, its first epoch kept."""
    record = RunLog.epoch

    def stopping(self, number, values):
        record(self, number, values)
        if self.record.prefix == prefix:
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
        patch.setattr("ssl_rot.tracking.run_sender.Param", stopped)
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


@pytest.mark.parametrize("name", ["weights.safetensors", "history.csv"])
def test_pretext_artifacts_that_are_damaged_are_trained_again(run_job, caplog, tmp_path, name):
    first = run_job(tmp_path, "+experiment=rotation")
    info = first.runs["pretext"].info
    path = Path(info.artifact_uri.removeprefix("file://")) / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    again = run_job(tmp_path, "+experiment=rotation", "schedule.lr=0.01")
    assert (
        f"pretext of run {info.run_id} is missing or damaged, so it is trained again" in caplog.text
    )
    assert again.runs.keys() == {"pretext", "downstream"}
    (third,) = run_job(tmp_path, "+experiment=rotation", "schedule.lr=0.02").runs.values()
    assert third.data.tags["ssl_rot.pretext_run_id"] == again.runs["pretext"].info.run_id


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


def test_without_reuse_a_resume_takes_no_older_pretext(
    run_job, all_runs, make_store, tmp_path, monkeypatch
):
    uri = make_store(tmp_path)
    run_job(tmp_path, "+experiment=rotation")
    again = ("+experiment=rotation", "pretext.reuse=false", "schedule.lr=0.01")
    with monkeypatch.context() as patch:
        stop_after_first_epoch(patch, "pretext/")
        with pytest.raises(KeyboardInterrupt):
            run_job(tmp_path, *again)
    run_job(tmp_path, *again, "resume=true")
    phases = [run.data.tags["ssl_rot.phase"] for run in all_runs(uri)]
    assert sorted(phases) == ["downstream", "downstream", "pretext", "pretext"]
    assert {run.info.status for run in all_runs(uri)} == {"FINISHED"}


@pytest.mark.parametrize("phase", ["pretext", "downstream"])
def test_a_finished_run_whose_artifacts_are_gone_is_skipped(run_job, all_runs, tmp_path, phase):
    first = run_job(tmp_path, "+experiment=rotation")
    shutil.rmtree(first.runs[phase].info.artifact_uri.removeprefix("file://"))
    again = run_job(tmp_path, "+experiment=rotation", "resume=true")
    assert again.runs == {}
    assert again.value == first.value


def test_a_run_without_its_folder_is_left_alone(run_job, all_runs, make_store, tmp_path):
    """Containers and copies of a machine have its name, and not its folders."""
    client = MlflowClient(make_store(tmp_path))
    other = run_job(tmp_path, "+experiment=supervised").runs["downstream"].info.run_id
    client.set_tag(other, "ssl_rot.folder", str(tmp_path / "elsewhere"))
    client.set_tag(other, "ssl_rot.relative_folder", "elsewhere")
    client.update_run(other, status="RUNNING")
    run_job(tmp_path, "+experiment=supervised", "seed=1")
    assert client.get_run(other).info.status == "RUNNING"
    (tmp_path / "elsewhere").mkdir()
    run_job(tmp_path, "+experiment=supervised", "seed=2")
    assert client.get_run(other).info.status == "KILLED"


def test_checkpoints_go_when_the_run_is_finished(run_job, tmp_path):
    run_job(tmp_path, "+experiment=supervised", "checkpoint.every=1")
    assert not [*tmp_path.rglob("*.ckpt")]
    run_job(
        tmp_path, "+experiment=supervised", "checkpoint.every=1", "checkpoint.keep=null", "seed=1"
    )
    assert len([*tmp_path.rglob("*.ckpt")]) == 2


def test_the_commit_is_the_packages_whatever_script_was_started(run_job, monkeypatch, tmp_path):
    monkeypatch.setattr(versions, "get_git_commit", lambda path: f"commit of {path}")
    run = run_job(tmp_path, "+experiment=supervised").runs["downstream"]
    assert run.data.tags["mlflow.source.git.commit"] == f"commit of {ssl_rot.__file__}"


def interrupted(run_job, monkeypatch, tmp_path, *overrides):
    with monkeypatch.context() as patch:
        stop_after_first_epoch(patch)
        with pytest.raises(KeyboardInterrupt):
            run_job(tmp_path, "+experiment=supervised", *overrides)


def test_a_changed_config_in_the_same_folder_is_refused_by_its_keys(
    call_main, make_store, all_runs, monkeypatch, tmp_path
):
    uri = make_store(tmp_path)
    args = ("+experiment=supervised", *TINY, f"tracking.uri={uri}", "hydra.run.dir=same")
    with monkeypatch.context() as patch:
        stop_after_first_epoch(patch)
        assert call_main(*args)[0] == 130
    status, output = call_main(*args, "resume=true", "schedule.lr=0.02", "head=mlp")
    assert status == 2
    assert "schedule.lr was 0.05, is 0.02" in output
    assert "head was linear, is mlp" in output
    assert "Traceback" not in output
    assert len(all_runs(uri)) == 1
    status, output = call_main(*args, "resume=true")
    assert status == 0, output
    (run,) = all_runs(uri)
    assert run.info.status == "FINISHED"


def test_elsewhere_the_nearest_interrupted_run_is_named(
    run_job, make_store, all_runs, monkeypatch, caplog, tmp_path
):
    interrupted(run_job, monkeypatch, tmp_path)
    interrupted(run_job, monkeypatch, tmp_path, "seed=1", "schedule.lr=0.5")
    run_job(tmp_path, "+experiment=supervised", "seed=2", "resume=true")
    (message,) = [r.getMessage() for r in caplog.records if "resume=true" in r.getMessage()]
    assert "so a new one starts" in message
    assert "  - seed was 0, is 2" in message
    assert "schedule" not in message
    assert len(all_runs(make_store(tmp_path))) == 3


def test_a_renamed_machine_resumes_its_runs(run_job, make_store, all_runs, monkeypatch, tmp_path):
    interrupted(run_job, monkeypatch, tmp_path)
    monkeypatch.setattr("socket.gethostname", lambda: "renamed")
    monkeypatch.setattr("ssl_rot.tracking.heartbeat._WATCH", 0.2)
    run_job(tmp_path, "+experiment=supervised", "resume=true")
    (run,) = all_runs(make_store(tmp_path))
    assert run.info.status == "FINISHED"
    assert run.data.tags["ssl_rot.host"] == "renamed"


def test_a_heartbeat_on_another_machine_is_noticed(tmp_path, monkeypatch):
    from ssl_rot.tracking import heartbeat

    monkeypatch.setattr(heartbeat, "HEARTBEAT", 0.1)
    monkeypatch.setattr(heartbeat, "_WATCH", 1.0)
    with heartbeat.heartbeat(tmp_path):
        assert heartbeat.is_alive(tmp_path, same_host=True)
        assert heartbeat._beats(tmp_path / "running.lock")  # as where locks are not shared
    assert not heartbeat.is_alive(tmp_path, same_host=False)


def test_a_damaged_history_is_renamed_and_restored_from_the_checkpoint(
    run_job, make_store, all_runs, monkeypatch, tmp_path
):
    keep = ("checkpoint.every=1", "schedule.epochs=3")
    interrupted(run_job, monkeypatch, tmp_path, *keep)
    history = tmp_path / "job1" / "downstream" / "history.csv"
    history.write_bytes(b"\xff\xfe\n" + history.read_bytes())
    ran = run_job(tmp_path, "+experiment=supervised", *keep, "resume=true")
    (run,) = all_runs(make_store(tmp_path))
    assert run.info.status == "FINISHED"
    assert history.with_name("history.csv.damaged").exists()
    points = ran.client.get_metric_history(run.info.run_id, "train_loss")
    assert sorted(point.step for point in points) == [1, 2, 3]


def test_a_full_disk_is_reported_and_finished_work_is_kept(
    run_job, make_store, all_runs, monkeypatch, tmp_path
):
    original = files.write

    def full(path, content):
        if path.suffix == ".ckpt":
            raise StorageError(path, OSError(28, "No space left on device"))
        original(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        with pytest.raises(StorageError, match=r"No space left on device\. Once this is fixed"):
            run_job(tmp_path, "+experiment=supervised", "checkpoint.every=1")
    (run,) = all_runs(make_store(tmp_path))
    assert run.info.status == "FAILED"
    run_job(tmp_path, "+experiment=supervised", "checkpoint.every=1", "resume=true")
    (run,) = all_runs(make_store(tmp_path))
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("changed", ["compile=true", "device=cpu"])
def test_a_difference_in_the_arithmetic_is_named(
    call_main, make_store, monkeypatch, tmp_path, changed
):
    """Neither key is compared as such, but both can change what ``precision=auto`` comes to."""
    args = ("+experiment=supervised", *TINY, f"tracking.uri={make_store(tmp_path)}")
    same = (*args, "hydra.run.dir=same")
    monkeypatch.setattr("ssl_rot.training.compute._has_bf16", lambda device: device == "cuda")
    monkeypatch.setattr("torch.nn.Module.compile", lambda model: None)
    with monkeypatch.context() as patch:
        stop_after_first_epoch(patch)
        patch.setattr("ssl_rot.training.compute._has_bf16", lambda device: changed == "device=cpu")
        assert call_main(*same, "precision=auto")[0] == 130
    status, output = call_main(*same, "precision=auto", "resume=true", changed)
    assert status == 2
    key, _, value = changed.partition("=")
    assert f"  - {key} was {'false' if key == 'compile' else 'auto'}, is {value}" in output


def test_other_hardware_is_named_as_a_reason(call_main, make_store, monkeypatch, tmp_path):
    args = ("+experiment=supervised", *TINY, f"tracking.uri={make_store(tmp_path)}")
    args = (*args, "hydra.run.dir=same", "precision=auto")
    with monkeypatch.context() as patch:
        stop_after_first_epoch(patch)
        patch.setattr("ssl_rot.training.compute._has_bf16", lambda device: False)
        assert call_main(*args)[0] == 130
    monkeypatch.setattr("ssl_rot.training.compute._has_bf16", lambda device: True)
    status, output = call_main(*args, "resume=true")
    assert status == 2
    assert (
        "no key. One of these differs: what precision=auto resolves to on this hardware" in output
    )


def test_a_sweep_with_a_changed_config_does_not_resume_silently(
    call_main, make_store, all_runs, monkeypatch, tmp_path
):
    uri = make_store(tmp_path)
    basic = "hydra/launcher=basic"  # the runs are stopped in this process
    args = ("--multirun", basic, "+experiment=supervised", *TINY, f"tracking.uri={uri}", "seed=0,1")
    with monkeypatch.context() as patch:
        stop_after_first_epoch(patch)
        assert call_main(*args, "hydra.sweep.dir=first")[0] == 130
    before = len(all_runs(uri))
    changed = (*args, "resume=true", "schedule.lr=0.02")
    status, output = call_main(*changed, "hydra.sweep.dir=first")
    assert status == 2
    assert f"the interrupted run in {tmp_path}/first/0/downstream has another config" in output
    assert "  - schedule.lr was 0.05, is 0.02" in output
    assert "seed was" not in output  # of the jobs, the most similar one is compared
    assert "Traceback" not in output
    assert len(all_runs(uri)) == before
    status, output = call_main(*changed, "hydra.sweep.dir=second")
    assert status == 0, output
    assert "so a new one starts" in output
    assert "  - schedule.lr was 0.05, is 0.02" in output
    status, output = call_main(*args, "resume=true", "hydra.sweep.dir=first")
    assert status == 0, output
    assert "has another config" not in output
    assert "so a new one starts" not in output


def test_a_moved_project_resumes_where_it_was(
    call_main, make_store, all_runs, points, monkeypatch, tmp_path
):
    """After SIGKILL: RUNNING in a database that, like the checkpoints, is in another place now."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    make_store(old)
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "sqlite:///mlflow.db")
    args = ("+experiment=supervised", *TINY, "schedule.epochs=3", "checkpoint.every=1")
    epoch, trained = RunLog.epoch, []

    def train(log, number, values):
        trained.append(number)
        epoch(log, number, values)
        if trained == [1, 2]:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunLog, "epoch", train)
    assert call_main(*args, cwd=old)[0] == 130
    (run,) = all_runs(f"sqlite:///{old}/mlflow.db")
    MlflowClient(f"sqlite:///{old}/mlflow.db").update_run(run.info.run_id, status="RUNNING")
    old.rename(new)
    status, output = call_main(*args, "resume=true", cwd=new)
    assert status == 0, output
    assert trained == [1, 2, 2, 3]
    (resumed,) = all_runs(f"sqlite:///{new}/mlflow.db")
    assert (resumed.info.run_id, resumed.info.status) == (run.info.run_id, "FINISHED")
    assert resumed.data.tags["ssl_rot.folder"].startswith(str(new))
    steps = [step for name, step, _ in points(f"sqlite:///{new}/mlflow.db", run.info.run_id)
             if name == "train_loss"]  # fmt: skip
    assert steps == [1, 2, 3]
