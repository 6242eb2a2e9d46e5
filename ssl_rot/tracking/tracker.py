"""An experiment in a tracking store: its runs are begun, taken up and closed here."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from ssl_rot.errors import TrackingError, UserError
from ssl_rot.history import History
from ssl_rot.lease import LOCK
from ssl_rot.tracking.alive import is_alive, living
from ssl_rot.tracking.names import HISTORY, Tag
from ssl_rot.tracking.record import Record
from ssl_rot.tracking.run_log import GONE, RunLog, answering, not_recorded
from ssl_rot.tracking.runs import Runs

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a run which is over waits for MLflow to take what it has not taken."""


class Tracker(Runs):
    """The runs of an experiment. Arguments and errors as of ``Store``."""

    def __init__(self, experiment_name: str, uri: str | None = None) -> None:
        super().__init__(experiment_name, uri)
        self._runs: list[RunLog] = []

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

        Where MLflow does not answer, the first run of this tracker is refused: nothing is lost
        yet. Later ones are kept on the disk, see :meth:`settle`.

        Args:
            name: shown in MLflow.
            folder: the run's own; a lock in it tells others that the run is alive.
            tags: besides those of every run.
            params: flat.
            prefix: before each metric's name.
            parent: run id of the sweep.
            unfinished: go on with this run instead of making one.

        Raises:
            TrackingError: MLflow does not answer at the start.
        """
        own = {Tag.FOLDER: str(folder), Tag.HOST: socket.gethostname(), **tags}
        if parent is not None:
            own[MLFLOW_PARENT_RUN_ID] = parent
        record = Record(
            folder,
            uri=self.uri,
            experiment=self.experiment_name,
            name=name,
            start_time=int(time.time() * 1000),
            tags=resolve_tags(own),
            params=dict(params),
            prefix=prefix,
        )
        with ExitStack() as stack:
            with self.lock("dead") if unfinished is not None else nullcontext():
                stack.enter_context(living(folder))
                if unfinished is not None:
                    self._take_up(record, unfinished)
            record.save()
            run = RunLog(self.client, self.experiment_id, record, _history(folder / HISTORY))
            under_way = bool(self._runs)
            self._runs.append(run)
            try:
                run.try_to_send() if under_way else run.send()
                yield run
            except Exception as error:
                run.end("FAILED", error)
                raise
            except BaseException as error:  # KeyboardInterrupt, SystemExit: somebody stopped it
                run.end("KILLED", error)
                raise
            run.end("FINISHED")

    def _take_up(self, record: Record, unfinished: Run) -> None:
        record.run_id = run_id = unfinished.info.run_id
        record.start_time = unfinished.info.start_time
        with answering(f"Run {run_id} cannot be taken up"):
            self.client.update_run(run_id, status="RUNNING")
            for tag in (Tag.FOLDER, Tag.HOST, MLFLOW_PARENT_RUN_ID):
                value = record.tags.get(tag)
                if value is not None and value != unfinished.data.tags.get(tag):
                    self.client.set_tag(run_id, tag, value)
            if Tag.ERROR in unfinished.data.tags:
                self.client.delete_tag(run_id, Tag.ERROR)

    def settle(self) -> None:
        """Waits for MLflow to take what it has not taken yet of this tracker's runs.

        Raises:
            TrackingError: it did not within :data:`PATIENCE` seconds; says how to send it later.
        """
        if all(run.record.sent for run in self._runs):
            return
        deadline = time.monotonic() + PATIENCE
        while left := [run for run in self._runs if not run.record.sent]:
            try:
                left[0].send()
            except TrackingError as error:
                if time.monotonic() > deadline:
                    raise not_recorded(left, error) from error
                time.sleep(1)
        self.close_dead()  # and what else could not be told

    def unfinished(self, phase: str, tag: str, key: str) -> Run | None:
        """The latest run of a phase whose ``tag`` is ``key`` that stopped and can be gone on with.

        It did so on this machine, which may have got another name since.
        """
        for run in self._search(phase, tag, key, "attributes.status != 'FINISHED'", 20):
            if _here(run) and not _alive(run):
                return run
        return None

    def interrupted(self) -> list[Run]:
        """The latest runs of this machine that did not finish, of both phases."""
        host = f"tags.`{Tag.HOST}` = '{socket.gethostname()}'"
        with answering(f"{self.uri} does not tell which runs there are"):
            found: list[Run] = self.client.search_runs(
                [self.experiment_id],
                f"attributes.status != 'FINISHED' and attributes.status != 'RUNNING' and {host}",
                max_results=100,
                order_by=["attributes.start_time DESC"],
            )
        return [run for run in found if run.data.tags.get(Tag.PHASE) in ("pretext", "downstream")]

    def close_dead(self) -> None:
        """Ends the runs that a crash of this machine or a SIGKILL left RUNNING.

        What they left on the disk and MLflow has not is sent with their end.
        """
        with answering(f"{self.uri} does not tell which runs there are"):
            running = self.client.search_runs([self.experiment_id], "attributes.status = 'RUNNING'")
        for run in running:
            if LOCK in run.data.tags:
                self.give_back(run)
                continue
            if not _here(run) or _alive(run):
                continue
            with self.lock("dead"):
                # Asked for once more: it may have ended well since, or somebody goes on with it.
                if not _alive(run) and self.status(run.info.run_id) == "RUNNING":
                    self._close(run)

    def _close(self, run: Run) -> None:
        run_id = run.info.run_id
        try:
            record = Record.load(_folder(run))
            if record is not None and record.run_id == run_id:
                self.take(record).close()
                return
        except UserError as error:  # a damaged file there is no reason not to start here
            log.warning("%s", error)
        with answering(f"MLflow did not take the end of run {run_id}"):
            self.client.set_tag(run_id, Tag.ERROR, GONE)
            self.client.set_terminated(run_id, "KILLED")

    def take(self, record: Record) -> RunLog:
        """A run whose process is gone, to send what it left.

        Raises:
            TrackingError: its numbers on the disk are damaged.
        """
        try:
            history = History(record.folder / HISTORY)
        except ValueError as error:
            raise TrackingError(str(error)) from error
        return RunLog(self.client, self.experiment_id, record, history)


def _history(path: Path) -> History:
    """The numbers that are there; damaged ones are put aside, the checkpoints have most of them."""
    try:
        return History(path)
    except ValueError as error:
        aside = path.with_name(f"{path.name}.damaged")
        log.warning("%s; it is now %s", error, aside.name)
        path.replace(aside)
        return History(path)


def _folder(run: Run) -> Path:
    return Path(run.data.tags.get(Tag.FOLDER, os.devnull))


def _here(run: Run) -> bool:
    """Whether the run began on this machine, or in a folder that this machine has.

    Without the folder nothing can be told: containers and copies of a machine share its name.
    """
    if run.data.tags.get(Tag.HOST) == socket.gethostname():
        return _folder(run).is_dir()
    try:
        record = Record.load(_folder(run))
    except UserError:
        return False
    return record is not None and record.run_id == run.info.run_id


def _alive(run: Run) -> bool:
    same_host = run.data.tags.get(Tag.HOST) == socket.gethostname()
    return is_alive(_folder(run), same_host=same_host)
