"""Connects to a tracking store; where the database of a SQLite store is, and how it is made."""

import logging
import os
from contextlib import suppress
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from sqlalchemy import create_engine, make_url

from ssl_rot.errors import TrackingError
from ssl_rot.imports import importing_much

_SCHEME = "sqlite:///"
_DATABASE_SERVERS = ("postgresql", "mysql", "mssql")


def connect(uri: str) -> MlflowClient:
    """A client of a tracking store, set up to report one that is down within seconds.

    By itself, MLflow retries for minutes, with a log of every attempt.

    Raises:
        Exception: a database server does not answer; of almost any type.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It logs errors with tracebacks, although it also raises them.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one for every file
    if uri.startswith(_DATABASE_SERVERS):
        engine = create_engine(uri)
        engine.connect().close()
        engine.dispose()
    with importing_much():  # the client of a store imports what that kind needs
        return MlflowClient(tracking_uri=uri)


def suggest_fix(uri: str) -> str:
    """What to check if a store cannot be used."""
    if uri.startswith(("http://", "https://")):
        return "Is the server running, and is the address right?"
    path = database_path(uri)
    return "Is the database running?" if path is None else f"Is {path.parent} writable?"


def database_path(uri: str) -> Path | None:
    """The file of a SQLite store; ``None`` for any other store.

    In a URI the path is percent-encoded, and a query such as ``?timeout=60`` may follow it.
    """
    if not uri.startswith(_SCHEME):
        return None
    database = make_url(uri).database
    return None if database in (None, "", ":memory:") else Path(str(database))


def absolute_uri(uri: str | None) -> str:
    """A SQLite store named so that it is found from any working directory; others as they are.

    ``None`` follows MLflow's own defaults.
    """
    uri = mlflow.get_tracking_uri() if uri is None else uri
    path = database_path(uri)
    if path is None:
        return uri
    _, question_mark, query = uri.partition("?")
    return f"{database_uri(path.resolve())}{question_mark}{query}"


def database_uri(path: Path) -> str:
    """The URI of a SQLite store.

    Only what would be misread is encoded: MLflow makes a folder of the path as the URI has it.
    """
    return _SCHEME + str(path).replace("%", "%25").replace("?", "%3F")


def require_database(uri: str, what: str) -> None:
    """Refuses a missing SQLite database, which MLflow would create when it only reads.

    Args:
        what: the operation that it is needed for, as the start of the message.

    Raises:
        TrackingError: it is missing.
    """
    path = database_path(uri)
    if path is not None and not path.is_file():
        where = "Go to the folder that holds it, or set MLFLOW_TRACKING_URI"
        raise TrackingError(f"{what}: there is no database {path}. {where}")


def create_database(uri: str) -> None:
    """Creates a missing SQLite database; one that appears meanwhile is kept.

    It is made under another name: a kill leaves no half-made database.
    """
    path = database_path(uri)
    if path is None or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        connect(database_uri(temporary)).search_experiments(max_results=1)
        try:
            os.link(temporary, path)  # unlike a rename, it replaces nothing
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not path.exists():
                temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def remember_schema() -> None:
    """For processes forked from this one: they open databases in half the time.

    Opening one, MLflow reads all its migrations to learn the number of the last one.
    """
    with suppress(ImportError, AttributeError):
        from mlflow.store.db import utils

        revision = utils._get_latest_schema_revision()  # type: ignore[no-untyped-call]
        utils._get_latest_schema_revision = lambda: revision
