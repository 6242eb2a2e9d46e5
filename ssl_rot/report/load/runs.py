"""Reads runs from MLflow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList

from ssl_rot.errors import ConfigError, TrackingError, without_password
from ssl_rot.report.load.store import open_store
from ssl_rot.tracking import Tag

_PAGE = 1000  # runs a request
_IDS = 100  # run IDs a filter
_INFO = ("run_id", "run_name", "experiment_id", "status", "artifact_uri", "start_time", "end_time")
_COMMAND = f"tags.{Tag.COMMAND}"
_MAY_HOLD_PASSWORD = ["artifact_uri", "params.tracking.uri", "params.overrides", _COMMAND]

T = TypeVar("T")


def load_runs(
    experiment_name: str | None = "ssl_rot",
    *,
    where: str = "",
    since: str | None = None,
    uri: str | None = None,
) -> pd.DataFrame:
    """The downstream runs of an experiment, with the other runs that they refer to.

    Those are their pretext runs, sweeps, and floors.

    Args:
        experiment_name: ``None`` takes every experiment of the store.
        where: a filter of the downstream runs in MLflow's syntax.
        since: only downstream runs that started on or after this date or time, as ``2026-05-31``
            or ``2026-05-31T18:00``, local time.
        uri: of the tracking store; ``None`` follows MLflow's defaults.

    Returns:
        One row per run, laid out as by :func:`mlflow.search_runs`: ``run_id``, ``run_name``,
        ``experiment_id``, ``status``, ``artifact_uri``, ``start_time`` and ``end_time`` (UTC), and
        a column for each ``params.*`` and ``tags.*`` (text) and ``metrics.*`` (the value of the
        last epoch). NaN marks what a run does not have. ``attrs["uri"]`` is the address of the
        store.

    Raises:
        TrackingError: the store cannot be read, the experiment does not exist, or it has no
            matching downstream run.
        ConfigError: ``since`` is not a date.
    """
    start = _milliseconds(since)
    client = open_store(uri)
    condition = f"tags.`{Tag.PHASE}` = 'downstream' and attributes.start_time >= {start}"
    if where.strip():
        condition += f" and {where.strip()}"
    rows = list(_search(client, _experiment_ids(client, experiment_name), condition))
    if not rows:
        narrowed = " that meets where and since" if where.strip() or since is not None else ""
        raise TrackingError(
            f"There is no downstream run{narrowed} in experiment {experiment_name} of "
            f"{client.tracking_uri}. "
            "Train both arms first: python -m ssl_rot.run --multirun "
            "+experiment=rotation,supervised seed=0,1,2"
        )
    for column in (f"tags.{Tag.PRETEXT_RUN_ID}", f"tags.{Tag.PARENT_RUN_ID}"):
        referred = {row[column] for row in rows if column in row} - {row["run_id"] for row in rows}
        rows += _find(client, sorted(referred))
    if any(f"tags.{Tag.FLOOR_KEY}" in row for row in rows):
        rows += _search(client, _experiment_ids(client, None), f"tags.`{Tag.PHASE}` = 'floor'")
    runs = pd.DataFrame(rows)
    runs = runs.drop_duplicates("run_id", ignore_index=True)  # pages shift if a run is added
    for column in ("start_time", "end_time"):
        runs[column] = pd.to_datetime(runs[column], unit="ms", utc=True)
    for column in runs.columns.intersection(_MAY_HOLD_PASSWORD):  # reports are passed around
        runs[column] = runs[column].map(without_password, na_action="ignore")
    runs.attrs["uri"] = client.tracking_uri
    return runs


def find_sweep(runs: pd.DataFrame) -> str:
    """The run ID of the sweep that all downstream runs belong to.

    Raises:
        ConfigError: they belong to no sweep, or to more than one.
    """
    parent = f"tags.{Tag.PARENT_RUN_ID}"
    downstream = runs[runs[f"tags.{Tag.PHASE}"] == "downstream"]
    parents = downstream.get(parent, pd.Series(dtype=object)).dropna().unique()
    if len(parents) == 1:
        return str(parents[0])
    raise ConfigError(
        [
            "log=true needs runs of one sweep; their parent runs are: "
            f"{', '.join(sorted(parents)) or 'none'}. Choose with \"where={parent} = '...'\""
        ]
    )


def _experiment_ids(client: MlflowClient, name: str | None) -> list[str]:
    """The ID of the experiment of that name; those of all experiments for ``None``."""
    experiments = _all_pages(lambda token: client.search_experiments(page_token=token))
    ids = {experiment.name: experiment.experiment_id for experiment in experiments}
    if name is None:
        return list(ids.values())
    if name not in ids:
        raise TrackingError(
            f"There is no experiment {name!r} in {client.tracking_uri}. "
            f"There are: {', '.join(sorted(ids))}. Choose with experiment_name=..."
        )
    return [ids[name]]


def _find(client: MlflowClient, run_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The runs with these IDs, in whichever experiment; deleted ones are left out."""
    experiments = _experiment_ids(client, None) if run_ids else []
    for first in range(0, len(run_ids), _IDS):
        listed = ", ".join(f"'{run_id}'" for run_id in run_ids[first : first + _IDS])
        yield from _search(client, experiments, f"attributes.run_id IN ({listed})")


def _search(
    client: MlflowClient, experiments: list[str], condition: str
) -> Iterator[dict[str, Any]]:
    """All runs that match a filter in MLflow's syntax, as rows of the DataFrame."""

    def fetch(token: str | None) -> PagedList[Run]:
        return client.search_runs(experiments, condition, max_results=_PAGE, page_token=token)

    try:
        yield from map(_row, _all_pages(fetch))
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        raise TrackingError(
            f"MLflow cannot read the filter: {error.message}\n"
            "where takes MLflow's syntax: \"where=params.dataset = 'digits' and "
            "params.freeze != 'none'\""
        ) from error


def _row(run: Run) -> dict[str, Any]:
    row = {name: getattr(run.info, name) for name in _INFO}
    for kind in ("params", "tags", "metrics"):
        values = getattr(run.data, kind)
        row |= {sys.intern(f"{kind}.{key}"): value for key, value in values.items()}
    return row


def _all_pages(fetch: Callable[[str | None], PagedList[T]]) -> Iterator[T]:
    token = None
    while True:
        page = fetch(token)
        yield from page
        token = page.token
        if not token:
            return


def _milliseconds(since: str | None) -> int:
    if since is None:
        return 0
    try:
        return int(datetime.fromisoformat(str(since)).timestamp() * 1000)
    except ValueError:
        raise ConfigError(
            [f"since={since} is not a date; it must look like 2026-05-31 or 2026-05-31T18:00"]
        ) from None
