"""Opening a store: wherever its database lies, and whoever opens it at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import quote

import pytest
from filelock import Timeout

from ssl_rot.errors import TrackingError
from ssl_rot.tracking import Tracker, database

PLACES = ["my project", "Übung", "100% mine", "what?", "a+b", "it's", "(1)", "#1", "a&b=c;d"]


@pytest.mark.parametrize("place", PLACES)
def test_a_run_starts_in_a_directory_of_any_name(place, run_job, tmp_path, monkeypatch, make_store):
    folder = tmp_path / place
    folder.mkdir()
    make_store(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(
        "mlflow.get_tracking_uri", lambda: f"sqlite:///{quote(str(folder))}/mlflow.db"
    )
    tracker = Tracker("x")
    with tracker.start("run", folder / "run", {}, {"a": "b"}) as run:
        path = folder / "run" / "file.txt"
        path.write_text("content")
        run.artifacts([path])
    assert tracker.runs.get(run.run_id).params == {"a": "b"}
    assert tracker.runs.artifact(run.run_id, "file.txt", folder / "back").read_text() == "content"
    assert {entry.name for entry in folder.iterdir()} == {
        *("mlflow.db", ".mlflow.db.locks", "mlruns", "run", "back")
    }
    if "%" not in place and "?" not in place:  # of those MLflow itself makes an empty folder
        assert [entry.name for entry in tmp_path.iterdir() if entry.is_dir()] == [place]


def test_the_default_store_of_a_directory_with_a_space_is_mlflows_own(tmp_path, run_cli):
    folder = tmp_path / "my project #1"
    folder.mkdir()
    program = (
        "import mlflow; from ssl_rot.tracking import Tracker; "
        "t = Tracker('x'); mlflow.MlflowClient().get_experiment_by_name('x').name"
    )
    run_cli(cwd=folder, module=("-c", program))
    assert {entry.name for entry in folder.iterdir()} == {"mlflow.db", ".mlflow.db.locks"}


def test_a_query_of_the_uri_is_no_part_of_the_files_name(tmp_path):
    uri = f"sqlite:///{tmp_path}/x.db?timeout=60"
    assert Tracker("x", uri).store.uri == uri
    assert {entry.name for entry in tmp_path.iterdir()} == {"x.db", ".x.db.locks"}


def test_a_database_that_appears_meanwhile_is_kept(tmp_path, make_store, monkeypatch):
    """As in containers that share the directory and not their locks."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    class Slow:
        def __init__(self, tracking_uri):
            self.path = database.database_path(tracking_uri)

        def search_experiments(self, max_results):
            self.path.write_text("the second one")
            make_store(tmp_path)

    monkeypatch.setattr(database, "MlflowClient", Slow)
    database.create_database(uri)
    assert (tmp_path / "mlflow.db").read_bytes().startswith(b"SQLite format 3")
    assert [entry.name for entry in tmp_path.iterdir()] == ["mlflow.db"]


def test_starts_with_another_tmpdir_use_the_same_locks(tmp_path, make_store, monkeypatch):
    uri = make_store(tmp_path)
    with Tracker("x", uri).store.lock("one"):
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "other"))
        with pytest.raises(Timeout):
            Tracker("x", uri).store._local_lock("one").acquire(timeout=0)


def test_a_lock_folder_of_somebody_else_is_refused(tmp_path, make_store, monkeypatch):
    store = Tracker("x", make_store(tmp_path)).store
    monkeypatch.setattr(store, "uri", "http://127.0.0.1:1")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = tmp_path / f"ssl_rot-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(TrackingError, match="only you can write to"), store.lock("one"):
        pass
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(TrackingError, match="set TMPDIR"), store.lock("one"):
        pass


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("http://127.0.0.1:1", "Is the server running"),
        ("postgresql+psycopg2://127.0.0.1:9/x", "Is the database running"),
        ("sqlite:////proc/x.db", "Is /proc writable"),
    ],
)
def test_the_hint_fits_the_kind_of_store(uri, hint, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match=hint):
        Tracker("x", uri)


def test_jobs_that_change_directory_share_the_store(tmp_path, make_store):
    make_store(tmp_path)
    tiny = ("dataset.image_size=8", "dataset.train_size=96", "model.widths=[4]", "model.blocks=[1]")
    command = [
        *(sys.executable, "-m", "ssl_rot.run", "--multirun", "hydra.job.chdir=true"),
        *(
            "+experiment=rotation",
            "seed=0,1",
            "schedule.epochs=1",
            "pretext.schedule.epochs=1",
            *tiny,
        ),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 jobs finished" in done.stdout
    assert len([*tmp_path.rglob("mlflow.db")]) == 1


def test_a_file_system_without_hard_links_can_hold_the_database(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert Tracker("x", f"sqlite:///{tmp_path}/mlflow.db").store.experiment_id
    assert {entry.name for entry in tmp_path.iterdir()} == {"mlflow.db", ".mlflow.db.locks"}
