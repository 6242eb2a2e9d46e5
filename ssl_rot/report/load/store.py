"""Opens a tracking store for reading, and adds a report to it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.parse import unquote
from urllib.request import urlopen

import mlflow
import sqlalchemy
from mlflow import MlflowClient

from ssl_rot.errors import TrackingError

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_TIMEOUT = 10  # seconds that a server has to answer


def without_password(uri: str) -> str:
    """The address with its password masked, for messages and reports."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", uri)


def open_store(uri: str | None) -> MlflowClient:
    """A client of a tracking store that exists and answers; ``None`` follows MLflow's defaults.

    Without this check, MLflow would create a missing database, and would spend minutes retrying a
    server that is down.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one for every file
    uri = mlflow.get_tracking_uri() if uri is None else uri
    try:
        if re.split(r"[:+]", uri, maxsplit=1)[0] in _DATABASES:
            _check_database(uri)
        elif uri.startswith(("http://", "https://")):
            _check_server(uri)
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


def publish(uri: str, run_id: str, folder: Path, files: Iterable[Path]) -> None:
    """Uploads files of a folder to a run's artifacts, below ``report/``."""
    client = MlflowClient(uri)
    for file in files:
        place = PurePosixPath("report", file.relative_to(folder).parent.as_posix())
        client.log_artifact(run_id, str(file), str(place))


def _check_database(uri: str) -> None:
    url = sqlalchemy.make_url(uri)
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        path = Path(unquote(str(url.database)))
        if not path.is_file():
            raise TrackingError(
                f"There is no database {path}. Train something first: python -m ssl_rot.run "
                "--multirun +experiment=rotation,supervised seed=0,1,2; or say where the runs "
                "are: tracking.uri=sqlite:///path/mlflow.db or tracking.uri=http://host:5000"
            )
    engine = sqlalchemy.create_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _check_server(uri: str) -> None:
    try:
        urlopen(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT).close()
    except HTTPError:  # the server answers; MLflow will report it if it denies access
        pass
    except OSError as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise TrackingError(
            f"The tracking server tracking.uri={without_password(uri)} cannot be reached: "
            f"{reason}. Is it running, and is the address right?"
        ) from error
