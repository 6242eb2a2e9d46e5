"""A run that is being written: to the disk first, then to MLflow as soon as it answers."""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd
from mlflow.entities import Metric, Param

from ssl_rot import files
from ssl_rot.errors import TrackingError, describe_error
from ssl_rot.tracking.errors import store_errors
from ssl_rot.tracking.history import History
from ssl_rot.tracking.names import Tag
from ssl_rot.tracking.run_record import RunRecord
from ssl_rot.tracking.store import Store

log = logging.getLogger(__name__)

_PARAM_LIMIT = 6000  # characters; MLflow cuts what is longer, and says nothing
_BATCH_LIMIT = 100  # params a call
PROCESS_GONE = "its process is gone"
_POINTS_LIMIT = 1000  # points of metrics a call
_PAUSE_FACTOR = 10  # after a call MLflow is left alone for this many times what the call took


class RunLog:
    """A run and what MLflow has of it.

    Nothing is sent twice: MLflow is asked first what it has of a run that was not begun here, and
    an epoch keeps the time at which it ended, by which the store knows a point that it has.

    Args:
        store: the tracking store.
        record: of the run.
        history: its epochs.
    """

    def __init__(self, store: Store, record: RunRecord, history: History) -> None:
        self.record, self.history = record, history
        self._store, self._client = store, store.client
        self._epochs: set[int] | None = None  # that MLflow has; None: not asked yet
        self._params: set[str] = set()
        self._artifacts: set[str] = set()
        self._quiet_until = 0.0

    @property
    def run_id(self) -> str | None:
        """Of the MLflow run, if there is one yet."""
        return self.record.run_id

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Keeps an epoch's metrics."""
        self.history.add(number, values)
        self.try_to_send()

    def artifacts(self, paths: Iterable[Path], folder: str | None = None) -> None:
        """Keeps files of the run's folder, to be sent with the next epoch or at the end.

        Args:
            paths: of the files.
            folder: of the run's artifacts in which they belong.
        """
        own = {str(path.relative_to(self.record.folder)): folder for path in paths}
        self.record.artifacts |= own
        self.record.save()

    def table(self, table: pd.DataFrame, name: str) -> None:
        """Keeps a table as CSV."""
        path = self.record.folder / f"{name}.csv"
        files.write(path, table.to_csv(index=False).encode())
        self.artifacts([path])

    def end(self, status: str, error: BaseException | None = None) -> None:
        """Ends the run; what MLflow does not take now it can be sent later."""
        record = self.record
        if record.run_id is None and error is not None and not self.history.rows:
            record.discard()
            return
        record.status, record.end_time = status, _now()
        record.error = None if error is None else describe_error(error)
        try:
            record.save()
        except Exception as failure:  # what ended the run is the error to tell
            if error is None:
                raise
            log.warning("%s", failure)
        try:
            self.send()
        except TrackingError as failure:
            log.warning("%s", failure if error is None else pending_error([self], failure))

    def close(self) -> None:
        """Ends a run whose process is gone, and sends what it left on the disk.

        Raises:
            TrackingError: the store does not answer; what was not sent can be sent later.
        """
        record = self.record
        if record.status is None:
            record.status, record.error = "KILLED", PROCESS_GONE
            record.end_time = max(self.history.times.values(), default=_now())
        record.save()
        self.send()

    def try_to_send(self) -> None:
        """Sends what MLflow does not have; training goes on where it does not answer.

        MLflow costs a tenth of the time at most: the longer it takes, to answer or to fail, the
        longer it is left alone, and the more epochs go in the next call.
        """
        began = time.monotonic()
        if began < self._quiet_until:
            return
        pause = 0.0
        try:
            self.send()
        except TrackingError as error:
            log.warning("%s. Training goes on; the numbers are in %s", error, self.history.path)
            pause = 1.0
        now = time.monotonic()
        self._quiet_until = now + max(pause, _PAUSE_FACTOR * (now - began))

    def send(self) -> None:
        """Sends everything that MLflow does not have: the run itself, params, epochs, files, end.

        Raises:
            TrackingError: the store does not answer; what was not sent can be sent later.
        """
        record = self.record
        with store_errors(f"The run of {record.folder} is not whole in MLflow"):
            run_id = record.run_id if record.run_id is not None else self._create()
            if self._epochs is None:
                self._read_sent(run_id)
            assert self._epochs is not None
            left = [Param(k, v[:_PARAM_LIMIT]) for k, v in record.params.items()
                    if k not in self._params]  # fmt: skip
            for first in range(0, len(left), _BATCH_LIMIT):
                self._client.log_batch(run_id, params=left[first : first + _BATCH_LIMIT])
            self._params |= record.params.keys()
            # Whole epochs a call, and waiting for each: the asynchronous way loses points.
            for epochs in self._batches(sorted(self.history.rows.keys() - self._epochs)):
                values = [
                    Metric(record.prefix + name, value, self.history.times[epoch], epoch)
                    for epoch in epochs
                    for name, value in self.history.rows[epoch].items()
                ]
                self._client.log_batch(run_id, metrics=values)
                self._epochs.update(epochs)
            for name in sorted(record.artifacts.keys() - self._artifacts):
                path = record.folder / name
                if path.exists():
                    self._client.log_artifact(run_id, str(path), record.artifacts[name])
                else:
                    log.warning("%s is gone, and MLflow does not get it", path)
                self._artifacts.add(name)
            if record.status is None:
                return
            if record.error is not None:
                self._client.set_tag(run_id, Tag.ERROR, record.error)
            self._client.set_terminated(run_id, record.status, record.end_time)
        record.sent = True
        record.save()

    def _batches(self, epochs: list[int]) -> Iterator[list[int]]:
        """Cuts epochs into as many as MLflow takes at once."""
        if epochs:
            length = max(1, _POINTS_LIMIT // len(self.history.rows[epochs[0]]))
            yield from (epochs[n : n + length] for n in range(0, len(epochs), length))

    def _create(self) -> str:
        """The MLflow run: a new one, or that of a call whose answer did not arrive."""
        record = self.record
        host = record.tags[Tag.HOST]
        candidates = self._client.search_runs(
            [self._store.experiment_id],
            f"tags.`{Tag.HOST}` = '{host}' and attributes.start_time = {record.start_time}",
        )
        # Compared here: in a filter, MLflow refuses a path with an apostrophe.
        folder = record.tags[Tag.FOLDER]
        found = [run for run in candidates if run.data.tags.get(Tag.FOLDER) == folder]
        if found:
            run_id = str(found[0].info.run_id)
        else:
            run = self._client.create_run(
                self._store.experiment_id, record.start_time, record.tags, record.name
            )
            run_id = str(run.info.run_id)
            self._epochs = set()
        record.run_id = run_id
        record.save()
        return run_id

    def _read_sent(self, run_id: str) -> None:
        self._params = set(self._client.get_run(run_id).data.params)
        points = self._client.get_metric_history(run_id, f"{self.record.prefix}train_loss")
        self._epochs = {point.step for point in points}


def pending_error(runs: Iterable[RunLog], error: TrackingError) -> TrackingError:
    """Says where what MLflow did not take is, and how it is sent."""
    folders = sorted({os.path.relpath(run.record.folder) for run in runs})
    command = shlex.join(["python", "-m", "ssl_rot.sync", *folders])
    return TrackingError(
        f"{error}\nNothing is lost: all of it is in {', '.join(folders)}. When MLflow answers "
        f"again: {command}"
    )


def _now() -> int:
    return int(time.time() * 1000)
