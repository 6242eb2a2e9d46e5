"""Runs and histories straight from the tables of a database store.

MLflow's own calls build an object for every number, which takes fifty times as long. The tables are
those of MLflow's models, and are only read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import sqlalchemy
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels import models
from sqlalchemy import Select, select

from ssl_rot.report.load.store import HISTORY_COLUMNS, downstream_filter, search
from ssl_rot.tracking import Tag

# Ids a query. SQLite takes 32,766 values; the rows of so many runs stay within tens of megabytes.
_CHUNK = 400

RUNS = models.SqlRun.__table__
PARAMS = models.SqlParam.__table__
TAGS = models.SqlTag.__table__
LATEST = models.SqlLatestMetric.__table__
METRICS = models.SqlMetric.__table__

RUN_COLUMNS = {
    "run_id": RUNS.c.run_uuid,
    "run_name": RUNS.c.name,
    "experiment_id": RUNS.c.experiment_id,
    "status": RUNS.c.status,
    "start_time": RUNS.c.start_time,
    "end_time": RUNS.c.end_time,
}


class Database:
    """Reads a store that is a database: SQLite, PostgreSQL and what else MLflow takes."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client
        self.engine = sqlalchemy.create_engine(client.tracking_uri)

    def downstream(self, experiments: Sequence[str], where: str, since: int) -> pd.DataFrame:
        """The downstream runs; ``since`` in milliseconds. Layout: :meth:`by_id`."""
        if where:  # only MLflow reads its own filter syntax
            found = search(self.client, experiments, downstream_filter(where, since))
            return self.by_id([run.info.run_id for run in found])
        query = (
            select(RUNS.c.run_uuid)
            .join(TAGS, TAGS.c.run_uuid == RUNS.c.run_uuid)
            .where(
                RUNS.c.experiment_id.in_([int(i) for i in experiments]),
                RUNS.c.lifecycle_stage == "active",
                RUNS.c.start_time >= since,
                TAGS.c.key == Tag.PHASE,
                TAGS.c.value == "downstream",
            )
        )
        return self.by_id([row[0] for row in self._rows(query)])

    def by_id(self, ids: Sequence[str]) -> pd.DataFrame:
        """One row a run, laid out as by :func:`mlflow.search_runs`; times in milliseconds."""
        base = pd.DataFrame(
            self._chunked(select(*RUN_COLUMNS.values()), ids), columns=[*RUN_COLUMNS]
        )
        parts = [base.set_index("run_id")]
        for prefix, table, value in (
            ("params", PARAMS, PARAMS.c.value),
            ("tags", TAGS, TAGS.c.value),
            ("metrics", LATEST, _number(LATEST)),
        ):
            rows = self._chunked(select(table.c.run_uuid, table.c.key, value), ids)
            long = pd.DataFrame(rows, columns=["run_id", "key", "value"])
            wide = long.pivot(index="run_id", columns="key", values="value")
            parts.append(wide.add_prefix(f"{prefix}."))
        return pd.concat(parts, axis=1).rename_axis("run_id").reset_index()

    def histories(self, ids: Sequence[str], metrics: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Every logged value, some hundred runs at a time; columns: ``HISTORY_COLUMNS``."""
        columns = (METRICS.c.run_uuid, METRICS.c.key, METRICS.c.step, METRICS.c.timestamp)
        # In this disguise the key is no use to an index. SQLite would choose the one that begins
        # with the key and read every run's values again for each chunk.
        key = sqlalchemy.func.coalesce(METRICS.c.key, "")
        query = select(*columns, _number(METRICS)).where(key.in_(metrics))
        for chunk in _chunks(ids):
            rows = self._rows(query.where(METRICS.c.run_uuid.in_(chunk)))
            yield pd.DataFrame(rows, columns=HISTORY_COLUMNS)

    def _chunked(self, query: Select[Any], ids: Sequence[str]) -> list[Any]:
        run_id = query.selected_columns[0]
        return [row for chunk in _chunks(ids) for row in self._rows(query.where(run_id.in_(chunk)))]

    def _rows(self, query: Select[Any]) -> list[Any]:
        with self.engine.connect() as connection:
            # The driver's own rows: SQLAlchemy's take twice as long, and add nothing here.
            return list(connection.execute(query).cursor.fetchall())


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))


def _number(table: sqlalchemy.Table) -> sqlalchemy.ColumnElement[Any]:
    # MLflow stores 0 and a flag for NaN; a NULL here becomes NaN again.
    return sqlalchemy.case((table.c.is_nan, None), else_=table.c.value)
