"""What is read from a store is what was written, whatever kind of store it is."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from ssl_rot.errors import ConfigError, TrackingError
from ssl_rot.report import compare, load_histories, load_runs, pair_runs
from ssl_rot.report.load import rest


@pytest.fixture(scope="module")
def server(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking server over a store of its own."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--default-artifact-root", str(folder / "artifacts")]
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PATH": "/usr/bin:/bin"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urlopen(f"{uri}/health", timeout=1).close()
                break
            except (URLError, OSError):
                time.sleep(0.5)
        else:
            pytest.fail((folder / "log").read_text())
        yield uri
    finally:
        process.terminate()
        process.wait()


def long(histories: pd.DataFrame) -> pd.DataFrame:
    return (
        histories.astype({"run_id": str, "metric": str, "epoch": int, "value": float})
        .sort_values(["run_id", "metric", "epoch"])
        .reset_index(drop=True)[["run_id", "metric", "epoch", "value"]]
    )


def written(runs) -> None:
    for seed in range(2):
        pretext = runs.pretext(seed)
        runs.downstream("rotation", seed, 0.6 + seed / 10, after=pretext)
        runs.downstream("supervised", seed, 0.5)
    runs.downstream("rotation", 3, 0.5, status="RUNNING", dataset__labels_per_class="1")
    runs.made[1].metrics["test_acc"][4] = float("nan")


def check_against(runs, uri: str, experiment: str) -> None:
    loaded = load_runs(experiment, uri=uri)
    expected = runs.frame().set_index("run_id")
    got = loaded.set_index("run_id").loc[expected.index]
    for column in expected.columns.drop(["start_time", "tags.ssl_rot.pretext_run_id"]):
        pd.testing.assert_series_equal(
            got[column].astype(object).where(got[column].notna(), None),
            expected[column].astype(object).where(expected[column].notna(), None),
        )
    assert got["start_time"].dt.tz is not None
    histories = load_histories(loaded)
    pd.testing.assert_frame_equal(long(histories), long(runs.histories()))
    cells = compare(pair_runs(loaded, histories))
    np.testing.assert_allclose(cells["difference"], [0.15])
    assert cells["pretext_images"][0] == 4000


def test_sqlite(runs, store_uri: str) -> None:
    written(runs)
    runs.write(store_uri)
    check_against(runs, store_uri, "ssl_rot")


@pytest.mark.slow
def test_server(runs, server: str) -> None:
    written(runs)
    runs.write(server, "over-http")
    check_against(runs, server, "over-http")


@pytest.mark.slow
@pytest.mark.parametrize("points", [5, 10, 11, 25])
def test_server_that_cuts_its_answers(runs, server: str, monkeypatch, points: int) -> None:
    """A run has 10 points a metric; the server is asked for fewer than all in one answer."""
    monkeypatch.setattr(rest, "_POINTS", points)
    written(runs)
    runs.write(server, f"cut-{points}")
    check_against(runs, server, f"cut-{points}")


@pytest.mark.slow
def test_server_that_hides_the_bulk_call(runs, server: str, monkeypatch) -> None:
    monkeypatch.setattr(rest, "_ENDPOINT", "/ajax-api/2.0/mlflow/not-there")
    written(runs)
    runs.write(server, "hidden")
    check_against(runs, server, "hidden")


def test_the_pretext_run_may_be_in_another_experiment(runs, store_uri: str) -> None:
    pretext = runs.pretext(0)
    client = runs.write(store_uri, "earlier")
    runs.made.clear()
    run = runs.downstream("rotation", 0, 0.6)
    run.tags["pretext_run_id"] = pretext.run_id
    runs.downstream("supervised", 0, 0.5)
    runs.write(store_uri, "now")
    loaded = load_runs("now", uri=store_uri)
    assert set(loaded["tags.ssl_rot.phase"]) == {"pretext", "downstream"}
    pairs = pair_runs(loaded, load_histories(loaded))
    assert pairs["pretext_images"][0] == 4000
    assert len(load_runs(None, uri=store_uri)) == 3  # every experiment
    client.delete_run(run.run_id)
    assert len(load_runs(None, uri=store_uri)) == 1  # a deleted run is none


def test_more_runs_than_go_into_one_query(runs, store_uri: str, monkeypatch) -> None:
    monkeypatch.setattr("ssl_rot.report.load.sql._CHUNK", 2)
    written(runs)
    runs.write(store_uri)
    check_against(runs, store_uri, "ssl_rot")


def test_where_and_since_narrow_the_downstream_runs(runs, store_uri: str) -> None:
    runs.arms([0.1, 0.2])
    runs.arms([0.1, 0.2], dataset__labels_per_class="1", freeze="backbone")
    runs.write(store_uri)
    found = load_runs(uri=store_uri, where="params.freeze = 'backbone'")
    downstream = found[found["tags.ssl_rot.phase"] == "downstream"]
    assert set(downstream["params.freeze"]) == {"backbone"}
    assert len(downstream) == 4
    assert (found["tags.ssl_rot.phase"] == "pretext").sum() == 2
    with_dots = load_runs(uri=store_uri, where="params.`dataset.labels_per_class` = '1'")
    assert len(with_dots) == len(found)
    assert len(load_runs(uri=store_uri, since="2023-11-01")) == 12
    with pytest.raises(TrackingError, match="no downstream run that meets where and since"):
        load_runs(uri=store_uri, since="2024-01-01T10:00")
    both = {"where": "params.freeze = 'none'", "since": "2023-11-01"}
    assert len(load_runs(uri=store_uri, **both)) == 6


def test_an_epoch_that_was_logged_twice_counts_once_with_its_later_value(
    runs, store_uri: str
) -> None:
    runs.arms([0.1, 0.2])
    client = runs.write(store_uri)
    run_id = runs.made[1].run_id
    client.log_metric(run_id, "test_acc", 0.42, timestamp=1_800_000_000_000, step=5)
    # Written later, but of an earlier time: what a slow network may do.
    client.log_metric(run_id, "test_acc", 0.99, timestamp=1_600_000_000_000, step=6)
    loaded = load_runs(uri=store_uri)
    histories = long(load_histories(loaded))
    line = histories.query("run_id == @run_id and metric == 'test_acc'")
    assert list(line["epoch"]) == list(range(1, 11))
    assert line.loc[line["epoch"] == 5, "value"].item() == 0.42
    assert line.loc[line["epoch"] == 6, "value"].item() == pytest.approx(0.6 * 6 / 10)


def test_numbers_take_little_memory(runs, store_uri: str) -> None:
    runs.arms([0.1, 0.2])
    runs.write(store_uri)
    histories = load_histories(load_runs(uri=store_uri))
    assert histories.memory_usage(index=False).sum() / len(histories) < 32


def test_passwords_in_addresses_are_not_passed_on(runs, store_uri: str) -> None:
    uri = "postgresql://me:secret@host/mlflow"
    runs.arms([0.1, 0.2], tracking__uri=uri)
    runs.made[1].tags["command"] = f"run.py --multirun tracking.uri={uri} seed=0"
    runs.write(store_uri)
    text = load_runs(uri=store_uri).to_csv()
    assert "secret" not in text
    assert "tracking.uri=postgresql://me:***@host/mlflow seed=0" in text


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "31.5.2026"])
def test_a_date_that_is_none(since: str) -> None:
    with pytest.raises(ConfigError, match=rf"since={since} is not a date; .*2026-05-31"):
        load_runs(since=since)


def test_no_database_is_told_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"no database .*mlflow\.db.*ssl_rot\.run"):
        load_runs(uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database at all, but long enough to look like one")
    with pytest.raises(TrackingError, match=r"mlflow\.db cannot be read"):
        load_runs(uri=f"sqlite:///{tmp_path}/mlflow.db")


def test_an_empty_experiment(store_uri: str) -> None:
    MlflowClient(store_uri).create_experiment("ssl_rot")
    with pytest.raises(
        TrackingError, match=r"no downstream run in experiment ssl_rot .*Train both"
    ):
        load_runs(uri=store_uri)


def test_an_unknown_experiment_lists_those_there_are(runs, store_uri: str) -> None:
    runs.arms([0.1])
    runs.write(store_uri, "digits")
    with pytest.raises(TrackingError, match=r"no experiment 'digit'.*There are: Default, digits"):
        load_runs("digit", uri=store_uri)


@pytest.mark.parametrize(
    "where", ["params.freeze == none", "freeze = 'none' or", "nonsense", "params.freeze ="]
)
def test_a_filter_that_mlflow_cannot_read(runs, store_uri: str, where: str) -> None:
    runs.arms([0.1])
    runs.write(store_uri)
    with pytest.raises(TrackingError, match=r"MLflow cannot read the filter: .*\n.*where="):
        load_runs(uri=store_uri, where=where)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:9",
        "http://user:secret@127.0.0.1:9",
        "postgresql://user:secret@127.0.0.1:9/mlflow",
        "nonsense://somewhere",
        "file:///nowhere/mlruns",
    ],
)
def test_a_store_that_cannot_be_reached_is_told_at_once_and_without_passwords(uri: str) -> None:
    start = time.monotonic()
    with pytest.raises(TrackingError, match="cannot be re") as caught:
        load_runs(uri=uri)
    assert time.monotonic() - start < 15
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
