"""Reads what each downstream run predicted for the test images after its last epoch."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.hits import RunHits
from ssl_rot.report.load.artifacts import THREADS, fetch
from ssl_rot.report.load.store import open_store
from ssl_rot.tracking import PREDICTIONS


def load_predictions(
    locations: Iterable[tuple[str, str]], uri: str | None = None
) -> dict[str, RunHits]:
    """Which test images each run got right, by run id.

    Runs without the artifact, such as those of an earlier version, are left out.

    Args:
        locations: ``run_id`` and ``artifact_uri`` of each run.
        uri: of the tracking store; ``None`` follows MLflow's defaults.

    Raises:
        TrackingError: the store cannot be read.
    """
    tracking_uri = open_store(uri).tracking_uri

    def read(location: tuple[str, str]) -> tuple[str, RunHits] | None:
        with TemporaryDirectory() as folder:
            path = fetch(location[1], PREDICTIONS, folder, tracking_uri)
            try:
                if path is None:
                    return None
                table = pd.read_parquet(path, columns=["index", "target", "prediction"])
            except (OSError, KeyError, ValueError):  # missing or damaged
                return None
        index, target, prediction = (table[column].to_numpy() for column in table)
        order = np.argsort(index, kind="stable")
        return location[0], RunHits(target[order], (target == prediction)[order])

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(found for found in pool.map(read, locations) if found is not None)
