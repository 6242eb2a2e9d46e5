"""An experiment in a tracking store, and the locks of the processes that use it."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import mlflow
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ssl_rot.errors import TrackingError, describe_error
from ssl_rot.tracking.database import absolute_uri, create_database
from ssl_rot.tracking.errors import store_errors
from ssl_rot.tracking.lease import lease, withdraw
from ssl_rot.tracking.names import Tag

log = logging.getLogger(__name__)


class Store:
    """An experiment in a tracking store.

    Args:
        experiment_name: created if it does not exist.
        uri: of the store; ``None`` follows MLflow's own defaults.

    Raises:
        TrackingError: the store cannot be reached or written, or the experiment was deleted.
    """

    def __init__(self, experiment_name: str, uri: str | None = None) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)
        # It logs errors with tracebacks, although it also raises them.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        # A server that is down is reported within seconds, not MLflow's minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self.uri = absolute_uri(uri if uri is not None else mlflow.get_tracking_uri())
        self.experiment_name = experiment_name
        try:
            # If several processes create a database at once, all but one fail.
            with self.lock("store"):
                create_database(self.uri)
                self.client = MlflowClient(tracking_uri=self.uri)
                self.experiment_id = self._open_experiment()
        except TrackingError:
            raise
        except Exception as error:  # each kind of store raises its own errors
            raise TrackingError(
                f"The tracking store tracking.uri={self.uri} cannot be used: "
                f"{describe_error(error)}\nIs the server running, and the folder writable?"
            ) from error

    def _open_experiment(self) -> str:
        name = self.experiment_name
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self.client.create_experiment(name))
            except MlflowException:  # another machine may just have created it
                experiment = self.client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            raise TrackingError(
                f"tracking.experiment_name={name} was deleted in {self.uri}; choose another "
                "name, or restore it: mlflow experiments restore "
                f"--experiment-id {experiment.experiment_id}"
            )
        return str(experiment.experiment_id)

    @contextmanager
    def lock(self, name: str, *, everywhere: bool = False) -> Iterator[None]:
        """Holds ``name`` against the other processes on this machine that use the same store.

        The operating system releases it when its holder dies.

        Args:
            name: of the lock.
            everywhere: also against processes on other machines, if the store is not a file.
        """
        lock = self._local_lock(name)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            log.info("Waiting for another process: %s", name)
            lock.acquire()
        try:
            with ExitStack() as stack:
                if everywhere and not self.uri.startswith("sqlite:"):
                    with store_errors(f"The lock {name} cannot be acquired in {self.uri}"):
                        host = {Tag.HOST: _lock_host()}
                        stack.enter_context(lease(self.client, self.experiment_id, name, tags=host))
                yield
        finally:
            lock.release()

    def release_stale_lease(self, name: str, run_id: str, host: str | None) -> None:
        """Withdraws a lease of this machine whose holder is dead, so holds no local lock either.

        Args:
            name: of the lock.
            run_id: of the run that claims it.
            host: the host tag of that run.
        """
        if host != _lock_host():
            return
        try:
            with self._local_lock(name).acquire(timeout=0):
                withdraw(self.client, run_id)
        except Timeout:
            pass

    def _local_lock(self, name: str) -> FileLock:
        digest = hashlib.sha256(self.uri.encode()).hexdigest()[:12]
        folder = _lock_folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        return FileLock(folder / f"{digest}-{name}.lock")


def _lock_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"ssl_rot-{os.getuid()}"


def _lock_host() -> str:
    """The machine and its lock folder: only from there can a local lock be checked."""
    return f"{socket.gethostname()}:{_lock_folder()}"
