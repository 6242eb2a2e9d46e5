"""Puts a report into the artifacts of the sweep that its runs come from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from mlflow import MlflowClient

from ssl_rot.errors import ConfigError
from ssl_rot.tracking import Tag


def sweep_of(runs: pd.DataFrame) -> str:
    """The id of the one parent run that all downstream runs have.

    Raises:
        ConfigError: there is none, or more than one.
    """
    column = f"tags.{Tag.PARENT_RUN_ID}"
    downstream = runs[runs[f"tags.{Tag.PHASE}"] == "downstream"]
    parents = downstream.get(column, pd.Series(dtype=object)).dropna().unique()
    if len(parents) == 1:
        return str(parents[0])
    there = ", ".join(sorted(parents)) or "none"
    raise ConfigError(
        [
            f"log=true needs runs of one sweep; their parent runs are: {there}. Choose with "
            f"\"where=tags.{Tag.PARENT_RUN_ID} = '...'\""
        ]
    )


def publish(uri: str, run_id: str, folder: Path) -> None:
    """Copies the folder to ``report/`` in the run's artifacts."""
    MlflowClient(uri).log_artifacts(run_id, str(folder), "report")
