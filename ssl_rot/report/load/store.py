"""Opens a tracking store for reading, and says in one message why it cannot be opened."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import unquote
from urllib.request import urlopen

import mlflow
import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList

from ssl_rot.errors import TrackingError
from ssl_rot.tracking import Tag

HISTORY_COLUMNS = ["run_id", "metric", "epoch", "timestamp", "value"]
_SECONDS = 10

T = TypeVar("T")


def is_database(uri: str) -> bool:
    """Whether the store is a database that we reach directly."""
    return uri.split(":", 1)[0].split("+", 1)[0] in ("sqlite", "postgresql", "mysql", "mssql")


def without_password(uri: str) -> str:
    """The same address for messages and reports."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", uri)


def open_store(uri: str | None) -> MlflowClient:
    """A client of the store, after a quick look whether it answers.

    MLflow itself would make an empty database where none is, and try a server that is down for
    minutes.

    Args:
        uri: of the store; ``None`` follows MLflow's defaults.

    Raises:
        TrackingError: there is no database, or the store cannot be reached.
    """
    uri = mlflow.get_tracking_uri() if uri is None else uri
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        if is_database(uri):
            _look_into_database(uri)
        elif uri.startswith(("http://", "https://")):
            _look_at_server(uri)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except TrackingError:
        raise
    except Exception as error:  # each kind of store has errors of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrackingError(
            f"The tracking store tracking.uri={without_password(uri)} cannot be read: {reason}"
        ) from error
    return client


def _look_into_database(uri: str) -> None:
    url = sqlalchemy.make_url(uri)
    memory = (None, "", ":memory:")
    if url.get_backend_name() == "sqlite" and url.database not in memory:
        path = Path(unquote(str(url.database)))
        if not path.is_file():
            raise TrackingError(
                f"There is no database {path}. Train something first: python -m ssl_rot.run "
                "--multirun +experiment=rotation,supervised seed=0,1,2; or say where the runs "
                "are: tracking.uri=sqlite:///path/mlflow.db or tracking.uri=http://host:5000"
            )
    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect():
            pass
    finally:
        engine.dispose()


def _look_at_server(uri: str) -> None:
    try:
        with urlopen(f"{uri.rstrip('/')}/health", timeout=_SECONDS):
            pass
    except HTTPError:  # it answers; whether it lets us in is for MLflow to find out
        pass
    except (URLError, TimeoutError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise TrackingError(
            f"The tracking server tracking.uri={without_password(uri)} cannot be reached: "
            f"{reason}. Is it running, and is the address right?"
        ) from error


def experiment_ids(client: MlflowClient, name: str | None) -> list[str]:
    """The experiment of that name; all of them for ``None``.

    Raises:
        TrackingError: there is none; says which there are.
    """
    there = {
        experiment.name: experiment.experiment_id
        for experiment in _all(lambda token: client.search_experiments(page_token=token))
    }
    if name is None:
        return list(there.values())
    if name not in there:
        raise TrackingError(
            f"There is no experiment {name!r} in {without_password(client.tracking_uri)}. "
            f"There are: {', '.join(sorted(there))}. Choose with experiment_name=..."
        )
    return [there[name]]


def downstream_filter(where: str, since: int) -> str:
    """What picks the downstream runs, in MLflow's filter syntax; ``since`` in milliseconds."""
    ours = f"tags.`{Tag.PHASE}` = 'downstream' and attributes.start_time >= {since}"
    return f"{ours} and {where}" if where else ours


def search(client: MlflowClient, experiments: Sequence[str], condition: str) -> list[Run]:
    """All runs that meet a filter in MLflow's syntax.

    Raises:
        TrackingError: MLflow cannot read the filter.
    """
    try:
        return list(
            _all(
                lambda token: client.search_runs(
                    list(experiments), condition, max_results=1000, page_token=token
                )
            )
        )
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        raise TrackingError(
            f"MLflow cannot read the filter: {error.message}\n"
            "where takes MLflow's syntax: \"where=params.dataset = 'digits' and "
            "params.freeze != 'none'\""
        ) from error


def _all(fetch: Callable[[str | None], PagedList[T]]) -> Iterator[T]:
    token = None
    while True:
        page = fetch(token)
        yield from page
        token = page.token
        if not token:
            return
