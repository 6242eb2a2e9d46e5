"""Runs and histories from a store that is not a database, a tracking server above all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.rest_utils import http_request

from ssl_rot.report.load.store import HISTORY_COLUMNS, downstream_filter, experiment_ids, search

_ENDPOINT = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"  # what MLflow's own UI draws from
_POINTS = 25_000  # a server answers with no more, and does not say that it cut
_RUNS = 50  # a server takes 100
_THREADS = 4  # as many as a server has workers by default


class Server:
    """Reads a store that is not a database: a tracking server above all."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client

    def downstream(self, experiments: Sequence[str], where: str, since: int) -> pd.DataFrame:
        """The downstream runs; ``since`` in milliseconds. Layout: :meth:`by_id`."""
        return _frame(search(self.client, experiments, downstream_filter(where, since)))

    def by_id(self, ids: Sequence[str]) -> pd.DataFrame:
        """One row a run, laid out as by :func:`mlflow.search_runs`; times in milliseconds."""
        everywhere = experiment_ids(self.client, None)
        found: list[Run] = []
        for chunk in (ids[start : start + _RUNS] for start in range(0, len(ids), _RUNS)):
            listed = ", ".join(f"'{run_id}'" for run_id in chunk)
            found += search(self.client, everywhere, f"attributes.run_id IN ({listed})")
        return _frame(found)

    def histories(self, ids: Sequence[str], metrics: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Every logged value, some runs at a time; columns: ``HISTORY_COLUMNS``."""
        # Another kind of store has no such call, and MLflow's own way always works.
        has_bulk = isinstance(self.client._tracking_client.store, RestStore)
        size, fetch = (_RUNS, _bulk) if has_bulk else (1, _run_by_run)
        jobs = [(metric, ids[i : i + size]) for metric in metrics for i in range(0, len(ids), size)]
        with ThreadPoolExecutor(_THREADS) as pool:
            for rows in pool.map(lambda job: fetch(self.client, *job), jobs):
                yield pd.DataFrame(rows, columns=HISTORY_COLUMNS)


def _frame(runs: Sequence[Run]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "run_id": run.info.run_id,
                "run_name": run.info.run_name,
                "experiment_id": run.info.experiment_id,
                "status": run.info.status,
                "start_time": run.info.start_time,
                "end_time": run.info.end_time,
                **{f"params.{key}": value for key, value in run.data.params.items()},
                **{f"tags.{key}": value for key, value in run.data.tags.items()},
                **{f"metrics.{key}": value for key, value in run.data.metrics.items()},
            }
            for run in runs
        ]
    )


def _bulk(client: MlflowClient, metric: str, ids: Sequence[str]) -> list[tuple[Any, ...]]:
    answer = http_request(  # type: ignore[no-untyped-call]
        client._tracking_client.store.get_host_creds(),
        _ENDPOINT,
        "GET",
        params={"run_id": ids, "metric_key": metric, "max_results": _POINTS},
    )
    if answer.status_code != 200:  # an old server, or one behind a gate that hides this path
        return _run_by_run(client, metric, ids)
    points = answer.json()["metrics"]
    if len(points) < _POINTS:
        return [(p["run_id"], metric, p["step"], p["timestamp"], p["value"]) for p in points]
    half = len(ids) // 2
    if half == 0:
        return _run_by_run(client, metric, ids)
    return _bulk(client, metric, ids[:half]) + _bulk(client, metric, ids[half:])


def _run_by_run(client: MlflowClient, metric: str, ids: Sequence[str]) -> list[tuple[Any, ...]]:
    return [
        (run_id, metric, point.step, point.timestamp, point.value)
        for run_id in ids
        for point in client.get_metric_history(run_id, metric)
    ]
