"""The SQLite database of a tracking store: its location and its creation."""

from __future__ import annotations

import os
from pathlib import Path

from mlflow import MlflowClient

_SCHEME = "sqlite:///"


def absolute_uri(uri: str) -> str:
    """Makes the path of a SQLite database absolute, for any working directory."""
    if not uri.startswith(_SCHEME):
        return uri
    return _SCHEME + str(Path(uri.removeprefix(_SCHEME)).resolve())


def create_database(uri: str) -> None:
    """Creates a missing SQLite database, atomically: a kill leaves no incomplete one."""
    path = Path(uri.removeprefix(_SCHEME))
    if not uri.startswith(_SCHEME) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        MlflowClient(tracking_uri=f"{_SCHEME}{temporary}").search_experiments(max_results=1)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
