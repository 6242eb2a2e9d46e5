"""What a run leaves in MLflow, and how the tracking store is used."""

from __future__ import annotations

import math
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
import torch
from hydra.utils import instantiate
from mlflow.store.tracking.dbmodels.models import SqlDataset
from omegaconf import OmegaConf
from safetensors.torch import load_file
from sqlalchemy import event
from sqlalchemy.orm import Session

from ssl_rot.config.params import flatten
from ssl_rot.config.validation import validate
from ssl_rot.errors import StorageError, TrackingError, WeightsError
from ssl_rot.models import Classifier, StagedBackbone, linear_head, resnet
from ssl_rot.tracking import Tag, Tracker
from ssl_rot.tracking.dataset_use import DatasetUse, to_dataset_input

URI = "sqlite:///{}/mlflow.db"
METRICS = {"loss", "acc"}
COST = {"lr", "epoch_seconds", "images_per_second", "images_processed"}


@pytest.mark.parametrize(("phase", "prefix"), [("pretext", "pretext/"), ("downstream", "")])
def test_the_metrics_of_every_epoch_equal_history_csv(rotation_run, phase, prefix):
    rows = rotation_run.history(phase)
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    names = {f"{split}_{what}" for split in ("train", "test", "val") for what in METRICS} | COST
    assert rows[0].keys() == names | {"epoch", "timestamp"}
    run = rotation_run.runs[phase]
    assert run.data.metrics.keys() == {prefix + name for name in names}
    for name in names:
        points = rotation_run.client.get_metric_history(run.info.run_id, prefix + name)
        logged = sorted((point.step, point.timestamp, point.value) for point in points)
        assert logged == [(row["epoch"], row["timestamp"], row[name]) for row in rows], name
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert all(0 <= row[f"{s}_acc"] <= 1 for row in rows for s in ("train", "test", "val"))


@pytest.mark.parametrize("phase", ["pretext", "downstream"])
def test_params_are_the_resolved_config_and_the_choices(rotation_run, compose, phase):
    params = rotation_run.runs[phase].data.params
    artifact = OmegaConf.load(rotation_run.artifact(phase, "config.yaml"))
    config = flatten(OmegaConf.to_container(artifact))
    config["pretext.seed"] = config["seed"]  # null: the params say which one that is
    assert config.items() >= {"dataset.val_fraction": 0.1, "schedule.optimizer.lr": 0.05}.items()
    assert not any("${" in str(value) for value in config.values())
    texts = {None: "null", True: "true", False: "false"}
    for key, value in config.items():
        text = texts[value] if value is None or isinstance(value, bool) else str(value)
        assert params[key] == text, key
    choices = {
        "dataset": "digits",
        "model": "resnet_tiny",
        "head": "linear",
        "pretext": "rotation",
        "loss": "cross_entropy",
        "schedule": "onecycle",
        "freeze": "none",
    }
    assert params.items() >= choices.items()
    assert params.keys() == config.keys() | choices.keys()
    assert {"seed", "device", "precision", "tracking.experiment_name", "pretext.reuse"} <= set(
        params
    )


def test_tags_identify_a_run(rotation_run):
    pretext, downstream = (rotation_run.runs[phase] for phase in ("pretext", "downstream"))
    for phase, run in rotation_run.runs.items():
        assert run.info.status == "FINISHED"
        tags = run.data.tags
        assert tags[Tag.PHASE] == phase
        assert tags[Tag.ARM] == "rotation"
        assert re.fullmatch("[0-9a-f]{16}", tags[Tag.PRETEXT_KEY])
        assert tags["version.torch"] == torch.__version__
        assert tags["version.mlflow"] == mlflow.__version__
        assert tags["version.python"] == ".".join(map(str, sys.version_info[:3]))
    tags = downstream.data.tags
    assert tags[Tag.PRETEXT_KEY] == pretext.data.tags[Tag.PRETEXT_KEY]
    assert tags[Tag.PRETEXT_RUN_ID] == pretext.info.run_id
    keys = {tags[name] for name in (Tag.CONFIG_KEY, Tag.PAIR_KEY, Tag.PRETEXT_KEY)}
    assert len(keys) == 3


def test_the_tag_names_are_a_contract():
    names = {name: getattr(Tag, name) for name in vars(Tag) if name.isupper()}
    assert (
        names.items()
        >= {
            "PHASE": "ssl_rot.phase",
            "ARM": "ssl_rot.arm",
            "CONFIG_KEY": "ssl_rot.config_key",
            "PAIR_KEY": "ssl_rot.pair_key",
            "CONTENT_KEY": "ssl_rot.content_key",
            "PRETEXT_KEY": "ssl_rot.pretext_key",
            "PRETEXT_RUN_ID": "ssl_rot.pretext_run_id",
        }.items()
    )


def test_a_supervised_run_pairs_with_the_rotation_run(run_job, rotation_run, tmp_path):
    ran = run_job(tmp_path, "+experiment=supervised", "dataset.val_fraction=0.1")
    (run,) = ran.runs.values()
    assert run.data.tags[Tag.ARM] == "supervised"
    assert Tag.PRETEXT_RUN_ID not in run.data.tags
    assert run.data.params["pretext"] == "none"
    partner = rotation_run.runs["downstream"].data.tags
    assert run.data.tags[Tag.PAIR_KEY] == partner[Tag.PAIR_KEY]
    assert run.data.tags[Tag.CONTENT_KEY] == partner[Tag.CONTENT_KEY]
    assert run.data.tags[Tag.CONFIG_KEY] != partner[Tag.CONFIG_KEY]


@pytest.mark.parametrize(
    ("phase", "figures"),
    [
        ("pretext", {"pretext_batch.png", "curves.png"}),
        ("downstream", {"confusion_matrix.png", "curves.png"}),
    ],
)
def test_artifacts(rotation_run, phase, figures):
    run_id = rotation_run.runs[phase].info.run_id
    top = {item.path for item in rotation_run.client.list_artifacts(run_id)}
    assert top >= {"config.yaml", "weights.safetensors", "history.csv", "figures"}
    below = {item.path for item in rotation_run.client.list_artifacts(run_id, "figures")}
    assert below == {f"figures/{name}" for name in figures}


def test_the_weights_load_without_the_training_code(rotation_run, compose):
    """As documented: only the file and a network of the same shape are needed."""
    net = resnet(1, widths=[8, 16], blocks=[1, 1], large_stem=False, bias=False, shortcut_norm=True)
    model = Classifier(net, linear_head(16, 10))
    model.load_state_dict(load_file(rotation_run.artifact("downstream", "weights.safetensors")))
    model.eval()
    data = instantiate(compose("dataset.image_size=8", "dataset.val_fraction=0.1").dataset, seed=0)
    inputs = (data.test.images[:].float() / 255 - data.mean[0]) / data.std[0]
    with torch.inference_mode():
        hits = model(inputs).argmax(1) == data.test.labels
    accuracy = rotation_run.history("downstream")[-1]["test_acc"]
    assert hits.double().mean().item() == pytest.approx(accuracy, abs=1 / 360)
    assert isinstance(net, StagedBackbone)


def test_a_run_starts_from_the_weights_of_another(run_job, rotation_run, tmp_path):
    file = rotation_run.artifact("pretext", "weights.safetensors")
    ran = run_job(tmp_path, "freeze=backbone", f"model.weights={file}")
    start = rotation_run.backbone("pretext")
    assert all(torch.equal(v, start[k]) for k, v in ran.backbone("downstream").items())
    run_id = ran.runs["downstream"].info.run_id
    again = run_job(tmp_path, "freeze=backbone", f"model.weights={run_id}")
    assert all(torch.equal(v, start[k]) for k, v in again.backbone("downstream").items())
    tags = [run.runs["downstream"].data.tags for run in (ran, again)]
    assert tags[0][Tag.CONFIG_KEY] != tags[1][Tag.CONFIG_KEY]  # another head in the file


def test_an_unknown_run_id_is_reported(run_job, tmp_path):
    with pytest.raises(TrackingError, match=f"Run {'0' * 32} in sqlite.* has no artifact"):
        run_job(tmp_path, f"model.weights={'0' * 32}")
    with pytest.raises(WeightsError, match=r"model\.weights=x is neither a file nor the id"):
        run_job(tmp_path, "model.weights=x")


STOPS = """
import torch

class Loss(torch.nn.CrossEntropyLoss):
    def forward(self, logits, targets):
        raise {error}
"""


@pytest.mark.parametrize(
    ("error", "status"),
    [("RuntimeError('no memory')", "FAILED"), ("KeyboardInterrupt()", "KILLED"),
     ("SystemExit(3)", "KILLED")],
)  # fmt: skip
@pytest.mark.parametrize("phase", ["pretext", "downstream"])
def test_no_run_stays_running(run_job, all_runs, own_module, tmp_path, phase, error, status):
    own_module("stops", STOPS.format(error=error))
    key = "loss" if phase == "downstream" else "pretext.loss"
    kind = {"RuntimeError": RuntimeError, "KeyboardInterrupt": KeyboardInterrupt}
    with pytest.raises(kind.get(error.partition("(")[0], SystemExit)):
        run_job(tmp_path, "+experiment=rotation", f"{key}._target_=stops.Loss")
    runs = {run.data.tags[Tag.PHASE]: run for run in all_runs(URI.format(tmp_path))}
    assert set(runs) == ({"pretext", "downstream"} if phase == "downstream" else {"pretext"})
    stopped = runs[phase]
    assert stopped.info.status == status
    assert error.partition("(")[0] in stopped.data.tags["ssl_rot.error"]
    if phase == "downstream":
        assert runs["pretext"].info.status == "FINISHED"


def test_a_failed_pretext_is_not_reused(run_job, all_runs, own_module, tmp_path):
    own_module("stops", STOPS.format(error="RuntimeError('x')"))
    good = run_job(tmp_path, "+experiment=rotation").runs["pretext"]
    with pytest.raises(RuntimeError):
        run_job(tmp_path, "+experiment=rotation", "pretext.loss._target_=stops.Loss")
    (failed,) = [run for run in all_runs(URI.format(tmp_path)) if run.info.status == "FAILED"]
    # The later of two runs with the same key: they differ only in status.
    client = mlflow.MlflowClient(URI.format(tmp_path))
    client.set_tag(failed.info.run_id, Tag.PRETEXT_KEY, good.data.tags[Tag.PRETEXT_KEY])
    again = run_job(tmp_path, "+experiment=rotation")
    assert again.runs["downstream"].data.tags[Tag.PRETEXT_RUN_ID] == good.info.run_id


@pytest.mark.parametrize(
    "uri", ["sqlite:///{}/no/such/folder.db", "http://127.0.0.1:9", "nonsense://x"]
)
def test_an_unusable_store_is_reported(tmp_path, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "file").touch()
    uri = uri.format(tmp_path / "file")
    with pytest.raises(TrackingError, match=re.escape(f"tracking.uri={uri} cannot be used")):
        Tracker("x", uri)


def test_a_deleted_experiment_is_reported(make_store, tmp_path):
    uri = make_store(tmp_path)
    tracker = Tracker("gone", uri)
    tracker.store.client.delete_experiment(tracker.store.experiment_id)
    with pytest.raises(TrackingError, match=r"experiment_name=gone was deleted .* mlflow exp"):
        Tracker("gone", uri)


def test_the_tracking_uri_of_the_environment_is_respected(
    compose, make_store, tmp_path, monkeypatch
):
    uri = make_store(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracking = validate(compose())["tracking"]
    assert Tracker("x", tracking["uri"]).store.uri == uri


@pytest.mark.slow
def test_four_processes_create_a_missing_database_and_share_the_experiment(tmp_path, checkout):
    program = (
        "from ssl_rot.tracking import Tracker; t = Tracker('shared'); "
        "print(t.store.client.create_run(t.store.experiment_id).info.run_id)"
    )
    env = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=env,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    client = mlflow.MlflowClient(URI.format(tmp_path))
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    assert experiment.name == "shared"
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_id for run in runs} == {out.split()[-1] for out, _ in outputs}


@pytest.mark.parametrize("name", ["o'brien", 'a"b', "o'b\"c"])
def test_a_folder_with_quotes_in_its_name_can_hold_runs(make_store, tmp_path, name):
    tracker = Tracker("quotes", make_store(tmp_path))
    with tracker.start("run", tmp_path / name, {}, {}) as run:
        run.epoch(1, {"train_loss": 0.5})
    assert run.run_id is not None
    assert tracker.runs.get(run.run_id).status == "FINISHED"


def test_a_run_is_not_created_twice_if_the_first_response_was_lost(make_store, tmp_path):
    tracker = Tracker("lost response", make_store(tmp_path))
    with tracker.start("run", tmp_path / "run", {}, {}) as run:
        created, run.record.run_id = run.run_id, None
        run.send()
        assert run.run_id == created
    experiment = tracker.store.experiment_id
    assert len(tracker.store.client.search_runs([experiment])) == 1


def test_runs_that_record_a_data_set_at_the_same_moment_both_have_it(make_store, tmp_path):
    """MLflow looks for a data set first and then inserts it; the other run comes in between."""
    tracker = Tracker("same data", make_store(tmp_path))
    client, names = tracker.store.client, ("digits train", "digits test")
    uses = [DatasetUse(name, "train", "0", "local", "{}", "{}", "{}") for name in names]
    others, races = [*uses], []

    def another_run_is_first(session, context, instances):
        if others and any(isinstance(row, SqlDataset) for row in session.new):
            use = others.pop()
            if use not in races:  # the other run's insert comes by here, too
                races.append(use)
                others.append(use)
                other = client.create_run(tracker.store.experiment_id)
                client.log_inputs(other.info.run_id, [to_dataset_input(use)])

    event.listen(Session, "before_flush", another_run_is_first)
    try:
        with tracker.start("run", tmp_path / "run", {}, {}, datasets=uses) as run:
            pass
    finally:
        event.remove(Session, "before_flush", another_run_is_first)
    assert len(races) == 2
    inputs = client.get_run(run.run_id).inputs.dataset_inputs
    assert {item.dataset.name for item in inputs} == {*names}


def test_epochs_shorter_than_a_call_are_sent_together(make_store, monkeypatch, tmp_path):
    """MLflow takes at most a tenth of the time, and still gets every epoch."""
    monkeypatch.setattr("ssl_rot.tracking.run_log._SHORTEST_PAUSE", 0.0)
    tracker = Tracker("short epochs", make_store(tmp_path))
    log_batch, calls = tracker.store.client.log_batch, []

    def slow(run_id, metrics=(), **kwargs):
        calls.append(len(metrics))
        time.sleep(0.1)
        return log_batch(run_id, metrics=metrics, **kwargs)

    monkeypatch.setattr(tracker.store.client, "log_batch", slow)
    with tracker.start("run", tmp_path / "run", {}, {}) as run:
        for epoch in range(1, 301):
            run.epoch(epoch, {"train_loss": 1 / epoch, **{f"m{n}": float(n) for n in range(4)}})
            time.sleep(0.001)
    points = tracker.store.client.get_metric_history(run.run_id, "train_loss")
    assert sorted((point.step, point.value) for point in points) == [
        (epoch, 1 / epoch) for epoch in range(1, 301)
    ]
    assert len(calls) < 30
    assert max(calls) <= 1000  # MLflow's limit


def test_a_fast_store_is_called_at_most_every_two_seconds(make_store, monkeypatch, tmp_path):
    tracker, calls = Tracker("fast store", make_store(tmp_path)), []
    log_batch = tracker.store.client.log_batch
    monkeypatch.setattr(
        tracker.store.client, "log_batch", lambda *a, **k: (calls.append(k), log_batch(*a, **k))
    )
    with tracker.start("run", tmp_path / "run", {}, {}) as run:
        for epoch in range(1, 21):
            run.epoch(epoch, {"train_loss": 1 / epoch})
    assert len(calls) <= 3  # the first epoch, perhaps one after two seconds, and the rest
    points = tracker.store.client.get_metric_history(run.run_id, "train_loss")
    assert len(points) == 20


@pytest.fixture
def left_running(make_store, tmp_path):
    """A run that is RUNNING in MLflow and that no process is working on: its id and folder."""
    tracker = Tracker("left", make_store(tmp_path))
    folder = tmp_path / "left"
    folder.mkdir()
    tags = {Tag.FOLDER: str(folder), Tag.HOST: socket.gethostname()}
    run = tracker.store.client.create_run(tracker.store.experiment_id, tags=tags)
    return tracker, run.info.run_id, folder


def test_a_run_whose_process_is_gone_is_closed(left_running):
    tracker, run_id, _ = left_running
    tracker.close_dead()
    assert tracker.runs.get(run_id).status == "KILLED"


@pytest.mark.parametrize("unreadable", ["parent", "content", "nothing"])
def test_a_run_of_another_user_is_left_alone(left_running, unreadable, monkeypatch):
    """On a shared server: in a folder that only they can read, or that anybody can."""
    tracker, run_id, folder = left_running
    (folder / "running.lock").touch()
    if unreadable == "nothing":
        monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)

    def deny(function):
        def call(path, *args, **kwargs):
            inside = isinstance(path, os.PathLike) and folder in Path(path).parents
            if inside or (path == folder and unreadable == "parent"):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *args, **kwargs)

        return call

    if unreadable != "nothing":
        monkeypatch.setattr(os, "stat", deny(os.stat))
        monkeypatch.setattr(os, "open", deny(os.open))
    tracker.close_dead()
    assert tracker.runs.get(run_id).status == "RUNNING"


def test_a_full_disk_leaves_an_interrupted_run_as_it_was(make_store, monkeypatch, tmp_path):
    tracker = Tracker("x", make_store(tmp_path))
    tags = {Tag.PHASE: "downstream", Tag.CONFIG_KEY: "k"}
    with pytest.raises(KeyError), tracker.start("run", tmp_path / "run", tags, {}) as run:  # noqa: PT012
        run.epoch(1, {"train_loss": 0.5})
        raise KeyError

    def full(path, content):
        raise StorageError(path, OSError(28, "No space left on device"))

    monkeypatch.setattr("ssl_rot.files.write", full)
    again = Tracker("x", make_store(tmp_path))
    with pytest.raises(StorageError), again.claim_resumable("downstream", "k") as unfinished:  # noqa: PT012
        folder = Path(unfinished.tags[Tag.FOLDER])
        with again.start("run", folder, tags, {}, unfinished=unfinished):
            pytest.fail("it was started")
    assert again.runs.get(run.run_id).status == "FAILED"


def test_a_run_whose_process_is_gone_ended_with_its_last_epoch(make_store, tmp_path):
    tracker = Tracker("x", make_store(tmp_path))
    with tracker.start("run", tmp_path / "run", {}, {}) as run:
        run.epoch(1, {"train_loss": 0.5})
    run.record.status = run.record.end_time = None  # as after SIGKILL
    left = tracker.adopt(run.record)
    left.history.times[1] -= 60_000
    left.close()
    info = tracker.store.client.get_run(run.run_id).info
    assert (info.status, info.end_time) == ("KILLED", left.history.times[1])
