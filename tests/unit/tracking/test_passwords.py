"""The password of the tracking store stays with whoever typed it."""

from __future__ import annotations

import pytest

from ssl_rot.errors import TrackingError, without_password
from ssl_rot.tracking import Tracker

TINY = (
    *("dataset.image_size=8", "dataset.train_size=96", "model.widths=[4]", "model.blocks=[1]"),
    *("schedule=constant", "schedule.epochs=1", "schedule.lr=1e30"),
)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql+psycopg2://me:SECRET@h:5/db", "postgresql+psycopg2://me:***@h:5/db"),
        ("x=mysql://me@corp:SE/CR@ET@h/db y=a@b", "x=mysql://me@corp:***@h/db y=a@b"),
        ("http://h/?a=1&password=SECRET&b=2", "http://h/?a=1&password=***&b=2"),
        *((same, same) for same in ("http://h:5000 a@b", "sqlite:////a:b/c@d.db", "me@h:x")),
    ],
)
def test_only_the_password_is_masked(text, masked):
    assert without_password(text) == masked


def test_a_message_does_not_show_it():
    with pytest.raises(TrackingError, match=r"me:\*\*\*@127\.0\.0\.1:9") as error:
        Tracker("x", "postgresql://me:SECRET@127.0.0.1:9/db")
    assert "SECRET" not in str(error.value)


def test_nothing_that_a_sweep_leaves_in_mlflow_holds_it(
    call_main, make_store, all_runs, monkeypatch, tmp_path
):
    """Neither params, tags, names nor artifacts."""
    uri, folder = make_store(tmp_path), tmp_path / "sweep"
    monkeypatch.setattr("ssl_rot.tracking.store.absolute_uri", lambda _: uri)
    given = "tracking.uri=postgresql://me:SECRET@127.0.0.1:9/db"
    basic = "hydra/launcher=basic"  # in this process, where the address is another
    status, output = call_main("--multirun", basic, given, *TINY, f"hydra.sweep.dir={folder}")
    assert status == 1, output
    assert "0 of 1 jobs finished" in output
    assert len(all_runs(uri)) == 2
    left = [tmp_path / "mlflow.db", *(tmp_path / "mlruns").rglob("*.*"), *folder.rglob("run.json")]
    assert {path.name for path in left} >= {"config.yaml", "jobs.csv", "run.json"}
    for path in left:
        if path.is_file():
            assert b"SECRET" not in path.read_bytes(), path
    assert b"me:***@127.0.0.1" in (tmp_path / "mlflow.db").read_bytes()


def test_neither_a_runs_name_nor_its_record_holds_it(make_store, monkeypatch, tmp_path):
    tracker = Tracker("x", make_store(tmp_path))
    monkeypatch.setattr(tracker.store, "uri", "postgresql://me:SECRET@h/db")
    name = "sweep tracking.uri=postgresql://me:SECRET@h/db"
    with tracker.start(name, tmp_path / "run", {}, {}) as run:
        pass
    stored = tracker.store.client.get_run(run.run_id)
    assert stored.info.run_name == "sweep tracking.uri=postgresql://me:***@h/db"
    assert run.record.uri == "postgresql://me:***@h/db"
    assert "SECRET" not in (tmp_path / "run" / "run.json").read_text()
