"""Finds, reads and tags the runs of a tracking store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from ssl_rot.errors import store_errors, without_password
from ssl_rot.tracking.database import absolute_uri, connect, require_database, suggest_fix
from ssl_rot.tracking.names import Tag


@dataclass(frozen=True)
class StoredRun:
    """A run in the tracking store.

    ``start_time`` is in milliseconds since 1970; ``metrics`` has the latest value of each.
    """

    run_id: str
    status: str
    start_time: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]


class OpenStore(Protocol):
    """What is needed to read the runs of an experiment; a ``Store`` has it."""

    client: MlflowClient
    uri: str
    experiment_id: str


@dataclass
class ExistingStore:
    """The store that has a run, opened for reading: nothing is created in it."""

    client: MlflowClient
    uri: str
    experiment_id: str

    @classmethod
    def of_run(cls, run_id: str, uri: str | None = None) -> ExistingStore:
        """The store at ``uri``; ``None`` follows MLflow's own defaults.

        Raises:
            TrackingError: there is no such store, or it lacks the run.
        """
        uri = absolute_uri(uri)
        require_database(uri, f"Run {run_id} cannot be looked up")
        with store_errors(f"Run {run_id} is not in {uri}", f"\n{suggest_fix(uri)}"):
            client = connect(uri)
            return cls(client, uri, str(client.get_run(run_id).info.experiment_id))


class StoredRuns:
    """The runs of a store's experiment.

    Every method raises :class:`TrackingError` if the store does not answer, or lacks the run.
    """

    def __init__(self, store: OpenStore) -> None:
        self._store = store

    def get(self, run_id: str) -> StoredRun:
        """A run by its id."""
        with store_errors(f"Run {run_id} is not in {self._store.uri}"):
            return _stored(self._store.client.get_run(run_id))

    def has(self, run_id: str) -> bool:
        """Whether the store has a run, deleted ones included."""
        with store_errors(f"Run {run_id} cannot be looked up in {self._store.uri}"):
            try:
                self._store.client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False
            return True

    def find(
        self, phase: str, tag: str, key: str, parent: str | None = None, everywhere: bool = False
    ) -> StoredRun | None:
        """The latest FINISHED run of a phase whose ``tag`` is ``key``.

        Args:
            parent: search only the children of this run.
            everywhere: search all experiments of the store, not only this one.
        """
        conditions = ["attributes.status = 'FINISHED'", *_key_conditions(phase, tag, key)]
        if parent is not None:
            conditions.append(f"tags.`{Tag.PARENT_RUN_ID}` = '{parent}'")
        found = self._search(conditions, limit=1, everywhere=everywhere)
        return found[0] if found else None

    def finished(self, phase: str) -> list[StoredRun]:
        """All FINISHED runs of a phase, latest first."""
        return self._search(["attributes.status = 'FINISHED'", f"tags.`{Tag.PHASE}` = '{phase}'"])

    def unfinished(
        self, phase: str, tag: str | None = None, key: str | None = None
    ) -> list[StoredRun]:
        """The latest runs of a phase that are not FINISHED; with a ``tag``, if it is ``key``."""
        of_phase = [f"tags.`{Tag.PHASE}` = '{phase}'"]
        conditions = of_phase if tag is None else _key_conditions(phase, tag, str(key))
        return self._search(["attributes.status != 'FINISHED'", *conditions], limit=20)

    def interrupted(self, host: str) -> list[StoredRun]:
        """The latest runs on a host, of both phases, that ended without finishing."""
        ended = [f"attributes.status != '{status}'" for status in ("FINISHED", "RUNNING")]
        found = self._search([*ended, f"tags.`{Tag.HOST}` = '{host}'"], limit=100)
        return [run for run in found if run.tags.get(Tag.PHASE) in ("pretext", "downstream")]

    def running(self) -> list[StoredRun]:
        """All RUNNING runs."""
        return self._search(["attributes.status = 'RUNNING'"])

    def children(self, parent: str) -> list[StoredRun]:
        """All children of ``parent``, earliest first."""
        found = self._search([f"tags.`{Tag.PARENT_RUN_ID}` = '{parent}'"])
        return sorted(found, key=lambda run: run.start_time)

    def tag(self, run_id: str, key: str, value: str) -> None:
        """Sets a tag of a run."""
        with store_errors(f"A tag of run {run_id} cannot be set in {self._store.uri}"):
            self._store.client.set_tag(run_id, key, without_password(value))

    def remove_tags(self, run: StoredRun, prefix: str) -> None:
        """Removes the tags of ``run`` that start with ``prefix``."""
        with store_errors(f"A tag of run {run.run_id} cannot be removed in {self._store.uri}"):
            for key in run.tags:
                if key.startswith(prefix):
                    self._store.client.delete_tag(run.run_id, key)

    def artifact(self, run_id: str, name: str, folder: Path) -> Path:
        """Downloads an artifact of a run into ``folder``."""
        with store_errors(f"Run {run_id} in {self._store.uri} has no artifact {name}"):
            folder.mkdir(parents=True, exist_ok=True)
            return Path(self._store.client.download_artifacts(run_id, name, str(folder)))

    def _search(
        self, conditions: Sequence[str], *, limit: int | None = None, everywhere: bool = False
    ) -> list[StoredRun]:
        """The latest ``limit`` runs, or all of them, latest first."""
        client, experiments = self._store.client, [self._store.experiment_id]
        query, order = " and ".join(conditions), ["attributes.start_time DESC"]
        runs: list[StoredRun] = []
        token = None
        with store_errors(f"The runs of {self._store.uri} cannot be listed"):
            if everywhere:
                experiments = [e.experiment_id for e in client.search_experiments()]
            while True:
                page = client.search_runs(
                    experiments, query, max_results=limit or 1000, order_by=order, page_token=token
                )
                runs += [_stored(run) for run in page]
                token = page.token
                if limit is not None or not token:
                    return runs


def _key_conditions(phase: str, tag: str, key: str) -> list[str]:
    return [f"tags.`{Tag.PHASE}` = '{phase}'", f"tags.`{tag}` = '{key}'"]


def _stored(run: Run) -> StoredRun:
    info, data = run.info, run.data
    return StoredRun(
        info.run_id, info.status, info.start_time, data.params, data.tags, data.metrics
    )
