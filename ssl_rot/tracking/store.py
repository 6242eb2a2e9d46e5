"""An experiment in a tracking store: how it is met, and the locks of those who use it."""

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
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from ssl_rot.errors import TrackingError
from ssl_rot.lease import LOCK, lease, withdraw
from ssl_rot.tracking.names import Tag
from ssl_rot.tracking.run_log import answering, line

log = logging.getLogger(__name__)


class Store:
    """An experiment in a tracking store.

    Args:
        experiment_name: made if it is not there.
        uri: of the store; ``None`` follows MLflow's own defaults.

    Raises:
        TrackingError: the store cannot be reached or written, or the experiment was deleted.
    """

    def __init__(self, experiment_name: str, uri: str | None = None) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)
        # Its errors come with tracebacks, and are told by whoever they are raised to.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        # A server that is not there is told within seconds, not MLflow's minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self.uri = _absolute(uri if uri is not None else mlflow.get_tracking_uri())
        self.experiment_name = experiment_name
        try:
            # Of several processes that all try to make a database only one would survive.
            with self.lock("store"):
                _make_database(self.uri)
                self.client = MlflowClient(tracking_uri=self.uri)
                experiment = self.client.get_experiment_by_name(experiment_name)
                if experiment is None:
                    self.experiment_id = self._new_experiment()
                elif experiment.lifecycle_stage == "deleted":
                    raise TrackingError(
                        f"tracking.experiment_name={experiment_name} was deleted in {self.uri}; "
                        "take another name, or restore it: mlflow experiments restore "
                        f"--experiment-id {experiment.experiment_id}"
                    )
                else:
                    self.experiment_id = experiment.experiment_id
        except TrackingError:
            raise
        except Exception as error:  # each kind of store has errors of its own
            raise TrackingError(
                f"The tracking store tracking.uri={self.uri} cannot be used: {line(error)}\n"
                "Is the server running, and the folder writable?"
            ) from error

    def _new_experiment(self) -> str:
        try:
            made: str = self.client.create_experiment(self.experiment_name)
        except MlflowException:  # another machine may have been faster
            experiment = self.client.get_experiment_by_name(self.experiment_name)
            if experiment is None:
                raise
            made = experiment.experiment_id
        return made

    @contextmanager
    def lock(self, name: str, *, everywhere: bool = False) -> Iterator[None]:
        """Holds ``name`` against the other processes on this machine that use the same store.

        The operating system releases it when its holder dies.

        Args:
            name: of the lock.
            everywhere: against those on other machines too, if the store is one for several.
        """
        lock = self._local(name)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            log.info("Waiting for another process: %s", name)
            lock.acquire()
        try:
            with ExitStack() as stack:
                if everywhere and not self.uri.startswith("sqlite:"):
                    with answering(f"{self.uri} does not give the lock {name}"):
                        own = {Tag.HOST: _lock_home()}
                        stack.enter_context(lease(self.client, self.experiment_id, name, tags=own))
                yield
        finally:
            lock.release()

    def _local(self, name: str) -> FileLock:
        digest = hashlib.sha256(self.uri.encode()).hexdigest()[:12]
        folder = _lock_folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        return FileLock(folder / f"{digest}-{name}.lock")

    def give_back(self, run: Run) -> None:
        """Gives back a lock of this machine whose holder is gone: it holds none here either."""
        if run.data.tags.get(Tag.HOST) != _lock_home():
            return
        try:
            with self._local(run.data.tags[LOCK]).acquire(timeout=0):
                withdraw(self.client, run.info.run_id)
        except Timeout:
            pass


def _make_database(uri: str) -> None:
    """Makes a missing SQLite database under another name: a kill leaves no half one."""
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        MlflowClient(tracking_uri=f"sqlite:///{temporary}").search_experiments(max_results=1)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _lock_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"ssl_rot-{os.getuid()}"


def _lock_home() -> str:
    """Where this process keeps its local locks: only who looks there knows whether one is held."""
    return f"{socket.gethostname()}:{_lock_folder()}"


def _absolute(uri: str) -> str:
    """A SQLite file as it is named from any working directory."""
    scheme = "sqlite:///"
    if not uri.startswith(scheme):
        return uri
    return scheme + str(Path(uri.removeprefix(scheme)).resolve())
