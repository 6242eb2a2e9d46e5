"""MLflow goes away and comes back, or does not: every epoch arrives, and none twice."""

from __future__ import annotations

import itertools
import re
import time

import pytest
from mlflow import MlflowClient

from ssl_rot.errors import TrackingError
from ssl_rot.tracking import RunLog, tracker

TINY = (
    *("dataset.image_size=8", "dataset.train_size=96", "dataset.labels_per_class=3"),
    *("model.widths=[8,16]", "model.blocks=[1,1]", "precision=fp32"),
    "dataset.augment.crop_padding=0",
    *("schedule.epochs=2", "schedule.batch_size=16", "pretext.schedule.epochs=1", "floors=false"),
)
RUN = ("+experiment=rotation", "pretext.schedule.epochs=3", "schedule.epochs=4")


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """A refused connection is tried once; what is left of the waiting is ours."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(tracker, "PATIENCE", 3.0)


def statuses(all_runs, uri):
    return [run.info.status for run in all_runs(uri)]


@pytest.fixture(scope="module")
def undisturbed(run_job, make_store, told, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run_job(folder, *RUN)
    return told(make_store(folder))


@pytest.mark.slow
def test_a_server_that_comes_back(run_job, server, at_epoch, told, all_runs, undisturbed, tmp_path):
    server.start()
    at_epoch("pretext", 2, server.stop)  # gone while one phase ends and the next begins
    at_epoch("downstream", 3, server.start)
    run_job(tmp_path, *RUN, f"tracking.uri={server.uri}")
    assert told(server.uri) == undisturbed
    assert statuses(all_runs, server.uri) == ["FINISHED"] * 2
    client = MlflowClient(server.uri)
    for run in all_runs(server.uri):
        files = {item.path for item in client.list_artifacts(run.info.run_id)}
        own = {"inputs.json", "predictions.parquet"} & files
        assert len(own) == 2 * (run.data.tags["ssl_rot.phase"] == "downstream")
        assert files - own == {"config.yaml", "weights.safetensors", "history.csv", "figures"}


@pytest.mark.slow
def test_a_server_that_is_gone_for_good_and_sync(
    run_job, server, at_epoch, sync_command, call_sync, told, all_runs, undisturbed, tmp_path
):
    server.start()
    at_epoch("pretext", 2, server.stop)
    with pytest.raises(
        TrackingError, match=f"Nothing is lost: all of it is in {tmp_path}/job1/downstream, "
    ) as refused:
        run_job(tmp_path, *RUN, f"tracking.uri={server.uri}")
    command = sync_command(str(refused.value))
    status, output = call_sync(command)
    assert status == 2
    assert f"tracking.uri={server.uri} cannot be used" in output
    server.start()
    for said in ("sent, run", "MLflow has all of", "MLflow has all of"):
        status, output = call_sync(command)
        assert status == 0
        assert output.count(said) == 2, output
        assert told(server.uri) == undisturbed
        assert statuses(all_runs, server.uri) == ["FINISHED"] * 2
    # What was sent later is as good as what is sent at once.
    again = run_job(tmp_path, *RUN, f"tracking.uri={server.uri}", "resume=true")
    assert "reused from run" in again.output
    assert len(all_runs(server.uri)) == 2


def test_a_server_that_is_not_there_at_the_start(call_main, tmp_path):
    began = time.monotonic()
    status, output = call_main(*RUN, "tracking.uri=http://127.0.0.1:9")
    assert time.monotonic() - began < 30
    assert status == 2
    assert "The tracking store tracking.uri=http://127.0.0.1:9 cannot be used" in output
    assert "Traceback" not in output
    assert not [*tmp_path.rglob("run.json")]


class Away(Exception):
    pass


@pytest.fixture
def away(monkeypatch):
    """A store that does not answer from the n-th call of a kind on, for some calls."""

    def go(name, first, calls, *, after=False):
        original, count = getattr(MlflowClient, name), [0]

        def call(self, *args, **kwargs):
            count[0] += 1
            failing = first <= count[0] < first + calls
            if failing and not after:
                raise Away("gone")
            result = original(self, *args, **kwargs)
            if failing:
                raise Away("the answer was lost")
            return result

        monkeypatch.setattr(MlflowClient, name, call)

    return go


@pytest.mark.parametrize("after", [False, True], ids=["not taken", "taken, the answer lost"])
@pytest.mark.parametrize(
    ("name", "first", "calls"),
    [
        ("log_batch", 3, 1),  # the first two are the params: a run that cannot begin is refused
        ("log_batch", 5, 3),
        ("create_run", 2, 1),
        ("set_terminated", 1, 1),
        ("set_terminated", 1, 2),
        ("log_artifact", 3, 2),
    ],
)
def test_a_store_that_misses_some_calls(
    run_job, make_store, away, told, all_runs, undisturbed, tmp_path, name, first, calls, after
):
    away(name, first, calls, after=after)
    run_job(tmp_path, *RUN)
    uri = make_store(tmp_path)
    assert told(uri) == undisturbed
    assert statuses(all_runs, uri) == ["FINISHED"] * 2


def test_a_store_that_cannot_make_the_first_run_ends_before_training(
    run_job, make_store, all_runs, away, tmp_path
):
    away("create_run", 1, 10**6)
    with pytest.raises(TrackingError, match="gone"):
        run_job(tmp_path, *RUN)
    assert not [*tmp_path.rglob("run.json"), *tmp_path.rglob("history.csv")]
    assert all_runs(make_store(tmp_path)) == []


def test_an_outage_costs_a_tenth_of_the_time(run_job, monkeypatch, tmp_path):
    """The longer a call takes to fail, the longer MLflow is left alone."""
    original, failed = MlflowClient.log_batch, []

    def slow(self, run_id, **kwargs):
        if "metrics" not in kwargs:
            return original(self, run_id, **kwargs)
        began = time.monotonic()
        time.sleep(0.3)
        failed.append((began, time.monotonic()))
        raise Away("gone")

    monkeypatch.setattr(MlflowClient, "log_batch", slow)
    monkeypatch.setattr(tracker, "PATIENCE", 0.0)
    with pytest.raises(TrackingError):
        run_job(tmp_path, "+experiment=supervised", "schedule.epochs=60")
    while_training = failed[:-2]  # at the end it is asked again all the same
    pauses = [begun - ended for (_, ended), (begun, _) in itertools.pairwise(while_training)]
    assert len(while_training) < 20
    assert all(pause >= 3 for pause in pauses)


def test_what_a_killed_run_did_not_send_is_sent_at_the_next_start(
    run_job, make_store, all_runs, away, monkeypatch, tmp_path
):
    """A power cut in an outage: the epochs are on the disk, and MLflow has RUNNING."""
    uri = make_store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "end", lambda self, *rest: None)
        patch.setattr(RunLog, "send_when_due", lambda self: None)
        patch.setattr(tracker.Tracker, "flush", lambda self: None)
        run_job(tmp_path, "+experiment=supervised", "schedule.epochs=3")
    (run,) = all_runs(uri)
    assert run.info.status == "RUNNING"
    assert not run.data.metrics
    run_job(tmp_path, "+experiment=supervised", "seed=1")
    (closed,) = [one for one in all_runs(uri) if one.info.run_id == run.info.run_id]
    assert closed.info.status == "KILLED"
    assert closed.data.tags["ssl_rot.error"] == "its process is gone"
    history = MlflowClient(uri).get_metric_history(run.info.run_id, "test_acc")
    assert [point.step for point in history] == [1, 2, 3]


def test_sync_tells_what_it_is_given(call_sync, tmp_path):
    (tmp_path / "empty").mkdir()
    status, output = call_sync("python -m ssl_rot.sync empty")
    assert status == 2
    assert "empty holds no run" in output
    damaged = tmp_path / "damaged" / "run.json"
    damaged.parent.mkdir()
    for content in (b"", b"[]", b"{}", b"\xff", b'{"folder": 1}'):
        damaged.write_bytes(content)
        status, output = call_sync("python -m ssl_rot.sync damaged")
        assert status == 2
        assert f"{damaged} is damaged" in output
    status, output = call_sync("python -m ssl_rot.sync --help")
    assert status == 0
    assert "Nothing is sent twice" in output


def test_sync_as_a_process(run_cli, tmp_path):
    done = run_cli(str(tmp_path), module=("-m", "ssl_rot.sync"), expect=2)
    assert f"{tmp_path} holds no run" in done.stderr
    assert "Traceback" not in done.stderr


def test_sync_leaves_a_run_at_work_alone(
    run_job, call_sync, make_store, all_runs, monkeypatch, tmp_path
):
    seen = []
    original = RunLog.epoch

    def epoch(self, number, values):
        original(self, number, values)
        status, _ = call_sync("python -m ssl_rot.sync job1")
        seen.append((status, *statuses(all_runs, make_store(tmp_path))))

    monkeypatch.setattr(RunLog, "epoch", epoch)
    run_job(tmp_path, "+experiment=supervised")
    assert seen == [(0, "RUNNING")] * 2


@pytest.mark.slow
def test_a_server_that_goes_away_in_a_sweep(
    call_main, server, at_epoch, sync_command, call_sync, told, all_runs, tmp_path
):
    server.start()
    at_epoch("downstream", 1, server.stop)
    sweep = ("--multirun", "+experiment=rotation,supervised", f"tracking.uri={server.uri}")
    # In this process, where the server is stopped after an epoch.
    sweep += (*TINY, "hydra.sweep.dir=sweep", "hydra/launcher=basic")
    status, output = call_main(*sweep)
    assert status == 1
    of_job = (tmp_path / "sweep" / "0" / "output.txt").read_text()
    assert f"Nothing is lost: all of it is in {tmp_path}/sweep/0" in of_job
    assert "Job 1 failed: The tracking store tracking.uri=http://127.0.0.1" in output
    assert "The table of jobs could not be recorded" in output
    assert "Traceback" not in output
    server.start()
    command = f"python -m ssl_rot.sync --to {server.uri} {tmp_path}/sweep"
    assert command in re.findall(r"python -m ssl_rot\.sync .*", output)
    status, output = call_sync(command)
    assert status == 0, output
    assert sorted(statuses(all_runs, server.uri)) == ["FAILED", "FINISHED", "FINISHED"]
    status, output = call_main(*sweep, "resume=true")
    assert status == 0, output
    assert sorted(statuses(all_runs, server.uri)) == ["FINISHED"] * 4
