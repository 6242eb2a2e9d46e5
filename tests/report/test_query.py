"""Whatever the kind of store, what is read equals what was written."""

from __future__ import annotations

import csv
import json
import re
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
from mlflow.entities import Metric, Param

from ssl_rot.errors import ConfigError, TrackingError
from ssl_rot.report import compare, load_histories, load_runs, pair_runs


@pytest.fixture(scope="module")
def server(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking server with its own store, which also serves the artifacts."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
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


def fill(runs) -> None:
    for seed in range(2):
        pretext = runs.pretext(seed)
        runs.downstream("rotation", seed, 0.6 + seed / 10, after=pretext)
        runs.downstream("supervised", seed, 0.5)
    runs.downstream("rotation", 3, 0.5, status="RUNNING", dataset__labels_per_class="1")
    runs.made[1].metrics["test_acc"][4] = float("nan")


def log_history_files(runs, client: MlflowClient, folder: Path) -> None:
    """A history.csv for each run, as training writes it: without the prefix of a pretext run."""
    for made in runs.made:
        columns = {name.removeprefix("pretext/"): values for name, values in made.metrics.items()}
        table = pd.DataFrame(columns).rename_axis("epoch").reset_index()
        table.insert(1, "timestamp", made.start)
        table.to_csv(folder / "history.csv", index=False, na_rep="nan")
        client.log_artifact(made.run_id, str(folder / "history.csv"))


def forbid_metric_history(monkeypatch) -> None:
    def fail(*_: object) -> None:
        pytest.fail("MLflow was asked for a history that history.csv has")

    monkeypatch.setattr(MlflowClient, "get_metric_history", fail)


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


def artifact(client: MlflowClient, run_id: str) -> Path:
    """The history.csv of a run whose artifacts are local."""
    return Path(client.get_run(run_id).info.artifact_uri) / "history.csv"


def test_sqlite(runs, store_uri: str) -> None:
    fill(runs)
    runs.write(store_uri)
    check_against(runs, store_uri, "ssl_rot")


def test_histories_come_from_local_history_files(runs, store_uri, tmp_path, monkeypatch) -> None:
    odd = tmp_path / "a folder, 100 %"  # such characters are escaped in addresses
    odd.mkdir()
    MlflowClient(store_uri).create_experiment("ssl_rot", odd.as_uri())
    fill(runs)
    log_history_files(runs, runs.write(store_uri), tmp_path)
    forbid_metric_history(monkeypatch)
    check_against(runs, store_uri, "ssl_rot")


@pytest.mark.parametrize(
    ("content", "replacement"),
    [
        (r"(?s).*", ""),
        (r"(?s)\n.*", "\n"),  # only the header
        (r"^epoch", "step"),
        (r"test_acc", "accuracy"),
        (r"(?s)\n[^\n]*\n$", "\n"),  # of an earlier attempt, one epoch short
        (r"\n7,", "\n7,oops,"),
        (r"(?s).{5}$", ""),  # the end was cut
        (r"0\.", '"0.'),
        (r"(?s)^.*$", "\x00\x01\x02"),
    ],
)
def test_a_damaged_or_outdated_history_file_is_not_used(
    runs, store_uri, tmp_path, monkeypatch, caplog, content, replacement
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(runs)
    client = runs.write(store_uri)
    log_history_files(runs, client, tmp_path)
    path = artifact(client, runs.made[2].run_id)
    damaged = re.sub(content, replacement, path.read_text(), count=1)
    assert damaged != path.read_text()
    path.write_text(damaged)
    artifact(client, runs.made[4].run_id).unlink()
    check_against(runs, store_uri, "ssl_rot")
    assert not caplog.records


def test_histories_of_a_frame_without_artifact_locations(runs, store_uri: str) -> None:
    fill(runs)
    runs.write(store_uri)
    loaded = load_runs(uri=store_uri).drop(columns="artifact_uri")
    pd.testing.assert_frame_equal(long(load_histories(loaded)), long(runs.histories()))
    assert load_histories(loaded.iloc[:0]).empty


@pytest.mark.slow
def test_server(runs, server: str) -> None:
    fill(runs)
    runs.write(server, "over-http")
    check_against(runs, server, "over-http")


@pytest.mark.slow
def test_histories_come_from_the_history_files_of_a_server(
    runs, server: str, tmp_path, monkeypatch, capfd
) -> None:
    fill(runs)
    log_history_files(runs, runs.write(server, "with-files"), tmp_path)
    forbid_metric_history(monkeypatch)
    capfd.readouterr()
    check_against(runs, server, "with-files")
    assert capfd.readouterr().err == ""  # no progress bars


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
    assert len(load_runs(None, uri=store_uri)) == 1  # deleted runs do not count


def test_more_runs_than_fit_into_one_request(runs, store_uri: str, monkeypatch) -> None:
    monkeypatch.setattr("ssl_rot.report.load.runs._PAGE", 2)
    monkeypatch.setattr("ssl_rot.report.load.runs._IDS", 1)
    fill(runs)
    runs.write(store_uri)
    check_against(runs, store_uri, "ssl_rot")


def test_where_and_since_filter_the_downstream_runs(runs, store_uri: str) -> None:
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


def test_of_an_epoch_that_was_logged_twice_the_later_value_counts(runs, store_uri: str) -> None:
    runs.arms([0.1, 0.2])
    client = runs.write(store_uri)
    run_id = runs.made[1].run_id
    client.log_metric(run_id, "test_acc", 0.42, timestamp=1_800_000_000_000, step=5)
    # Written later with an earlier timestamp, as a slow network may do.
    client.log_metric(run_id, "test_acc", 0.99, timestamp=1_600_000_000_000, step=6)
    loaded = load_runs(uri=store_uri)
    histories = long(load_histories(loaded))
    line = histories.query("run_id == @run_id and metric == 'test_acc'")
    assert list(line["epoch"]) == list(range(1, 11))
    assert line.loc[line["epoch"] == 5, "value"].item() == 0.42
    assert line.loc[line["epoch"] == 6, "value"].item() == pytest.approx(0.6 * 6 / 10)


def test_histories_take_little_memory(runs, store_uri: str) -> None:
    runs.arms([0.1, 0.2])
    runs.write(store_uri)
    histories = load_histories(load_runs(uri=store_uri))
    assert histories.memory_usage(index=False).sum() / len(histories) < 32


def test_passwords_in_addresses_are_masked(runs, store_uri: str) -> None:
    uri = "postgresql://me:secret@host/mlflow"
    runs.arms([0.1, 0.2], tracking__uri=uri)
    runs.made[1].tags["command"] = f"run.py --multirun tracking.uri={uri} seed=0"
    runs.write(store_uri)
    text = load_runs(uri=store_uri).to_csv()
    assert "secret" not in text
    assert "tracking.uri=postgresql://me:***@host/mlflow seed=0" in text


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "31.5.2026"])
def test_an_invalid_date(since: str) -> None:
    with pytest.raises(ConfigError, match=rf"since={since} is not a date; .*2026-05-31"):
        load_runs(since=since)


def test_a_missing_database_is_reported_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"no database .*mlflow\.db.*ssl_rot\.run"):
        load_runs(uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database at all, but long enough to look like one")
    with pytest.raises(TrackingError, match=r"mlflow\.db cannot be read"):
        load_runs(uri=f"sqlite:///{tmp_path}/mlflow.db")


def test_an_empty_experiment(store_uri: str) -> None:
    MlflowClient(store_uri).create_experiment("ssl_rot")
    with pytest.raises(
        TrackingError, match=r"no downstream run in experiment ssl_rot .*Train both"
    ):
        load_runs(uri=store_uri)


def test_an_unknown_experiment_lists_the_existing_ones(runs, store_uri: str) -> None:
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
        "postgresql+psycopg2://user:secret@127.0.0.1:9/mlflow",  # MLflow alone tries for minutes
        "nonsense://somewhere",
        "file:///nowhere/mlruns",
    ],
)
def test_an_unreachable_store_is_reported_quickly_and_without_passwords(uri: str) -> None:
    start = time.monotonic()
    with pytest.raises(TrackingError, match="cannot be read") as caught:
        load_runs(uri=uri)
    assert time.monotonic() - start < 15
    assert "secret" not in str(caught.value)
    assert str(caught.value).count("\n") == 1  # the reason, and what to check


def log_earlier_run(
    client: MlflowClient, experiment: str, run: dict, new_ids: dict[str, str], folder: Path | None
) -> None:
    """Logs a run of earlier_runs.json; with its history.csv if there is a folder to write it to."""
    tags = {key: new_ids.get(value, value) for key, value in run["tags"].items()}
    run_id = client.create_run(experiment, run["start_time"], tags, run["name"]).info.run_id
    new_ids[run["run_id"]] = run_id
    prefix = "pretext/" if tags["ssl_rot.phase"] == "pretext" else ""
    metrics = [
        Metric(prefix + name, float(value), int(row["timestamp"]), int(row["epoch"]))
        for row in csv.DictReader(run["history"].splitlines())
        for name, value in row.items()
        if name not in ("epoch", "timestamp")
    ]
    client.log_batch(run_id, metrics, [Param(key, value) for key, value in run["params"].items()])
    if folder is not None and run["history"]:
        (folder / "history.csv").write_text(run["history"])
        client.log_artifact(run_id, str(folder / "history.csv"))
    client.set_terminated(run_id, run["status"], run["end_time"])


def rename_column(name: str) -> str:
    """Its columns were named after two arms."""
    name = {"rotation": "arm_value", "supervised": "reference_value"}.get(name, name)
    return re.sub("^supervised_", "reference_", re.sub("^rotation_", "arm_", name))


@pytest.mark.parametrize("has_files", [True, False])
def test_runs_of_an_earlier_version_give_the_numbers_of_that_version(
    store_uri: str, tmp_path: Path, monkeypatch, has_files: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    earlier = json.loads(Path(__file__).with_name("earlier_runs.json").read_text())
    client = MlflowClient(store_uri)
    experiment = client.create_experiment("ssl_rot")
    new_ids: dict[str, str] = {}
    for run in earlier["runs"]:  # by start time: those that others refer to come first
        log_earlier_run(client, experiment, run, new_ids, tmp_path if has_files else None)
    if has_files:
        forbid_metric_history(monkeypatch)

    runs = load_runs(uri=store_uri)
    assert set(runs["run_id"]) == set(new_ids.values())
    pairs = pair_runs(runs, load_histories(runs)).sort_values("seed", ignore_index=True)
    for name, got in (("pairs", pairs), ("cells", compare(pairs))):
        expected = pd.DataFrame(earlier["expected"][name]).replace({None: np.nan})
        judged = ["verdict", "basis", "p", "p_sign_flip", "p_sign_flip_holm", "p_holm"]
        expected = expected.drop(columns=judged, errors="ignore").rename(columns=rename_column)
        assert len(got) == len(expected)
        for column in expected:
            pd.testing.assert_series_equal(
                got[column], expected[column], check_dtype=False, rtol=1e-12
            )
