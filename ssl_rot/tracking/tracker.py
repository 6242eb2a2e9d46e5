"""The life cycle of runs: started, resumed, and closed if their process died."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from mlflow.tracking.context.registry import resolve_tags

from ssl_rot import files
from ssl_rot.errors import TrackingError, UserError, store_errors, without_password
from ssl_rot.tracking.database import database_path
from ssl_rot.tracking.dataset_use import DatasetUse
from ssl_rot.tracking.heartbeat import heartbeat
from ssl_rot.tracking.history import History, now, read_history
from ssl_rot.tracking.lease import LOCK
from ssl_rot.tracking.names import CONFIG, HISTORY, SYSTEM_METRICS, Tag
from ssl_rot.tracking.run_log import PROCESS_GONE, RunLog, unsent_error
from ssl_rot.tracking.run_record import RunRecord
from ssl_rot.tracking.runs import StoredRun, StoredRuns
from ssl_rot.tracking.store import Store
from ssl_rot.tracking.system_metrics import sampled
from ssl_rot.tracking.whereabouts import folder_of, is_here, is_running, locate

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a finished run waits for MLflow to accept what it has not accepted yet."""


class Tracker:
    """Writes the runs of an experiment. Takes the arguments of :class:`Store`; same errors."""

    def __init__(
        self, experiment_name: str, uri: str | None = None, directory: Path | None = None
    ) -> None:
        self.store = Store(experiment_name, uri, directory)
        self.runs = StoredRuns(self.store)
        self._logs: list[RunLog] = []

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
        config: str | None = None,
        datasets: Sequence[DatasetUse] = (),
        system_metrics: bool = False,
        unfinished: StoredRun | None = None,
    ) -> Iterator[RunLog]:
        """Opens a run: FINISHED after the block, FAILED if it raises, KILLED if it is interrupted.

        If MLflow does not answer, the first run of this tracker is refused, since nothing is lost
        yet. Later runs are kept on the disk, see :meth:`flush`.

        Args:
            folder: the run's own; a lock in it tells others that the run is alive.
            tags: in addition to those of every run.
            prefix: of every metric's name.
            parent: run id of the sweep.
            config: in YAML, becomes an artifact. As the first one, it shows whether the store
                accepts artifacts.
            datasets: what the run uses of its data set.
            system_metrics: whether to record what it takes of its machine.
            unfinished: a run from :meth:`claim_resumable`, to resume instead of starting a new one.

        Raises:
            TrackingError: MLflow does not answer at the start, or does not accept the config.
        """
        own = {Tag.FOLDER: str(folder), Tag.HOST: socket.gethostname(), **tags}
        if (database := database_path(self.store.uri)) is not None:
            own[Tag.RELATIVE_FOLDER] = os.path.relpath(folder, database.parent)
        if parent is not None:
            own[Tag.PARENT_RUN_ID] = parent
        record = RunRecord(
            folder,
            uri=without_password(self.store.uri),
            experiment=self.store.experiment_name,
            name=without_password(name),
            start_time=now(),
            tags=_mask(resolve_tags(own)),
            params=_mask(params),
            prefix=prefix,
            datasets=[*datasets],
        )
        with ExitStack() as stack:
            if unfinished is None:
                stack.enter_context(heartbeat(folder))
            else:
                record.run_id, record.start_time = unfinished.run_id, unfinished.start_time
            if config is not None:
                files.write(folder / CONFIG, without_password(config).encode())
                record.artifacts[CONFIG] = None
            record.save()
            system = read_history(folder / SYSTEM_METRICS, "step")
            run = RunLog(self.store, record, read_history(folder / HISTORY), system)
            if unfinished is not None:  # only now: a full disk leaves it as it was
                self._reopen(record, unfinished)
            is_first = not self._logs
            self._logs.append(run)
            with _ending(run):
                run.send() if is_first else run.send_when_due()
                with sampled(system) if system_metrics else nullcontext():
                    yield run

    @contextmanager
    def take_over(self, folder: Path) -> Iterator[RunLog]:
        """Continues a run that was handed over, and ends it like one of :meth:`start`.

        Raises:
            TrackingError: the folder has no record of a run, or a damaged one.
        """
        record = RunRecord.load(folder)
        if record is None:
            raise TrackingError(f"{folder} holds no run")
        with heartbeat(folder), _ending(self.adopt(record)) as run:
            yield run

    def _reopen(self, record: RunRecord, unfinished: StoredRun) -> None:
        run_id, client = unfinished.run_id, self.store.client
        with store_errors(f"Run {run_id} cannot be resumed"):
            client.update_run(run_id, status="RUNNING")
            for tag in (Tag.FOLDER, Tag.HOST, Tag.PARENT_RUN_ID, Tag.JOB, Tag.THREADS):
                if tag in record.tags:
                    client.set_tag(run_id, tag, record.tags[tag])
            for tag in unfinished.tags.keys() & {Tag.ERROR, Tag.CLOSER}:
                client.delete_tag(run_id, tag)

    def flush(self) -> None:
        """Waits until MLflow has accepted everything of this tracker's runs.

        Raises:
            TrackingError: it has not within :data:`PATIENCE` seconds; says how to send it later.
        """
        if all(run.record.sent for run in self._logs):
            return
        deadline = time.monotonic() + PATIENCE
        while unsent := [run for run in self._logs if not run.record.sent]:
            try:
                unsent[0].send()
            except TrackingError as error:
                if time.monotonic() > deadline:
                    raise unsent_error(unsent, error) from error
                time.sleep(1)
        self.close_dead()  # MLflow may have been unavailable for earlier runs, too

    @contextmanager
    def claim_resumable(self, phase: str, key: str) -> Iterator[StoredRun | None]:
        """The run of :meth:`resumable`, which no other process can resume or close in the block."""
        with ExitStack() as stack:
            with self.store.lock("dead"):
                run = self.resumable(phase, key)
                if run is not None:
                    stack.enter_context(heartbeat(folder_of(run)))
            yield run

    def resumable(self, phase: str, key: str) -> StoredRun | None:
        """The latest interrupted run of a phase with this config key.

        Only runs of this machine, which may have been renamed since, can be resumed.
        """
        runs = self._located(self.runs.unfinished(phase, Tag.CONFIG_KEY, key))
        return next((run for run in runs if is_here(run) and not is_running(run)), None)

    def close_dead(self) -> None:
        """Ends the runs that a crash of this machine or a SIGKILL left RUNNING.

        Unsent data that they left on the disk is sent first.
        """
        for run in self._located(self.runs.running()):
            if LOCK in run.tags:
                self.store.release_stale_lease(run.tags[LOCK], run.run_id, run.tags.get(Tag.HOST))
                continue
            if not is_here(run) or is_running(run):
                continue
            with self.store.lock("dead"):
                # Checked again under the lock: it may have ended or been resumed since.
                if not is_running(run) and self.runs.get(run.run_id).status == "RUNNING":
                    self._close(run)

    def _located(self, runs: Iterable[StoredRun]) -> Iterator[StoredRun]:
        return (locate(run, self.store.uri) for run in runs)

    def _close(self, run: StoredRun) -> None:
        try:
            record = RunRecord.load(folder_of(run))
            if record is not None and record.run_id == run.run_id:
                self.adopt(record).close()
                return
        except UserError as error:  # a damaged file there must not stop this run
            log.warning("%s", error)
        with store_errors(f"MLflow did not accept the end of run {run.run_id}"):
            self.store.client.set_tag(run.run_id, Tag.ERROR, PROCESS_GONE)
            self.store.client.set_terminated(run.run_id, "KILLED")

    def adopt(self, record: RunRecord) -> RunLog:
        """The log of a run whose process died, to send what it left on the disk.

        Raises:
            TrackingError: its metrics file is damaged.
        """
        try:
            system = History(record.folder / SYSTEM_METRICS, "step")
            return RunLog(self.store, record, History(record.folder / HISTORY), system)
        except ValueError as error:
            raise TrackingError(str(error)) from error


@contextmanager
def _ending(run: RunLog) -> Iterator[RunLog]:
    """Ends a run as its block does."""
    try:
        yield run
    except Exception as error:
        run.end("FAILED", error)
        raise
    except BaseException as error:  # KeyboardInterrupt, SystemExit: it was interrupted
        run.end("KILLED", error)
        raise
    run.end("FINISHED")


def _mask(values: Mapping[str, str]) -> dict[str, str]:
    return {key: without_password(value) for key, value in values.items()}
