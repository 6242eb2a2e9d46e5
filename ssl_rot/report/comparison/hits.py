"""Which test images each run got right, and the differences between two arms in that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_rot.report.comparison.estimates import Array

BALANCED = "balanced_acc"


class RunHits(NamedTuple):
    """One run's test images in a fixed order: the class of each, and whether it was right."""

    targets: NDArray[np.int_]
    hits: NDArray[np.bool_]


Hits = Mapping[str, RunHits]
"""By run id."""


class CellHits(NamedTuple):
    """The hits of a cell, averaged within each unit (a seed, or a pre-training)."""

    targets: NDArray[np.int_]  # [images]
    arm: Array  # [units, images]
    reference: Array


def cell_hits(pairs: pd.DataFrame, hits: Hits, chance: float = np.nan) -> CellHits | None:
    """The hits of the pairs of one cell, by ``unit`` in order of appearance.

    ``None`` if the predictions of a finished run are missing, or if not all runs were tested on
    the same images.

    Args:
        chance: what a lost run is taken to get right of each image.
    """
    targets: NDArray[np.int_] | None = None
    sides: dict[str, list[Array]] = {"arm": [], "reference": []}
    for _, part in pairs.groupby("unit", sort=False):
        for side, of_units in sides.items():
            rows = []
            ids, is_lost = part[f"{side}_run_id"], part[f"{side}_value"].isna()
            for run_id, lost in zip(ids, is_lost, strict=True):
                own = hits.get(run_id)
                if lost:
                    rows.append(np.array(chance))
                    continue
                if own is None or (
                    targets is not None and not np.array_equal(targets, own.targets)
                ):
                    return None
                targets = own.targets
                rows.append(own.hits.astype(float))
            of_units.append(np.mean(np.broadcast_arrays(*rows), axis=0))
    if targets is None:
        return None
    arm, reference = (
        np.stack([np.broadcast_to(row, targets.shape) for row in of_units])
        for of_units in sides.values()
    )
    return CellHits(targets, arm, reference)


def balanced_accuracy(run: RunHits) -> float:
    """The mean of the recalls of all classes that have test images."""
    classes, positions = np.unique(run.targets, return_inverse=True)
    counts = np.bincount(positions, minlength=len(classes))
    return float((np.bincount(positions, weights=run.hits) / counts).mean())


def add_balanced_accuracy(runs: pd.DataFrame, hits: Hits) -> pd.DataFrame:
    """The runs with the metric ``balanced_acc``, NaN where a run left no predictions."""
    values = [
        balanced_accuracy(hits[run_id]) if run_id in hits else np.nan for run_id in runs["run_id"]
    ]
    with_metric = runs.assign(**{f"metrics.{BALANCED}": values})
    with_metric.attrs = runs.attrs
    return with_metric
