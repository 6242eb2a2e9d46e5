"""Query: what MLflow holds, as two DataFrames."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pandas as pd
from mlflow import MlflowClient

from ssl_rot.errors import ConfigError, TrackingError
from ssl_rot.report.load.rest import Server
from ssl_rot.report.load.sql import Database
from ssl_rot.report.load.store import experiment_ids, is_database, open_store, without_password
from ssl_rot.tracking import Tag

MAY_HOLD_PASSWORD = ("params.tracking.uri", "params.overrides", f"tags.{Tag.COMMAND}")
CURVES = ("train_loss", "train_acc", "test_loss", "test_acc")
COSTS = ("images_processed", "epoch_seconds")
PRETEXT = ("pretext/test_acc", "pretext/images_processed", "pretext/epoch_seconds")


def load_runs(
    experiment_name: str | None = "ssl_rot",
    *,
    where: str = "",
    since: str | None = None,
    uri: str | None = None,
) -> pd.DataFrame:
    """The downstream runs of an experiment, and the pretext and sweep runs that they point at.

    Args:
        experiment_name: ``None`` takes every experiment of the store.
        where: a filter of the downstream runs in MLflow's syntax.
        since: the day or moment from which on they started, as ``2026-05-31`` or
            ``2026-05-31T18:00``, local time.
        uri: of the tracking store; ``None`` follows MLflow's defaults.

    Returns:
        One row a run, laid out as by :func:`mlflow.search_runs`: ``run_id``, ``run_name``,
        ``experiment_id``, ``status``, ``start_time`` and ``end_time`` (UTC), and a column for each
        ``params.*`` and ``tags.*`` (text) and ``metrics.*`` (the value of the last epoch). What a
        run does not have is NaN. ``attrs["uri"]`` says which store it was.

    Raises:
        TrackingError: the store cannot be read, there is no such experiment, or it holds no
            downstream run.
        ConfigError: ``since`` is not a date.
    """
    start = _milliseconds(since)
    client = open_store(uri)
    reader = _reader(client)
    runs = reader.downstream(experiment_ids(client, experiment_name), where.strip(), start)
    if runs.empty:
        narrowed = " that meets where and since" if where.strip() or since is not None else ""
        raise TrackingError(
            f"There is no downstream run{narrowed} in experiment {experiment_name} of "
            f"{without_password(client.tracking_uri)}. "
            "Train both arms first: python -m ssl_rot.run --multirun "
            "+experiment=rotation,supervised seed=0,1,2"
        )
    for tag in (Tag.PRETEXT_RUN_ID, Tag.PARENT_RUN_ID):
        if f"tags.{tag}" in runs:
            pointed_at = set(runs[f"tags.{tag}"].dropna()) - set(runs["run_id"])
            runs = pd.concat([runs, reader.by_id(sorted(pointed_at))], ignore_index=True)
    for column in ("start_time", "end_time"):
        runs[column] = pd.to_datetime(runs[column], unit="ms", utc=True)
    runs = runs.drop_duplicates("run_id", ignore_index=True)  # a page may move while we read
    for column in MAY_HOLD_PASSWORD:
        if column in runs:  # a report is for sending about
            runs[column] = runs[column].map(without_password, na_action="ignore")
    runs.attrs["uri"] = client.tracking_uri
    return runs


def load_histories(
    runs: pd.DataFrame, metrics: Sequence[str] = (*CURVES, *COSTS), uri: str | None = None
) -> pd.DataFrame:
    """Every epoch of the runs' metrics, and of what their pretext runs cost.

    Args:
        runs: from :func:`load_runs`.
        metrics: of the downstream runs.
        uri: of the tracking store; ``None`` takes the one that the runs came from.

    Returns:
        ``run_id`` and ``metric`` (categories), ``epoch`` (from 1) and ``value``; where an epoch was
        logged twice, as after a resume, the later value.
    """
    reader = _reader(open_store(runs.attrs.get("uri") if uri is None else uri))
    phase = runs[f"tags.{Tag.PHASE}"]
    ids, names = list(runs["run_id"]), [*metrics, *PRETEXT]
    parts = [
        _slim(part, ids, names)
        for name, wanted in (("downstream", metrics), ("pretext", PRETEXT))
        for part in reader.histories(list(runs.loc[phase == name, "run_id"]), wanted)
    ]
    return pd.concat(parts, ignore_index=True)


def _slim(part: pd.DataFrame, ids: list[str], metrics: list[str]) -> pd.DataFrame:
    """One value an epoch, in a tenth of the memory: repeated names become numbers."""
    key = ["run_id", "metric", "epoch"]
    return (
        part.assign(
            run_id=part["run_id"].astype(pd.CategoricalDtype(ids)),
            metric=part["metric"].astype(pd.CategoricalDtype(metrics)),
            epoch=part["epoch"].astype("int32"),
            value=part["value"].astype("float64"),
        )
        .sort_values([*key, "timestamp"])
        .drop_duplicates(key, keep="last")
        .drop(columns="timestamp")
    )


def _reader(client: MlflowClient) -> Database | Server:
    return Database(client) if is_database(client.tracking_uri) else Server(client)


def _milliseconds(since: str | None) -> int:
    if since is None:
        return 0
    try:
        return int(datetime.fromisoformat(str(since)).timestamp() * 1000)
    except ValueError:
        raise ConfigError(
            [f"since={since} is not a date; it must look like 2026-05-31 or 2026-05-31T18:00"]
        ) from None
