"""Adds a report to the artifacts of the sweep that it covers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from mlflow import MlflowClient

from ssl_rot.errors import ConfigError
from ssl_rot.tracking import Tag


def find_sweep(runs: pd.DataFrame) -> str:
    """The run ID of the sweep that all downstream runs belong to.

    Raises:
        ConfigError: they belong to no sweep, or to more than one.
    """
    downstream = runs[runs[f"tags.{Tag.PHASE}"] == "downstream"]
    parents = downstream.get(f"tags.{Tag.PARENT_RUN_ID}", pd.Series(dtype=object)).dropna().unique()
    if len(parents) == 1:
        return str(parents[0])
    raise ConfigError(
        [
            "log=true needs runs of one sweep; their parent runs are: "
            f"{', '.join(sorted(parents)) or 'none'}. Choose with "
            f"\"where=tags.{Tag.PARENT_RUN_ID} = '...'\""
        ]
    )


def publish(uri: str, run_id: str, folder: Path) -> None:
    """Uploads a folder as ``report/`` to a run's artifacts."""
    MlflowClient(uri).log_artifacts(run_id, str(folder), "report")
