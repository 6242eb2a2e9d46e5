"""Opens a tracking store for reading, and adds a report to it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from mlflow import MlflowClient

from ssl_rot.errors import TrackingError, store_errors
from ssl_rot.tracking.database import absolute_uri, connect, database_path, suggest_fix


def open_store(uri: str | None) -> MlflowClient:
    """A client of a tracking store that exists and answers; ``None`` follows MLflow's defaults.

    Raises:
        TrackingError: there is no such store. MLflow would create a missing database.
    """
    uri = absolute_uri(uri)
    database = database_path(uri)
    if database is not None and not database.is_file():
        raise TrackingError(
            f"There is no database {database}. Train something first: python -m ssl_rot.run "
            "--multirun +experiment=rotation,supervised seed=0,1,2; or say where the runs "
            "are: tracking.uri=sqlite:///path/mlflow.db or tracking.uri=http://host:5000"
        )
    what = f"The tracking store tracking.uri={uri} cannot be read"
    with store_errors(what, f"\n{suggest_fix(uri)}"):
        client = connect(uri)
        client.search_experiments(max_results=1)
    return client


def publish(uri: str, run_id: str, folder: Path, files: Iterable[Path]) -> None:
    """Uploads files of a folder to a run's artifacts, below ``report/``."""
    client = MlflowClient(uri)
    for file in files:
        place = PurePosixPath("report", file.relative_to(folder).parent.as_posix())
        client.log_artifact(run_id, str(file), str(place))
