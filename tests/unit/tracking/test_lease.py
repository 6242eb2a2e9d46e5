"""A lock between machines: a store in common, and nothing else."""

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


def left(client, experiment, view=ViewType.ACTIVE_ONLY):
    return client.search_runs([experiment], f"tags.`{LOCK}` != ''", run_view_type=view)


def test_one_at_a_time_and_nothing_stays_behind(store):
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
    assert not left(client, experiment)
    assert len(left(client, experiment, ViewType.DELETED_ONLY)) >= 5


def test_locks_of_other_names_are_not_waited_for(store):
    client, experiment = store
    with lease(client, experiment, "pretext-x"), lease(client, experiment, "pretext-y"):
        assert len(left(client, experiment)) == 2


def test_a_holder_without_a_sign_of_life_is_taken_for_dead(store, caplog):
    client, experiment = store
    dead = client.create_run(experiment, tags={LOCK: "pretext-x", "ssl_rot.beat": "3"})
    with lease(client, experiment, "pretext-x", patience=0.5):
        assert dead.info.run_id not in {run.info.run_id for run in left(client, experiment)}
    assert "pretext-x has given no sign of life for 0.5 s" in caplog.text
    assert not left(client, experiment)


def test_a_holder_that_lives_is_waited_for_however_long(store):
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
