"""A lock between machines that share only the tracking store."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest
from mlflow.entities import ViewType

from ssl_rot.tracking.lease import LOCK, lease


@pytest.fixture
def store(make_store, tmp_path):
    client = mlflow.MlflowClient(make_store(tmp_path))
    return client, client.create_experiment("locks")


def claims(client, experiment, view=ViewType.ACTIVE_ONLY):
    return client.search_runs([experiment], f"tags.`{LOCK}` != ''", run_view_type=view)


def test_one_holder_at_a_time_and_no_claim_remains(store):
    client, experiment = store
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        with lease(client, experiment, "pretext-x"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.1)
            inside.remove(number)

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work, range(5)))
    assert most == [1] * 5
    assert not claims(client, experiment)
    assert len(claims(client, experiment, ViewType.DELETED_ONLY)) >= 5


def test_locks_with_different_names_are_independent(store):
    client, experiment = store
    with lease(client, experiment, "pretext-x"), lease(client, experiment, "pretext-y"):
        assert len(claims(client, experiment)) == 2


def test_a_holder_without_a_heartbeat_is_presumed_dead(store, caplog):
    client, experiment = store
    dead = client.create_run(experiment, tags={LOCK: "pretext-x", "ssl_rot.beat": "3"})
    with lease(client, experiment, "pretext-x", patience=0.5):
        assert dead.info.run_id not in {run.info.run_id for run in claims(client, experiment)}
    assert "pretext-x has sent no heartbeat for 0.5 s" in caplog.text
    assert not claims(client, experiment)


def test_a_live_holder_is_waited_for_without_limit(store):
    client, experiment = store
    order: list[str] = []
    held = threading.Event()

    def hold() -> None:
        with lease(client, experiment, "pretext-x", beat=0.1):
            held.set()
            time.sleep(2.5)
            order.append("first")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(hold)
        assert held.wait(30)
        with lease(client, experiment, "pretext-x", patience=1):
            order.append("second")
        first.result()
    assert order == ["first", "second"]
