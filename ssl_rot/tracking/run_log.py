"""A run that is being written: to the disk first, then to MLflow whenever it answers."""

import logging
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pandas as pd
from mlflow.entities import Metric, Param

from ssl_rot import files
from ssl_rot.errors import TrackingError, describe_error, store_errors, without_password
from ssl_rot.tracking.database import absolute_uri
from ssl_rot.tracking.history import History, now
from ssl_rot.tracking.names import CONFIG, RECORD, Tag
from ssl_rot.tracking.run_record import RunRecord
from ssl_rot.tracking.store import Store

log = logging.getLogger(__name__)

PROCESS_GONE = "its process is gone"
"""The error of a run whose process died without ending it."""

_PARAM_LENGTH = 6000  # characters; MLflow truncates longer values without a warning
_PARAMS_PER_CALL = 100
_METRICS_PER_CALL = 1000
_PAUSE_FACTOR = 10  # the pause after a call to MLflow, as a multiple of the call's duration
_T = TypeVar("_T")


class RunLog:
    """Writes a run, and keeps account of what MLflow already has of it.

    Nothing is recorded twice. MLflow is first asked what it has of a run that another process
    started, and an epoch keeps its original timestamp, so that the store recognizes duplicates.
    """

    def __init__(self, store: Store, record: RunRecord, history: History) -> None:
        self.record, self.history = record, history
        self._store, self._client = store, store.client
        # What MLflow has; the epochs are None until it has been asked.
        self._sent_epochs: set[int] | None = None
        self._sent_params: set[str] = set()
        self._sent_artifacts: set[str] = set()
        self._next_send = 0.0
        self._handed_over = False

    @property
    def run_id(self) -> str | None:
        """The id of the MLflow run, once there is one."""
        return self.record.run_id

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Logs the metrics of an epoch."""
        self.history.add(number, values)
        self.send_when_due()

    def artifacts(self, paths: Iterable[Path], folder: str | None = None) -> None:
        """Logs files of the run's folder: sent with the next epoch, at the end, or by ``flush``.

        They go to the artifact ``folder``; ``None`` is the top one.
        """
        names = (str(path.relative_to(self.record.folder)) for path in paths)
        self.record.artifacts |= dict.fromkeys(names, folder)
        self.record.sent = False
        self.record.save()

    def table(self, table: pd.DataFrame, name: str) -> None:
        """Logs a table as a CSV file."""
        path = self.record.folder / f"{name}.csv"
        files.write(path, table.to_csv(index=False).encode())
        self.artifacts([path])

    def hand_over(self) -> None:
        """Leaves the run to another process, which ends it: :meth:`end` does nothing."""
        self.send()
        self._handed_over = True

    def end(self, status: str, error: BaseException | None = None) -> None:
        """Ends the run. What MLflow does not accept now can be sent later."""
        if self._handed_over:
            return
        record = self.record
        if error is not None and not self.history.rows:  # nothing happened in this run
            if record.run_id is None:
                (record.folder / RECORD).unlink(missing_ok=True)
                return
            record.artifacts.pop(CONFIG, None)  # it may be what the store does not accept
        record.status, record.end_time = status, now()
        record.error = None if error is None else describe_error(error)
        try:
            record.save()
        except Exception as failure:  # the error that ended the run is the one to report
            if error is None:
                raise
            log.warning("%s", failure)
        try:
            self.send()
        except TrackingError as failure:
            log.warning("%s", failure if error is None else unsent_error([self], failure))

    def close(self) -> None:
        """Ends a run whose process died, and sends what it left on the disk.

        Raises:
            TrackingError: the store does not answer; the rest can be sent later.
        """
        record = self.record
        if record.status is None:
            record.status, record.error = "KILLED", PROCESS_GONE
            record.end_time = max(self.history.times.values(), default=now())
        record.save()
        self.send()

    def send_when_due(self) -> None:
        """Sends what MLflow does not have, except soon after the last call. Only logs a failure.

        MLflow takes at most a tenth of the time: the longer a call takes, to succeed or to fail,
        the longer the pause after it, and the more epochs go in the next call.
        """
        started = time.monotonic()
        if started < self._next_send:
            return
        pause = 0.0
        try:
            self.send()
        except TrackingError as error:
            log.warning("%s. Training continues; the metrics are in %s", error, self.history.path)
            pause = 1.0
        now = time.monotonic()
        self._next_send = now + max(pause, _PAUSE_FACTOR * (now - started))

    def send(self) -> None:
        """Sends everything that MLflow does not have: the run, params, epochs, artifacts, status.

        Raises:
            TrackingError: the store does not answer; the rest can be sent later.
        """
        record = self.record
        with store_errors(f"The run in {record.folder} is not complete in MLflow"):
            run_id = record.run_id if record.run_id is not None else self._create()
            if self._sent_epochs is None:
                self._sent_params = set(self._client.get_run(run_id).data.params)
                points = self._client.get_metric_history(run_id, f"{record.prefix}train_loss")
                self._sent_epochs = {point.step for point in points}
            self._send_params(run_id)
            self._send_epochs(run_id, self._sent_epochs)
            self._send_artifacts(run_id)
            if record.status is None:
                return
            if record.error is not None:
                self._client.set_tag(run_id, Tag.ERROR, record.error)
            self._client.set_terminated(run_id, record.status, record.end_time)
        record.sent = True
        record.save()

    def sync_command(self, *folders: Path) -> str:
        """The command that sends what is in the folders to this run's store."""
        uri = self.record.uri
        to = [] if uri == without_password(absolute_uri(None)) else ["--to", uri]
        return shlex.join(["python", "-m", "ssl_rot.sync", *to, *map(str, folders)])

    def _send_params(self, run_id: str) -> None:
        params, sent = self.record.params, self._sent_params
        unsent = [Param(k, value[:_PARAM_LENGTH]) for k, value in params.items() if k not in sent]
        for batch in _chunks(unsent, _PARAMS_PER_CALL):
            self._client.log_batch(run_id, params=batch)
        self._sent_params |= params.keys()

    def _send_epochs(self, run_id: str, sent: set[int]) -> None:
        rows, times = self.history.rows, self.history.times
        unsent = sorted(rows.keys() - sent)
        if not unsent:
            return
        # Complete epochs in each call, and synchronously: asynchronous logging loses points.
        for epochs in _chunks(unsent, max(1, _METRICS_PER_CALL // len(rows[unsent[0]]))):
            values = [
                Metric(self.record.prefix + name, value, times[epoch], epoch)
                for epoch in epochs
                for name, value in rows[epoch].items()
            ]
            self._client.log_batch(run_id, metrics=values)
            sent.update(epochs)

    def _send_artifacts(self, run_id: str) -> None:
        artifacts = self.record.artifacts
        for name in sorted(artifacts.keys() - self._sent_artifacts):
            path = self.record.folder / name
            if path.exists():
                self._client.log_artifact(run_id, str(path), artifacts[name])
            else:
                log.warning("%s no longer exists and is not sent to MLflow", path)
            self._sent_artifacts.add(name)

    def _create(self) -> str:
        """Creates the MLflow run, unless an earlier call did and its response was lost."""
        record = self.record
        experiment, start = self._store.experiment_id, record.start_time
        # The tags are compared here: a filter cannot quote every folder's name.
        place = {tag: record.tags[tag] for tag in (Tag.FOLDER, Tag.HOST)}
        runs = self._client.search_runs([experiment], f"attributes.start_time = {start}")
        run = next((run for run in runs if place.items() <= run.data.tags.items()), None)
        if run is None:
            run = self._client.create_run(experiment, start, record.tags, record.name)
            self._sent_epochs = set()
        record.run_id = run_id = str(run.info.run_id)
        record.save()
        return run_id


def unsent_error(runs: Sequence[RunLog], error: TrackingError) -> TrackingError:
    """An error that also says where the unsent data is, and how to send it."""
    folders = sorted({run.record.folder for run in runs})
    if gone := [str(folder) for folder in folders if not folder.is_dir()]:
        return TrackingError(
            f"{error}\nThe rest was in {', '.join(gone)}, which is no longer there. If it was "
            f"moved: {runs[0].sync_command(Path('NEW_PLACE'))}"
        )
    return TrackingError(
        f"{error}\nNothing is lost: all of it is in {', '.join(map(str, folders))}. When MLflow "
        f"answers again: {runs[0].sync_command(*folders)}"
    )


def _chunks(items: list[_T], size: int) -> Iterator[list[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
