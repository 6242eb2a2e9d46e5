"""What is sent later, where to, and what is not."""

from __future__ import annotations

import json
import os
import sys

import pytest
from filelock import Timeout

from ssl_rot.errors import StorageError, TrackingError
from ssl_rot.sync import main, sync
from ssl_rot.tracking import RunLog, Tag, Tracker


@pytest.fixture
def uri(make_store, tmp_path, monkeypatch):
    """The store that the working directory has."""
    monkeypatch.chdir(tmp_path)
    uri = make_store(tmp_path)
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: uri)
    return uri


@pytest.fixture
def record_run():
    """Records a run of one epoch and one file: ``record_run(tracker, folder, tags)``."""

    def record(tracker, folder, tags=(), parent=None):
        with tracker.start("run", folder, dict(tags), {"a": "b"}, parent=parent) as run:
            run.epoch(1, {"train_loss": 0.5})
            (folder / "file.txt").write_text("content")
            run.artifacts([folder / "file.txt"])
        return run.run_id

    return record


def edit(folder, **values):
    """Changes ``run.json``."""
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_runs_that_the_store_does_not_have_are_sent_anew(
    uri, record_run, make_store, points, capsys, tmp_path
):
    """As after the database was lost: with the links between the runs."""
    place = tmp_path / "sweep"
    tracker = Tracker("x", uri)
    with tracker.start("sweep", place, {Tag.PHASE: "sweep"}, {}) as sweep:
        one = record_run(tracker, place / "1-pretext", parent=sweep.run_id)
        tags = {Tag.PRETEXT_RUN_ID: one}
        record_run(tracker, place / "0-downstream", tags, parent=sweep.run_id)
    sync([place])
    assert capsys.readouterr().out.count("nothing to send, MLflow has all of run") == 3

    moved = place.rename(tmp_path / "moved")
    (tmp_path / "new").mkdir()
    uri = make_store(tmp_path / "new")
    sync([moved], uri)
    assert capsys.readouterr().out.count("sent, run") == 3
    runs = Tracker("x", uri).runs
    (parent,) = runs._search([f"tags.`{Tag.PHASE}` = 'sweep'"])
    pretext, downstream = runs.children(parent.run_id)
    assert downstream.tags[Tag.PRETEXT_RUN_ID] == pretext.run_id
    for run, name in ((pretext, "1-pretext"), (downstream, "0-downstream")):
        assert run.status == "FINISHED"
        assert run.params == {"a": "b"}
        assert run.tags[Tag.FOLDER] == str(moved / name)
        assert points(uri, run.run_id) == [("train_loss", 1, 0.5)]
        assert runs.artifact(run.run_id, "file.txt", tmp_path / "back").read_text() == "content"
    sync([moved], uri)
    assert capsys.readouterr().out.count("nothing to send, MLflow has all of run") == 3


@pytest.mark.parametrize(
    "name", ["../secret.txt", "{}/secret.txt", "link.txt", "inner/../../secret.txt"]
)
def test_only_files_of_the_runs_folder_are_sent(uri, record_run, caplog, tmp_path, name):
    """As on a shared server, where anybody can register a run for a prepared folder."""
    (tmp_path / "secret.txt").write_text("a key")
    folder, tracker = tmp_path / "run", Tracker("x", uri)
    run_id = record_run(tracker, folder)
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    edit(folder, sent=False, status=None, artifacts={name.format(tmp_path): None})
    with pytest.raises(TrackingError, match=f"run.json names {tmp_path}/secret.txt, which is not"):
        sync([folder])
    tracker.store.client.update_run(run_id, status="RUNNING")
    tracker.close_dead()
    assert "secret.txt" in caplog.text
    assert tracker.runs.get(run_id).status == "KILLED"
    sent = {item.path for item in tracker.store.client.list_artifacts(run_id)}
    assert sent == {"file.txt"}


def test_a_run_of_another_user_is_not_sent(uri, record_run, monkeypatch, tmp_path):
    record_run(Tracker("x", uri), tmp_path / "run")
    monkeypatch.setattr(os, "getuid", lambda: (tmp_path / "run").stat().st_uid + 1)
    with pytest.raises(TrackingError, match=r"run\.json belongs to another user"):
        sync([tmp_path / "run"])


def test_a_server_that_the_file_alone_names_gets_nothing(
    uri, record_run, all_runs, monkeypatch, capsys, tmp_path
):
    folder = tmp_path / "run"
    record_run(Tracker("x", uri), folder)
    edit(folder, sent=False, run_id=None, uri="http://127.0.0.1:9")
    monkeypatch.setattr(sys, "argv", ["sync", str(folder)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    for part in (str(folder), "recorded for http://127.0.0.1:9", uri, "--to ADDRESS"):
        assert part in shown
    monkeypatch.setattr(sys, "argv", ["sync", "--to", uri, str(folder)])
    main()
    assert "sent, run" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["sync", str(folder)])  # from now on that is its store
    main()
    assert "nothing to send" in capsys.readouterr().out


def test_a_run_that_belongs_to_the_default_store_needs_no_address(uri, record_run, tmp_path):
    tracker = Tracker("x", uri)
    record_run(tracker, tmp_path / "run")
    (run,) = tracker._logs
    assert run.sync_command(tmp_path) == f"python -m ssl_rot.sync {tmp_path}"
    run.record.uri = "postgresql://me:***@h/db"
    assert run.sync_command(tmp_path) == (
        f"python -m ssl_rot.sync --to 'postgresql://me:***@h/db' {tmp_path}"
    )


def test_a_folder_that_was_moved_during_the_run_is_not_named_as_there(
    uri, caplog, monkeypatch, tmp_path
):
    folder, tracker = tmp_path / "run", Tracker("x", uri)

    def send(self):
        raise TrackingError("away")

    def move_and_continue():
        with tracker.start("run", folder, {}, {}) as run:
            run.epoch(1, {"train_loss": 0.5})
            folder.rename(tmp_path / "moved")
            monkeypatch.setattr(RunLog, "send", send)
            run.epoch(2, {"train_loss": 0.4})

    with pytest.raises(StorageError):
        move_and_continue()
    assert "Nothing is lost" not in caplog.text
    assert f"The rest was in {folder}, which is no longer there" in caplog.text
    assert not folder.exists()


@pytest.mark.parametrize(
    "damage",
    [{"tags": None}, {"artifacts": ["file.txt"]}, {"start_time": "soon"}, {"params": {"a": {}}}],
)
def test_a_value_of_the_wrong_kind_is_reported(uri, record_run, damage, tmp_path):
    record_run(Tracker("x", uri), tmp_path / "run")
    edit(tmp_path / "run", sent=False, **damage)
    with pytest.raises(TrackingError, match=r"run\.json is damaged"):
        sync([tmp_path / "run"])


def test_a_record_of_a_later_version_is_sent(uri, record_run, capsys, tmp_path):
    record_run(Tracker("x", uri), tmp_path / "run")
    edit(tmp_path / "run", sent=False, color="blue")
    sync([tmp_path / "run"])
    assert "sent, run" in capsys.readouterr().out


def test_two_at_once_wait_for_each_other(uri, record_run, monkeypatch, tmp_path):
    """Else both would see a run that MLflow does not have, and each create it."""
    tracker = Tracker("x", uri)
    record_run(tracker, tmp_path / "run")
    edit(tmp_path / "run", sent=False, run_id=None)
    waited = []

    def adopt(self, record):
        with pytest.raises(Timeout):
            self.store._local_lock("dead").acquire(timeout=0)
        waited.append(record.folder)
        return original(self, record)

    original = Tracker.adopt
    monkeypatch.setattr(Tracker, "adopt", adopt)
    sync([tmp_path / "run"])
    assert waited == [tmp_path / "run"]


def test_a_pipe_in_place_of_a_record_does_not_block(uri, tmp_path):
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "run.json")
    with pytest.raises(TrackingError, match=r"run\.json is not a file"):
        sync([tmp_path / "run"])
