"""The SQLite database of a tracking store: its location and its creation."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from sqlalchemy import make_url

_SCHEME = "sqlite:///"


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
        client = MlflowClient(tracking_uri=database_uri(temporary))
        client.search_experiments(max_results=1)
        with suppress(FileExistsError):
            os.link(temporary, path)  # unlike a rename, it replaces nothing
    finally:
        temporary.unlink(missing_ok=True)
