"""A lock between machines that share nothing but the tracking server.

MLflow has no locks, but every client sees its runs. To take a lock, a client creates a run that
claims it, and then looks for other claims. If it finds one, it withdraws its own and waits. Two
clients that claim at once may both withdraw, but never both proceed: each creates its claim before
it looks, so the one that looks last sees the other's claim.
"""

import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Run

from ssl_rot.tracking.background import in_background

log = logging.getLogger(__name__)

LOCK = "ssl_rot.lock"
"""Tag of the runs that claim a lock: the name of the lock."""
_BEAT = "ssl_rot.beat"  # a counter, which increases while the holder is alive


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
        experiment_id: of the experiment in which the claim is created.
        name: of the lock, in all experiments of the store.
        tags: additional tags of the claim.
        beat: seconds between two heartbeats of the holder.
        patience: seconds without a heartbeat after which the holder is presumed dead, by the clock
            of the machine that waits, since clocks differ.
    """
    run_id = _acquire(client, experiment_id, name, tags or {}, patience)
    try:
        with in_background(partial(_beat, client, run_id, beat)):
            yield
    finally:
        withdraw(client, run_id)


def _acquire(
    client: MlflowClient, experiment_id: str, name: str, tags: Mapping[str, str], patience: float
) -> str:
    own = {LOCK: name, _BEAT: "0", **tags}
    waited = False
    while True:
        for other in _holders(client, name):
            if not waited:
                log.info("Waiting for another machine: %s", name)
                waited = True
            _wait(client, other, name, patience)
        run_id: str = client.create_run(experiment_id, tags=own, run_name=name).info.run_id
        if all(other.info.run_id == run_id for other in _holders(client, name)):
            return run_id
        withdraw(client, run_id)
        time.sleep(random.Random(run_id).uniform(0, 2))


def _holders(client: MlflowClient, name: str) -> list[Run]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    claims = f"attributes.status = 'RUNNING' and tags.`{LOCK}` = '{name}'"
    return list(client.search_runs(experiments, claims))


def _wait(client: MlflowClient, other: Run, name: str, patience: float) -> None:
    """Returns when the holder has released the lock, or is presumed dead."""
    last, seen = other.data.tags[_BEAT], time.monotonic()
    while time.monotonic() - seen < patience:
        time.sleep(min(2, patience / 10))
        run = client.get_run(other.info.run_id)
        if run.info.status != "RUNNING" or run.info.lifecycle_stage == "deleted":
            return
        if run.data.tags[_BEAT] != last:
            last, seen = run.data.tags[_BEAT], time.monotonic()
    log.warning(
        "The machine that holds %s has sent no heartbeat for %g s; taking over", name, patience
    )
    withdraw(client, other.info.run_id)


def _beat(client: MlflowClient, run_id: str, beat: float, ended: threading.Event) -> None:
    count = 0
    while not ended.wait(beat):
        count += 1
        try:
            client.set_tag(run_id, _BEAT, str(count))
        except Exception as error:  # the server may be back before the next one
            log.debug("A heartbeat could not be sent: %s", error)


def withdraw(client: MlflowClient, run_id: str) -> None:
    """Releases the lock that a run claims."""
    try:
        client.set_terminated(run_id, "KILLED")
        client.delete_run(run_id)
    except Exception as error:  # others will presume this process dead, and proceed
        log.warning("The lock of run %s could not be released: %s", run_id, error)
