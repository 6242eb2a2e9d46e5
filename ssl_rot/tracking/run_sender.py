"""Sends MLflow what a run's folder holds and MLflow does not have yet."""

import logging
from collections.abc import Iterator
from typing import TypeVar

from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from ssl_rot.errors import describe_error, store_errors
from ssl_rot.tracking.dataset_use import to_dataset_input
from ssl_rot.tracking.history import History
from ssl_rot.tracking.names import Tag
from ssl_rot.tracking.run_record import RunRecord
from ssl_rot.tracking.store import Store
from ssl_rot.tracking.system_metrics import PREFIX

log = logging.getLogger(__name__)

_PARAM_LENGTH = 6000  # characters; MLflow truncates longer values without a warning
_PARAMS_PER_CALL = 100
_METRICS_PER_CALL = 1000
# Errors that the same call would meet again; servers before MLflow 2.4 know no datasets.
_REFUSALS = {
    *("ENDPOINT_NOT_FOUND", "NOT_FOUND", "NOT_IMPLEMENTED"),
    *("INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"),
}
_RACE = "BAD_REQUEST"  # what MLflow makes of a constraint of the database
_T = TypeVar("_T")


class RunSender:
    """Keeps account of what MLflow already has of a run, which a :class:`RunLog` writes.

    Nothing is recorded twice. MLflow is first asked what it has of a run that another process
    started, and an epoch keeps its original timestamp, so that the store recognizes duplicates.
    """

    def __init__(self, store: Store, record: RunRecord, history: History, system: History) -> None:
        self._record, self._history, self._system = record, history, system
        self._store, self._client = store, store.client
        # What MLflow has; the epochs are None until it has been asked.
        self._sent_epochs: set[int] | None = None
        self._sent_samples: set[int] = set()
        self._sent_params: set[str] = set()
        self._sent_tags: dict[str, str] = {}
        self._sent_datasets = False
        self._sent_artifacts: set[str] = set()

    def send(self) -> None:
        """Sends everything that MLflow does not have: the run, params, epochs, artifacts, status.

        Raises:
            TrackingError: the store does not answer; the rest can be sent later.
        """
        record = self._record
        with store_errors(f"The run in {record.folder} is not complete in MLflow"):
            run_id = record.run_id if record.run_id is not None else self._create()
            if self._sent_epochs is None:
                self._sent_params = set(self._client.get_run(run_id).data.params)
                self._sent_epochs = self._ask_steps(run_id, f"{record.prefix}train_loss")
                if self._system.rows:
                    name = PREFIX + next(iter(self._system.rows[1]))
                    self._sent_samples = self._ask_steps(run_id, name)
            self._send_params(run_id)
            self._send_datasets(run_id)
            self._send_tags(run_id)
            self._send_rows(run_id, self._history, record.prefix, self._sent_epochs)
            self._send_rows(run_id, self._system, PREFIX, self._sent_samples)
            self._send_artifacts(run_id)
            if record.status is None:
                return
            if record.error is not None:
                self._client.set_tag(run_id, Tag.ERROR, record.error)
            self._client.set_terminated(run_id, record.status, record.end_time)
        record.sent = True
        record.save()

    def _send_params(self, run_id: str) -> None:
        params, sent = self._record.params, self._sent_params
        unsent = [Param(k, value[:_PARAM_LENGTH]) for k, value in params.items() if k not in sent]
        for batch in _chunks(unsent, _PARAMS_PER_CALL):
            self._client.log_batch(run_id, params=batch)
        self._sent_params |= params.keys()

    def _send_datasets(self, run_id: str) -> None:
        if self._sent_datasets or not self._record.datasets:
            return
        inputs = [*map(to_dataset_input, self._record.datasets)]
        # MLflow looks whether it knows a data set before it inserts it, so it fails if another run
        # inserts the same one in between. Each such failure leaves fewer to insert.
        for attempts_left in reversed(range(len(inputs) + 1)):
            try:
                self._client.log_inputs(run_id, inputs)
                break
            except MlflowException as error:
                if error.error_code in _REFUSALS:
                    log.warning("MLflow does not list the run's data: %s", describe_error(error))
                    break
                if error.error_code != _RACE or not attempts_left:
                    raise
        self._sent_datasets = True

    def _send_tags(self, run_id: str) -> None:
        tags = {key: self._record.tags[key] for key in self._record.changed_tags}
        for key, value in tags.items() - self._sent_tags.items():
            self._client.set_tag(run_id, key, value)
        self._sent_tags = tags

    def _ask_steps(self, run_id: str, metric: str) -> set[int]:
        return {point.step for point in self._client.get_metric_history(run_id, metric)}

    def _send_rows(self, run_id: str, history: History, prefix: str, sent: set[int]) -> None:
        rows, times = dict(history.rows), history.times
        unsent = sorted(rows.keys() - sent)
        if not unsent:
            return
        # Complete epochs in each call, and synchronously: asynchronous logging loses points.
        for epochs in _chunks(unsent, max(1, _METRICS_PER_CALL // len(rows[unsent[0]]))):
            values = [
                Metric(prefix + name, value, times[epoch], epoch)
                for epoch in epochs
                for name, value in rows[epoch].items()
            ]
            self._client.log_batch(run_id, metrics=values)
            sent.update(epochs)

    def _send_artifacts(self, run_id: str) -> None:
        artifacts = self._record.artifacts
        for name in sorted(artifacts.keys() - self._sent_artifacts):
            path = self._record.folder / name
            if path.exists():
                self._client.log_artifact(run_id, str(path), artifacts[name])
            else:
                log.warning("%s no longer exists and is not sent to MLflow", path)
            self._sent_artifacts.add(name)

    def _create(self) -> str:
        """Creates the MLflow run, unless an earlier call did and its response was lost."""
        record = self._record
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


def _chunks(items: list[_T], size: int) -> Iterator[list[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
