"""What each run of a pair cost, and the comparison at an equal number of images processed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.columns import PRETEXT_RUN_ID
from ssl_rot.report.comparison.curves import Curves, RunCurves, last_value, total
from ssl_rot.report.comparison.metrics import is_higher_better
from ssl_rot.report.comparison.params import downstream_params, group_keys

# A supervised-only run that is trained for longer, to process as many images as rotation did with
# its pre-training, differs from the shorter one in these.
_TRAINING_LENGTH = (
    "params.schedule.epochs",
    "params.schedule.scheduler.epochs",
    "params.schedule.scheduler.T_max",
)

_EQUAL_IMAGES = ("equal_images", "equal_images_difference", "equal_images_run_id")

# A run is at its end once it has processed this share of its images. Two runs rarely process the
# same number exactly, because both stop after a whole epoch.
_END = 0.98


def pair_costs(
    pairs: pd.DataFrame,
    partners: pd.DataFrame,
    runs: pd.DataFrame,
    supervised: pd.DataFrame,
    curves: Curves,
    metric: str,
) -> pd.DataFrame:
    """The columns of :func:`ssl_rot.report.pair_runs` from ``epochs_to_match`` on.

    ``pairs`` and ``partners`` are the rotation and the supervised-only run of each pair, and
    ``supervised`` all usable runs of that arm, by run id. What needs a missing curve is NaN.
    """
    rows = []
    runs_by_length = _group_by_length(supervised, curves)
    runs = runs.reindex(columns=["status", PRETEXT_RUN_ID])
    dependents = runs.loc[runs["status"] == "FINISHED", PRETEXT_RUN_ID].value_counts()
    pretext_ids = pairs.get(PRETEXT_RUN_ID, pd.Series(index=pairs.index, dtype=object))
    # The key is the partner's: custom code in the pretext is part of the rotation run's content
    # key, but concerns only that arm.
    for run_id, partner_id, pretext_id, key in zip(
        pairs["run_id"], partners["run_id"], pretext_ids, _length_keys(partners), strict=True
    ):
        ids = (run_id, partner_id, pretext_id)
        rotation, partner, pretext = (curves.get(run, {}) for run in ids)
        pretext_images = last_value(pretext, "pretext/images_processed")
        candidates = runs_by_length.get(key, {})
        equal = _compare_at_equal_images(rotation, pretext_images, candidates, metric)
        rows.append(
            {
                "epochs_to_match": _epochs_to_match(rotation, partner, metric),
                "supervised_epochs": partner[metric].epochs[-1] if metric in partner else np.nan,
                "pretext_run_id": pretext_id,
                "pretext_acc": last_value(pretext, "pretext/test_acc"),
                "pretext_images": pretext_images,
                "pretext_seconds": total(pretext, "pretext/epoch_seconds"),
                "pretext_shared_by": dependents.get(pretext_id, np.nan),
                "rotation_images": last_value(rotation, "images_processed"),
                "rotation_seconds": total(rotation, "epoch_seconds"),
                "supervised_images": last_value(partner, "images_processed"),
                "supervised_seconds": total(partner, "epoch_seconds"),
                **dict(zip(_EQUAL_IMAGES, equal, strict=True)),
            }
        )
    return pd.DataFrame(rows, index=pairs.index)


def _epochs_to_match(rotation: RunCurves, partner: RunCurves, metric: str) -> float:
    if metric not in rotation or metric not in partner:
        return np.nan
    sign = 1 if is_higher_better(metric) else -1
    reached = sign * rotation[metric].values >= sign * partner[metric].values[-1]
    return float(rotation[metric].epochs[reached.argmax()]) if reached.any() else np.nan


def _compare_at_equal_images(
    rotation: RunCurves, pretext_images: float, candidates: Curves, metric: str
) -> tuple[float, float, str | None]:
    """Compares both arms at the largest number of images that both processed, pretext included.

    Both must be at the end of their training there. In the middle of a schedule the learning rate
    is still high, and the accuracy says little about the one that the run ends with.
    """
    budget = pretext_images + last_value(rotation, "images_processed")
    spent = {run_id: last_value(own, "images_processed") for run_id, own in candidates.items()}
    if not np.isnan(budget):
        for run_id in sorted(spent, key=lambda candidate: abs(spent[candidate] - budget)):
            images = min(budget, spent[run_id])
            difference = _value_near_end(rotation, images - pretext_images, metric)
            difference -= _value_near_end(candidates[run_id], images, metric)
            if not np.isnan(difference):
                return images, difference, run_id
    return np.nan, np.nan, None


def _value_near_end(curves: RunCurves, images: float, metric: str) -> float:
    """The metric at the last epoch within that many images; NaN if that is not near the end."""
    if metric not in curves or "images_processed" not in curves:
        return np.nan
    epochs, processed = curves["images_processed"]
    within = processed <= images
    if not within.any() or processed[within][-1] < _END * processed[-1]:
        return np.nan
    known = curves[metric].epochs <= epochs[within][-1]
    return float(curves[metric].values[known][-1]) if known.any() else np.nan


def _group_by_length(supervised: pd.DataFrame, curves: Curves) -> dict[tuple[int, str], Curves]:
    """Curves of the supervised-only runs; within a group, runs differ in their length alone."""
    groups: dict[tuple[int, str], Curves] = {}
    for run_id, key in zip(supervised.index, _length_keys(supervised), strict=True):
        if "images_processed" in curves.get(run_id, {}):
            groups.setdefault(key, {})[run_id] = curves[run_id]
    return groups


def _length_keys(runs: pd.DataFrame) -> list[tuple[int, str]]:
    """A key for each run; runs that differ in nothing but their length have the same."""
    params = [param for param in downstream_params(runs.columns) if param not in _TRAINING_LENGTH]
    return group_keys(runs, params)
