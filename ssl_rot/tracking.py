"""What a run leaves in MLflow. No other module writes to it.

The names of the tags are a contract with ``ssl_rot.report`` and with people's own queries.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import mlflow
import pandas as pd
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from ssl_rot.errors import TrackingError
from ssl_rot.lease import lease

log = logging.getLogger(__name__)


class Tag:
    """Tags of our runs."""

    PHASE = "ssl_rot.phase"  # pretext | downstream | sweep
    ARM = "ssl_rot.arm"  # rotation | supervised
    CONFIG_KEY = "ssl_rot.config_key"
    PAIR_KEY = "ssl_rot.pair_key"
    PRETEXT_KEY = "ssl_rot.pretext_key"
    PRETEXT_RUN_ID = "ssl_rot.pretext_run_id"
    FOLDER = "ssl_rot.folder"  # where the run writes on its host, checkpoints among it
    HOST = "ssl_rot.host"
    COMMAND = "ssl_rot.command"  # of a sweep
    ERROR = "ssl_rot.error"  # why it did not finish, in a line
    JOB_ERROR = "ssl_rot.job_error"  # of a sweep: why job .0, .1, ... failed before it had a run
    BEST = "ssl_rot.best"  # true: the trial that a sweeper which chooses found best


WEIGHTS = "weights.safetensors"
"""The artifact that holds a run's network."""
HISTORY = "history.csv"
"""The artifact that holds its metrics, a row an epoch."""

_ALIVE = "running.lock"
_PARAM_LIMIT = 6000  # characters; MLflow cuts what is longer, and says nothing
_BATCH_LIMIT = 100  # params a call


class RunLog:
    """An MLflow run that is being written.

    Args:
        client: of the tracking store.
        run_id: of the run.
        prefix: before each metric's name.
        sent: epochs whose metrics the store has already.
    """

    def __init__(self, client: MlflowClient, run_id: str, prefix: str, sent: set[int]) -> None:
        self.client, self.run_id, self.prefix, self.sent = client, run_id, prefix, sent

    def metrics(self, history: Mapping[int, Mapping[str, float]]) -> None:
        """Sends what the store has not, a call an epoch; MLflow's asynchronous way loses points.

        Raises:
            TrackingError: the store does not answer; what was not sent can be sent later.
        """
        for epoch in sorted(history.keys() - self.sent):
            now = int(time.time() * 1000)
            items = history[epoch].items()
            values = [Metric(self.prefix + name, value, now, epoch) for name, value in items]
            try:
                self.client.log_batch(self.run_id, metrics=values)
            except Exception as error:  # each kind of store has errors of its own
                raise TrackingError(f"MLflow did not take epoch {epoch}: {line(error)}") from error
            self.sent.add(epoch)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Stores a copy of a file, in a folder of the run's artifacts."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def table(self, table: pd.DataFrame, name: str) -> None:
        """Stores a table as CSV."""
        self.client.log_text(self.run_id, table.to_csv(index=False), f"{name}.csv")


class Tracker:
    """An experiment in a tracking store.

    Args:
        experiment_name: made if it is not there.
        uri: of the store; ``None`` follows MLflow's own defaults.

    Raises:
        TrackingError: the store cannot be reached or written, or the experiment was deleted.
    """

    def __init__(self, experiment_name: str, uri: str | None = None) -> None:
        for chatty in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        # A server that is not there is told within seconds, not MLflow's minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self.uri = uri if uri is not None else mlflow.get_tracking_uri()
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
        where = self.uri
        if where.startswith("sqlite:///"):  # relative to the working directory, or not
            where = str(Path(where.removeprefix("sqlite:///")).resolve())
        digest = hashlib.sha256(where.encode()).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"ssl_rot-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = FileLock(folder / f"{digest}-{name}.lock")
        try:
            lock.acquire(timeout=1)
        except Timeout:
            log.info("Waiting for another process: %s", name)
            lock.acquire()
        shared = everywhere and not self.uri.startswith("sqlite:")
        try:
            with lease(self.client, self.experiment_id, name) if shared else nullcontext():
                yield
        finally:
            lock.release()

    @contextmanager
    def start(
        self,
        name: str,
        folder: Path,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        *,
        prefix: str = "",
        parent: str | None = None,
        unfinished: Run | None = None,
    ) -> Iterator[RunLog]:
        """A run: FINISHED after the block, FAILED if it raised, KILLED if it was stopped.

        Args:
            name: shown in MLflow.
            folder: the run's own; a lock in it tells others that the run is alive.
            tags: besides those of every run.
            params: flat.
            prefix: before each metric's name.
            parent: run id of the sweep.
            unfinished: go on with this run instead of making one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / _ALIVE):
            if unfinished is None:
                own = {Tag.FOLDER: str(folder), Tag.HOST: socket.gethostname(), **tags}
                if parent is not None:
                    own[MLFLOW_PARENT_RUN_ID] = parent
                run = self.client.create_run(
                    self.experiment_id, tags=resolve_tags(own), run_name=name
                )
                run_id, sent = run.info.run_id, set[int]()
            else:
                run_id = unfinished.info.run_id
                self.client.update_run(run_id, status="RUNNING")
                if parent is not None:
                    self.client.set_tag(run_id, MLFLOW_PARENT_RUN_ID, parent)
                if Tag.ERROR in unfinished.data.tags:
                    self.client.delete_tag(run_id, Tag.ERROR)
                points = self.client.get_metric_history(run_id, f"{prefix}train_loss")
                sent = {point.step for point in points}
            try:
                known = {} if unfinished is None else unfinished.data.params
                items = [Param(k, v[:_PARAM_LIMIT]) for k, v in params.items() if k not in known]
                for first in range(0, len(items), _BATCH_LIMIT):
                    self.client.log_batch(run_id, params=items[first : first + _BATCH_LIMIT])
                yield RunLog(self.client, run_id, prefix, sent)
            except Exception as error:
                self._end(run_id, "FAILED", error)
                raise
            except BaseException as error:  # KeyboardInterrupt, SystemExit: somebody stopped it
                self._end(run_id, "KILLED", error)
                raise
            self._end(run_id, "FINISHED")
        (folder / _ALIVE).unlink(missing_ok=True)

    def _end(self, run_id: str, status: str, error: BaseException | None = None) -> None:
        try:
            if error is not None:
                self.client.set_tag(run_id, Tag.ERROR, line(error))
            self.client.set_terminated(run_id, status)
        except Exception as failure:
            if error is None:
                raise TrackingError(f"MLflow did not take the end of a run: {line(failure)}") from (
                    failure
                )
            # The first error is the one to tell; the run is closed by the next start.
            log.warning("MLflow did not take the end of run %s: %s", run_id, line(failure))

    def children(self, parent: str) -> list[Run]:
        """All runs under ``parent``."""
        condition = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'"
        runs: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], condition, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def unfinished(self, phase: str, tag: str, key: str) -> Run | None:
        """The latest run of a phase whose ``tag`` is ``key`` that stopped on this machine."""
        for run in self._search(phase, tag, key, "attributes.status != 'FINISHED'", 20):
            if run.data.tags.get(Tag.HOST) == socket.gethostname() and not _alive(run):
                return run
        return None

    def close_dead(self) -> None:
        """Ends the runs that a crash of this machine or a SIGKILL left RUNNING."""
        host = socket.gethostname()
        for run in self.client.search_runs(
            [self.experiment_id],
            f"attributes.status = 'RUNNING' and tags.`{Tag.HOST}` = '{host}'",
        ):
            # Asked for once more, since a run may have ended well between the search and now.
            if not _alive(run) and self.status(run.info.run_id) == "RUNNING":
                self._end(run.info.run_id, "KILLED", RuntimeError("its process is gone"))

    def status(self, run_id: str) -> str:
        """A run's status, as MLflow names it.

        Raises:
            TrackingError: the store does not answer, or has no such run.
        """
        try:
            return str(self.client.get_run(run_id).info.status)
        except Exception as error:  # each kind of store has errors of its own
            raise TrackingError(f"Run {run_id} is not in {self.uri}: {line(error)}") from error

    def tag(self, run_id: str, key: str, value: str) -> None:
        """Sets a tag of any run."""
        self.client.set_tag(run_id, key, value)

    def tags(self, run_id: str, prefix: str) -> dict[str, str]:
        """The tags of a run that begin with ``prefix``, without it."""
        tags = self.client.get_run(run_id).data.tags
        return {k.removeprefix(prefix): v for k, v in tags.items() if k.startswith(prefix)}

    def find(
        self,
        phase: str,
        tag: str,
        key: str,
        parent: str | None = None,
        *,
        everywhere: bool = False,
    ) -> Run | None:
        """The latest FINISHED run of a phase whose ``tag`` is ``key``.

        Args:
            phase: of the run.
            tag: the kind of key.
            key: its value.
            parent: only among the children of this run.
            everywhere: in all experiments of the store, not only in this one.
        """
        condition = "attributes.status = 'FINISHED'"
        if parent is not None:
            condition += f" and tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'"
        found = self._search(phase, tag, key, condition, limit=1, everywhere=everywhere)
        return found[0] if found else None

    def _search(
        self, phase: str, tag: str, key: str, condition: str, limit: int, everywhere: bool = False
    ) -> list[Run]:
        experiments = [self.experiment_id]
        if everywhere:
            experiments = [e.experiment_id for e in self.client.search_experiments()]
        found: list[Run] = self.client.search_runs(
            experiments,
            f"{condition} and tags.`{Tag.PHASE}` = '{phase}' and tags.`{tag}` = '{key}'",
            max_results=limit,
            order_by=["attributes.start_time DESC"],
        )
        return found

    def artifact(self, run_id: str, name: str, folder: Path) -> Path:
        """Brings an artifact of a run into ``folder``.

        Raises:
            TrackingError: there is no such run, or it has no such artifact.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return Path(self.client.download_artifacts(run_id, name, str(folder)))
        except (MlflowException, OSError) as error:
            raise TrackingError(
                f"Run {run_id} in {self.uri} has no artifact {name}: {line(error)}"
            ) from error


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


def _alive(run: Run) -> bool:
    """Whether a process of this machine holds the run's lock."""
    folder = Path(run.data.tags.get(Tag.FOLDER, ""))
    if not folder.is_dir():
        return False
    try:
        with FileLock(folder / _ALIVE, timeout=0):
            return False
    except Timeout:
        return True


def line(error: BaseException) -> str:
    """An error in one line, for a tag or a table."""
    text = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}"[:500]
