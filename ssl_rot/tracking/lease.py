"""A lock between machines that have nothing in common but the tracking server.

MLflow has no locks, but all see its runs: who wants a lock makes a run that says so, and looks
whether there is another. Who sees one withdraws and waits. Of two who make theirs at once both may
withdraw, but never do both go on: whoever looked and saw nothing had made its own run before, so
that the other, looking later, sees it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.entities import Run

log = logging.getLogger(__name__)

LOCK = "ssl_rot.lock"
"""Tag of the runs that stand for a lock: its name."""
_BEAT = "ssl_rot.beat"  # changes as long as the holder lives


@contextmanager
def lease(
    client: MlflowClient,
    experiment_id: str,
    name: str,
    *,
    tags: Mapping[str, str] | None = None,
    beat: float = 10,
    patience: float = 60,
) -> Iterator[None]:
    """Holds ``name`` against every other process that uses the same tracking store.

    Args:
        client: of the store.
        experiment_id: where the run that stands for the lock is kept while it is held.
        name: of the lock; it counts in all experiments of the store.
        tags: of the run, besides.
        beat: seconds between two signs of life of the holder.
        patience: seconds without one after which the holder is taken for dead. Told by the clock of
            the one who waits, since those of two machines may differ.
    """
    run_id = _acquire(client, experiment_id, name, tags or {}, patience)
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(client, run_id, beat, ended), daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        withdraw(client, run_id)


def _acquire(
    client: MlflowClient, experiment_id: str, name: str, tags: Mapping[str, str], patience: float
) -> str:
    waited = False
    while True:
        for other in _holders(client, name):
            if not waited:
                log.info("Waiting for another machine: %s", name)
                waited = True
            _wait(client, other, name, patience)
        own = {LOCK: name, _BEAT: "0", **tags}
        run_id: str = client.create_run(experiment_id, tags=own, run_name=name).info.run_id
        if all(other.info.run_id == run_id for other in _holders(client, name)):
            return run_id
        withdraw(client, run_id)
        time.sleep(random.Random(run_id).uniform(0, 2))


def _holders(client: MlflowClient, name: str) -> list[Run]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs: list[Run] = client.search_runs(
        experiments, f"attributes.status = 'RUNNING' and tags.`{LOCK}` = '{name}'"
    )
    return runs


def _wait(client: MlflowClient, other: Run, name: str, patience: float) -> None:
    """Returns when the holder has gone, or has given no sign of life for too long."""
    last, seen = other.data.tags[_BEAT], time.monotonic()
    while time.monotonic() - seen < patience:
        time.sleep(min(2, patience / 10))
        run = client.get_run(other.info.run_id)
        if run.info.status != "RUNNING" or run.info.lifecycle_stage == "deleted":
            return
        if run.data.tags[_BEAT] != last:
            last, seen = run.data.tags[_BEAT], time.monotonic()
    log.warning("The machine that held %s has given no sign of life for %g s", name, patience)
    withdraw(client, other.info.run_id)


def _beat(client: MlflowClient, run_id: str, beat: float, ended: threading.Event) -> None:
    count = 0
    while not ended.wait(beat):
        count += 1
        try:
            client.set_tag(run_id, _BEAT, str(count))
        except Exception as error:  # the server may be back in time for the next
            log.debug("No sign of life could be given: %s", error)


def withdraw(client: MlflowClient, run_id: str) -> None:
    """Gives back the lock that a run stands for."""
    try:
        client.set_terminated(run_id, "KILLED")
        client.delete_run(run_id)
    except Exception as error:  # those who wait will take this process for dead, and go on
        log.warning("The lock of run %s could not be given back: %s", run_id, error)
