"""What a run leaves in MLflow. No other module writes to it.

The names of the tags are a contract with ``ssl_rot.report`` and with people's own queries.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from ssl_rot.errors import TrackingError

log = logging.getLogger(__name__)


class Tag:
    """Tags of our runs."""

    PHASE = "ssl_rot.phase"  # pretext | downstream | sweep
    ARM = "ssl_rot.arm"  # rotation | supervised
    CONFIG_KEY = "ssl_rot.config_key"
    PAIR_KEY = "ssl_rot.pair_key"
    PRETEXT_KEY = "ssl_rot.pretext_key"
    PRETEXT_RUN_ID = "ssl_rot.pretext_run_id"


WEIGHTS = "weights.safetensors"
"""The artifact that holds a run's network."""

_PARAM_LIMIT = 6000  # characters; MLflow cuts what is longer, and says nothing
_BATCH_LIMIT = 100  # params a call


@dataclass(frozen=True)
class RunLog:
    """An MLflow run that is being written."""

    client: MlflowClient
    run_id: str

    def metrics(self, epoch: int, record: Mapping[str, float], prefix: str = "") -> None:
        """An epoch's numbers in one call; not asynchronous, since that way points get lost."""
        now = int(time.time() * 1000)
        values = [Metric(prefix + name, value, now, epoch) for name, value in record.items()]
        self.client.log_batch(self.run_id, metrics=values)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """A copy of a file, in a folder of the run's artifacts."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def tag(self, key: str, value: str) -> None:
        self.client.set_tag(self.run_id, key, value)


class Tracker:
    """An experiment in a tracking store.

    Args:
        experiment_name: made if it is not there.
        uri: of the store; ``None`` follows MLflow's own defaults.

    Raises:
        TrackingError: the store cannot be reached or written, or the experiment was deleted.
    """

    def __init__(self, experiment_name: str, uri: str | None = None) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)
        # A server that is not there is told within seconds, not MLflow's minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        self.uri = uri if uri is not None else mlflow.get_tracking_uri()
        self.experiment_name = experiment_name
        try:
            # Of several processes that all try to make a database only one would survive.
            with self.lock("store"):
                self.client = MlflowClient(tracking_uri=self.uri)
                experiment = self.client.get_experiment_by_name(experiment_name)
                if experiment is None:
                    self.experiment_id = self.client.create_experiment(experiment_name)
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
                f"The tracking store tracking.uri={self.uri} cannot be used: "
                f"{str(error).splitlines()[0]}\nIs the server running, and the folder writable?"
            ) from error

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Holds ``name`` against the other processes on this machine that use the same store.

        The operating system releases it when its holder dies.
        """
        where = (
            self.uri
            if "://" in self.uri and not self.uri.startswith("sqlite:///")
            else (f"{os.getcwd()} {self.uri}")
        )
        digest = hashlib.sha256(where.encode()).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"ssl_rot-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = FileLock(folder / f"{digest}-{name}.lock")
        try:
            lock.acquire(timeout=1)
        except Timeout:
            log.info("Waiting for another process: %s", name)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def start(
        self,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        parent: str | None = None,
    ) -> Iterator[RunLog]:
        """A new run: FINISHED after the block, FAILED if it raised, KILLED if it was stopped."""
        own = {key: str(value) for key, value in tags.items()}
        if parent is not None:
            own[MLFLOW_PARENT_RUN_ID] = parent
        run = self.client.create_run(self.experiment_id, tags=resolve_tags(own), run_name=name)
        run_id = run.info.run_id
        try:
            items = [Param(key, value[:_PARAM_LIMIT]) for key, value in params.items()]
            for first in range(0, len(items), _BATCH_LIMIT):
                self.client.log_batch(run_id, params=items[first : first + _BATCH_LIMIT])
            yield RunLog(self.client, run_id)
        except Exception as error:
            self._end(run_id, RunStatus.FAILED, error)
            raise
        except BaseException as error:  # KeyboardInterrupt, SystemExit: somebody stopped it
            self._end(run_id, RunStatus.KILLED, error)
            raise
        self._end(run_id, RunStatus.FINISHED)

    def _end(self, run_id: str, status: int, error: BaseException | None = None) -> None:
        if error is not None:
            line = (str(error).splitlines() or [""])[0]
            reason = RunTag("ssl_rot.error", f"{type(error).__name__}: {line}"[:500])
            self.client.log_batch(run_id, tags=[reason])
        self.client.set_terminated(run_id, RunStatus.to_string(status))

    def find(self, phase: str, tag: str, key: str) -> Run | None:
        """The latest FINISHED run of a phase whose ``tag`` is ``key``, in any experiment."""
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        found = self.client.search_runs(
            experiments,
            f"attributes.status = 'FINISHED' and tags.`{Tag.PHASE}` = '{phase}' "
            f"and tags.`{tag}` = '{key}'",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        return found[0] if found else None

    def weights(self, run_id: str, folder: Path) -> Path:
        """Brings the weights of a run into ``folder``.

        Raises:
            TrackingError: there is no such run, or it has no weights.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return Path(self.client.download_artifacts(run_id, WEIGHTS, str(folder)))
        except (MlflowException, OSError) as error:
            raise TrackingError(
                f"Run {run_id} in {self.uri} has no artifact {WEIGHTS}: "
                f"{str(error).splitlines()[0]}"
            ) from error
