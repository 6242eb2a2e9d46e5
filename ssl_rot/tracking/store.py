"""An experiment in a tracking store, and the locks of the processes that use it."""

import hashlib
import logging
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from ssl_rot.errors import TrackingError, store_errors
from ssl_rot.tracking.database import (
    absolute_uri,
    connect,
    create_database,
    database_path,
    suggest_fix,
)
from ssl_rot.tracking.lease import lease, withdraw
from ssl_rot.tracking.names import Tag

log = logging.getLogger(__name__)

# By either, MLflow's UI shows training runs and not traces of language models. Which one it heeds
# depends on its version: 3.17 the address.
_AS_TRAINING = "workflowType=machine_learning"
_KIND = {"mlflow.experimentKind": "custom_model_development"}


class Store:
    """An experiment in a tracking store.

    Args:
        experiment_name: created if it does not exist.
        uri: of the store; ``None`` follows MLflow's own defaults.
        directory: that a relative path in ``uri``, and MLflow's defaults, refer to; ``None`` is the
            working directory.

    Raises:
        TrackingError: the store cannot be reached or written, or the experiment was deleted.
    """

    def __init__(
        self, experiment_name: str, uri: str | None = None, directory: Path | None = None
    ) -> None:
        self.experiment_name = experiment_name
        with chdir(directory or "."):
            self.uri = absolute_uri(uri)
            self._open()

    def _open(self) -> None:
        what = f"The tracking store tracking.uri={self.uri} cannot be used"
        # If several processes create a database at once, all but one fail.
        with store_errors(what, f"\n{suggest_fix(self.uri)}"), self.lock("store"):
            create_database(self.uri)
            self.client = connect(self.uri)
            self.experiment_id = self._open_experiment()

    def _open_experiment(self) -> str:
        name = self.experiment_name
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self.client.create_experiment(name, tags=_KIND))
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
        self._tag_kind(experiment)
        return str(experiment.experiment_id)

    def _tag_kind(self, experiment: Experiment) -> None:
        """Marks an experiment that was made without a kind; one that has another keeps it."""
        for key in _KIND.keys() - experiment.tags.keys():
            with suppress(MlflowException):  # not everybody may change what others made
                self.client.set_experiment_tag(experiment.experiment_id, key, _KIND[key])

    def page(self, run_id: str) -> str:
        """Where MLflow's UI shows a run; if the store is no server, once ``mlflow ui`` runs."""
        server = self.uri.rstrip("/") if self.uri.startswith("http") else "http://127.0.0.1:5000"
        return f"{server}/#/experiments/{self.experiment_id}/runs/{run_id}?{_AS_TRAINING}"

    @contextmanager
    def lock(self, name: str, *, everywhere: bool = False) -> Iterator[None]:
        """Holds ``name`` against the other processes on this machine that use the same store.

        The operating system releases it when its holder dies.

        Args:
            everywhere: also against processes on other machines, if the store is not a file.
        """
        lock = self._local_lock(name)
        try:
            held = lock.acquire(timeout=1)
        except Timeout:
            log.info("Waiting for another process: %s", name)
            held = lock.acquire()
        with held, ExitStack() as stack:
            if everywhere and not self.uri.startswith("sqlite:"):
                with store_errors(f"The lock {name} cannot be acquired in {self.uri}"):
                    host = {Tag.HOST: _lock_host()}
                    stack.enter_context(lease(self.client, self.experiment_id, name, tags=host))
            yield

    def release_stale_lease(self, name: str, run_id: str, host: str | None) -> None:
        """Withdraws a lease of this machine whose holder is dead, so holds no local lock either.

        A run with the tag ``host`` claims it.
        """
        if host == _lock_host():
            with suppress(Timeout), self._local_lock(name).acquire(timeout=0):
                withdraw(self.client, run_id)

    def _local_lock(self, name: str) -> FileLock:
        database = database_path(self.uri)
        if database is not None:  # beside it, where everybody who uses it looks
            folder = database.parent / f".{database.name}.locks"
            folder.mkdir(parents=True, exist_ok=True)
            return FileLock(folder / f"{name}.lock")
        digest = hashlib.sha256(self.uri.encode()).hexdigest()[:12]
        return FileLock(_private_folder() / f"{digest}-{name}.lock")


def _lock_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"ssl_rot-{os.getuid()}"


def _private_folder() -> Path:
    """This user's own folder for locks: in a shared one, others could hold or replace them."""
    folder = _lock_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise TrackingError(
            f"{folder} is not a folder that only you can write to, and would hold ssl_rot's locks. "
            "Remove it, or set TMPDIR to a folder of your own"
        )
    return folder


def _lock_host() -> str:
    """The machine and its lock folder: only from there can a local lock be checked."""
    return f"{socket.gethostname()}:{_lock_folder()}"
