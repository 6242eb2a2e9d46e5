"""Reads the metrics of every epoch.

Each run's ``history.csv`` has all of them, and reads many times faster than one metric after the
other through MLflow. MLflow is asked only for runs whose file is missing, damaged or out of date.
"""

from __future__ import annotations

import csv
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from ssl_rot.errors import store_errors
from ssl_rot.report.comparison.curves import Curve
from ssl_rot.report.load.artifacts import THREADS, fetch
from ssl_rot.report.load.store import open_store
from ssl_rot.tracking import HISTORY, Tag

CURVES = ("train_loss", "train_acc", "test_loss", "test_acc")
COSTS = ("images_processed", "epoch_seconds")
_PREFIX = "pretext/"  # of a pretext run's metrics in MLflow; its history.csv does without
_PRETEXT = ("pretext/test_acc", "pretext/images_processed", "pretext/epoch_seconds")


def load_histories(
    runs: pd.DataFrame, metrics: Sequence[str] = (*CURVES, *COSTS), uri: str | None = None
) -> pd.DataFrame:
    """The metrics of every epoch of the downstream runs, and the cost of their pretext runs.

    Args:
        runs: from :func:`load_runs`.
        metrics: of the downstream runs.
        uri: of the tracking store; ``None`` takes the one that the runs came from.

    Returns:
        ``run_id`` and ``metric`` (categories), ``epoch`` (from 1) and ``value``. If an epoch was
        logged twice, as after a resume, the later value.

    Raises:
        TrackingError: the store cannot be read.
    """
    client = open_store(runs.attrs.get("uri") if uri is None else uri)
    names = [*metrics, *_PRETEXT]
    phase = f"tags.{Tag.PHASE}"
    by_phase = {"downstream": list(metrics), "pretext": list(_PRETEXT)}
    columns = ["run_id", "artifact_uri", phase, *(f"metrics.{name}" for name in names)]
    records = runs.reindex(columns=columns).to_dict("records")
    rows = [row for row in records if row[phase] in by_phase]
    wanted = [by_phase[row[phase]] for row in rows]
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(partial(_read_run, client), rows, wanted))
    keys = [(row["run_id"], name) for row, own in zip(rows, wanted, strict=True) for name in own]
    curves = [curve for of_run in found for curve in of_run]
    lengths = [len(curve.epochs) for curve in curves]
    ids = pd.Categorical([run_id for run_id, _ in keys], categories=list(runs["run_id"]))
    metric = pd.Categorical([name for _, name in keys], categories=names)
    empty = np.empty(0)
    return pd.DataFrame(
        {
            "run_id": ids.repeat(lengths),
            "metric": metric.repeat(lengths),
            "epoch": np.concatenate([empty, *(c.epochs for c in curves)]).astype("int32"),
            "value": np.concatenate([empty, *(c.values for c in curves)]),
        }
    )


def _read_run(client: MlflowClient, run: dict[Hashable, Any], metrics: list[str]) -> list[Curve]:
    """A curve for each metric, from the run's history.csv, or from MLflow if that fails."""
    names = [name.removeprefix(_PREFIX) for name in metrics]
    latest = [run[f"metrics.{name}"] for name in metrics]
    with TemporaryDirectory() as folder:
        path = fetch(run["artifact_uri"], HISTORY, folder, client.tracking_uri)
        try:
            if path is not None:
                return _read_file(path, names, latest)
        except (OSError, ValueError, KeyError, csv.Error):
            pass  # missing, damaged, or of an earlier attempt of this run
    with store_errors(f"The metrics of run {run['run_id']} cannot be read"):
        return [_read_metric(client, run["run_id"], name) for name in metrics]


def _read_file(path: Path, metrics: list[str], latest: list[float]) -> list[Curve]:
    """A curve for each metric of a history.csv; an empty one if the file does not have it."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    columns = dict(zip(header, np.array(rows, dtype=float).T, strict=True))
    empty = Curve(np.empty(0), np.empty(0))
    curves = [Curve(columns["epoch"], columns[n]) if n in columns else empty for n in metrics]
    last = [curve.values[-1] if len(curve.values) else np.nan for curve in curves]
    if not np.array_equal(last, latest, equal_nan=True):
        raise ValueError(f"{path} ends with {last}, MLflow has {latest}")
    return curves


def _read_metric(client: MlflowClient, run_id: str, metric: str) -> Curve:
    points = client.get_metric_history(run_id, metric)
    by_epoch = {p.step: p.value for p in sorted(points, key=lambda p: (p.step, p.timestamp))}
    return Curve(np.array(list(by_epoch)), np.array(list(by_epoch.values())))
