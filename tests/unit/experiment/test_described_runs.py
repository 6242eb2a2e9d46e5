"""What MLflow's own columns and pages say of a run: its data, description, color, machine."""

from __future__ import annotations

import json
import shlex

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode
from mlflow.tracking import MlflowClient

from ssl_rot.experiment import recording
from ssl_rot.experiment.run_description import choose_color
from ssl_rot.sync import sync
from ssl_rot.tracking import Tag, Tracker
from ssl_rot.tracking.system_metrics import PREFIX


def data_of(run):
    """By context: name, digest and profile."""
    return {
        tag.value: (item.dataset.name, item.dataset.digest, json.loads(item.dataset.profile))
        for item in run.inputs.dataset_inputs
        for tag in item.tags
        if tag.key == "mlflow.data.context"
    }


def test_the_data_of_both_phases(rotation_run):
    downstream = data_of(rotation_run.runs["downstream"])
    assert {context: profile for context, (_, _, profile) in downstream.items()} == {
        "train": {"images": 30, "classes": 10, "labels_per_class": 3},
        "val": {"images": 144, "classes": 10},
        "test": {"images": 360, "classes": 10},
    }
    pretext = data_of(rotation_run.runs["pretext"])
    assert pretext.pop("pretext")[2] == {"images": 96, "classes": 10}
    assert pretext == {name: downstream[name] for name in ("val", "test")}
    assert {name for name, _, _ in downstream.values()} == {"digits"}


def test_a_digest_says_which_images_these_are(rotation_run, run_job, tmp_path):
    """The same ones have the same digest in every arm and budget, other ones another."""
    before = data_of(rotation_run.runs["downstream"])
    of = {}
    for changed in ("seed=0", "seed=1", "dataset.labels_per_class=2"):
        ran = run_job(tmp_path, "+experiment=supervised", "dataset.val_fraction=0.1", changed)
        of[changed] = data_of(ran.runs["downstream"])
    assert of["seed=0"] == before
    for changed, differ in (
        ("seed=1", {"train", "val"}),
        ("dataset.labels_per_class=2", {"train"}),
    ):
        assert {name for name in before if before[name][1] != of[changed][name][1]} == differ


def test_the_description_names_arm_labels_and_command(run_job, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["ssl-rot", "+experiment=rotation", "dataset.name=a b"])
    ran = run_job(tmp_path, "+experiment=rotation")
    note = ran.runs["downstream"].data.tags[Tag.NOTE]
    assert "weights of **rotation** on 30 labels of digits; seed 0" in note
    command = shlex.split(note.split("```")[1])
    assert command == ["python", "-m", "ssl_rot.run", "+experiment=rotation", "dataset.name=a b"]
    assert "on 96 images of digits, without labels" in ran.runs["pretext"].data.tags[Tag.NOTE]
    assert ran.runs["pretext"].info.run_name == "pretext-rotation-digits-seed0"
    assert ran.runs["downstream"].info.run_name == "rotation-digits-3labels-seed0"


@pytest.mark.parametrize(("budget", "said"), [("1", "1label"), ("null", "all-labels")])
def test_the_name_of_a_run_says_its_budget(run_job, tmp_path, budget, said):
    ran = run_job(tmp_path, "+experiment=supervised", f"dataset.labels_per_class={budget}")
    assert ran.runs["downstream"].info.run_name == f"supervised-digits-{said}-seed0"


def test_a_color_tells_arm_and_budget(rotation_run):
    assert rotation_run.runs["downstream"].data.tags["mlflow.runColor"] == choose_color(
        "rotation", 3
    )
    arms = ("supervised", "rotation", "simclr", "statistics", "random_targets")
    colors = {choose_color(arm, budget) for arm in arms for budget in (1, 5, 20, 100, 1000)}
    assert len(colors) == 25


def test_a_run_that_cannot_be_described_is_trained(run_job, tmp_path, monkeypatch):
    def broken(*_):
        raise KeyError("broken")

    monkeypatch.setattr(recording, "list_data_used", broken)
    ran = run_job(tmp_path, "+experiment=supervised")
    assert ran.runs["downstream"].info.status == "FINISHED"


@pytest.mark.parametrize("code", ["ENDPOINT_NOT_FOUND", "INTERNAL_ERROR"])
def test_a_server_that_does_not_take_the_data(run_job, tmp_path, monkeypatch, code):
    """One that refuses it is asked once; one in trouble is asked again."""
    log_inputs, calls = MlflowClient.log_inputs, []

    def take(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:  # the first run is refused if MLflow is in trouble
            raise MlflowException("no", ErrorCode.Value(code))
        return log_inputs(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_inputs", take)
    run = run_job(tmp_path, "+experiment=rotation").runs["downstream"]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test_acc"] > 0
    is_refused = code == "ENDPOINT_NOT_FOUND"
    assert len(calls) == (2 if is_refused else 3)
    assert len(run.inputs.dataset_inputs) == (0 if is_refused else 2)


def test_sync_brings_data_and_description(run_job, make_store, tmp_path):
    """All of it is in the run's folder, and reaches a store that never saw the run."""
    run = run_job(tmp_path, "+experiment=supervised").runs["downstream"]
    (tmp_path / "other").mkdir()
    uri = make_store(tmp_path / "other")
    sync([tmp_path / "job1"], uri)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("ssl_rot").experiment_id
    (sent,) = client.search_runs([experiment])
    assert data_of(sent) == data_of(run)
    assert len(data_of(sent)) == 2
    for tag in (Tag.NOTE, Tag.COLOR):
        assert sent.data.tags[tag] == run.data.tags[tag]


def test_the_experiment_is_one_of_training_runs(rotation_run, make_store, tmp_path):
    (experiment,) = (e for e in rotation_run.client.search_experiments() if e.name == "ssl_rot")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    client = MlflowClient(make_store(tmp_path))
    client.create_experiment("made before")
    client.create_experiment("other", tags={"mlflow.experimentKind": "genai_development"})
    kinds = {}
    for name in ("made before", "other"):
        Tracker(name, client.tracking_uri)
        kinds[name] = client.get_experiment_by_name(name).tags["mlflow.experimentKind"]
    assert kinds == {"made before": "custom_model_development", "other": "genai_development"}


def test_system_metrics_are_on_the_disk_and_in_mlflow(run_job, tmp_path, monkeypatch):
    pytest.importorskip("psutil", reason="pip install psutil")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    ran = run_job(tmp_path, "+experiment=supervised", "system_metrics=true", "schedule.epochs=8")
    (run,) = ran.runs.values()
    (path,) = tmp_path.rglob("system_metrics.csv")
    rows = path.read_text().splitlines()
    assert rows[0].startswith("step,timestamp,cpu_utilization_percentage,")
    assert len(rows) > 3
    name = PREFIX + "cpu_utilization_percentage"
    points = ran.client.get_metric_history(run.info.run_id, name)
    assert [point.step for point in points] == list(range(1, len(rows)))
    assert [point.timestamp for point in points] == [int(r.split(",")[1]) for r in rows[1:]]
    assert 0 < max(point.value for point in points) <= 100
    assert run.data.metrics[PREFIX + "system_memory_usage_megabytes"] > 1


def test_system_metrics_that_fail_fail_no_run(run_job, tmp_path, monkeypatch, caplog):
    def broken():
        raise OSError("no such thing")

    monkeypatch.setattr("ssl_rot.tracking.system_metrics._make_monitors", broken)
    ran = run_job(tmp_path, "+experiment=supervised", "system_metrics=true")
    assert ran.runs["downstream"].info.status == "FINISHED"
    assert "The system metrics are not recorded: OSError: no such thing" in caplog.text


def test_without_system_metrics_there_are_none(rotation_run):
    for run in rotation_run.runs.values():
        assert not any(name.startswith(PREFIX) for name in run.data.metrics)
    assert not [*rotation_run.folder.rglob("system_metrics.csv")]
