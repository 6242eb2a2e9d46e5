"""What each run of a pair cost, and the comparison at an equal number of images processed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.columns import ARM, PRETEXT_RUN_ID
from ssl_rot.report.comparison.contrasts import SUPERVISED
from ssl_rot.report.comparison.curves import Curves, RunCurves, last_value, total
from ssl_rot.report.comparison.metrics import is_higher_better
from ssl_rot.report.comparison.params import (
    downstream_params,
    effective_params,
    group_keys,
)

# A run of the reference that is trained for longer, to process as many images as the arm did with
# its pre-training, differs from the shorter one in these.
_TRAINING_LENGTH = (
    "params.schedule.epochs",
    "params.schedule.match_images",
    "params.schedule.matched_samples",
    "params.schedule.scheduler.epochs",
    "params.schedule.scheduler.T_max",
)

_IMAGES = "pretext/images_processed"
_EQUAL_IMAGES = ("equal_images", "equal_images_difference", "equal_images_run_id")

# A run is at its end once it has processed this share of its images. Two runs rarely process the
# same number exactly, because both stop after a whole epoch.
_END = 0.98


def pair_costs(
    pairs: pd.DataFrame,
    partners: pd.DataFrame,
    runs: pd.DataFrame,
    rivals: pd.DataFrame,
    curves: Curves,
    metric: str,
) -> pd.DataFrame:
    """The columns of :func:`ssl_rot.report.pair_runs` from ``epochs_to_match`` on.

    ``pairs`` and ``partners`` are the arm's and the reference's run of each pair, and ``rivals``
    all usable runs of the reference, by run id. What needs a missing curve is NaN.
    """
    rows = []
    rivals_by_length = _group_by_length(rivals, curves)
    runs = runs.reindex(columns=["status", PRETEXT_RUN_ID])
    dependents = runs.loc[runs["status"] == "FINISHED", PRETEXT_RUN_ID].value_counts()
    # The key is the partner's: custom code in the pretext is part of the arm's content key, but
    # concerns only that arm.
    for arm, run_id, partner_id, pretext_id, partner_pretext_id, key in zip(
        pairs[ARM],
        pairs["run_id"],
        partners["run_id"],
        _pretext_ids(pairs),
        _pretext_ids(partners),
        _length_keys(partners),
        strict=True,
    ):
        ids = (run_id, partner_id, pretext_id, partner_pretext_id)
        own, partner, pretext, partner_pretext = (curves.get(i, {}) for i in ids)
        images = 0.0 if arm == SUPERVISED else last_value(pretext, _IMAGES)
        equal = _compare_at_equal_images(own, images, rivals_by_length.get(key, {}), metric)
        rows.append(
            {
                "epochs_to_match": _epochs_to_match(own, partner, metric),
                "reference_epochs": partner[metric].epochs[-1] if metric in partner else np.nan,
                "pretext_run_id": pretext_id,
                "pretext_acc": last_value(pretext, "pretext/test_acc"),
                "pretext_images": last_value(pretext, _IMAGES),
                "pretext_seconds": total(pretext, "pretext/epoch_seconds"),
                "pretext_shared_by": dependents.get(pretext_id, np.nan),
                "reference_pretext_images": last_value(partner_pretext, _IMAGES),
                "reference_pretext_seconds": total(partner_pretext, "pretext/epoch_seconds"),
                "arm_images": last_value(own, "images_processed"),
                "arm_seconds": total(own, "epoch_seconds"),
                "reference_images": last_value(partner, "images_processed"),
                "reference_seconds": total(partner, "epoch_seconds"),
                **dict(zip(_EQUAL_IMAGES, equal, strict=True)),
            }
        )
    return pd.DataFrame(rows, index=pairs.index)


def _pretext_ids(runs: pd.DataFrame) -> pd.Series[str]:
    return runs.get(PRETEXT_RUN_ID, pd.Series(index=runs.index, dtype=object))


def _epochs_to_match(own: RunCurves, partner: RunCurves, metric: str) -> float:
    if metric not in own or metric not in partner:
        return np.nan
    sign = 1 if is_higher_better(metric) else -1
    reached = sign * own[metric].values >= sign * partner[metric].values[-1]
    return float(own[metric].epochs[reached.argmax()]) if reached.any() else np.nan


class _Rival(NamedTuple):
    """A run of the reference that may be longer than the partner."""

    pretext_images: float
    curves: RunCurves


def _compare_at_equal_images(
    own: RunCurves, pretext_images: float, rivals: dict[str, _Rival], metric: str
) -> tuple[float, float, str | None]:
    """Compares both arms at the largest number of images that both processed, pretext included.

    Both must be at the end of their training there. In the middle of a schedule the learning rate
    is still high, and the accuracy says little about the one that the run ends with.
    """
    budget = pretext_images + last_value(own, "images_processed")
    spent = {
        run_id: rival.pretext_images + last_value(rival.curves, "images_processed")
        for run_id, rival in rivals.items()
    }
    if not np.isnan(budget):
        for run_id in sorted(spent, key=lambda candidate: abs(spent[candidate] - budget)):
            images, rival = min(budget, spent[run_id]), rivals[run_id]
            difference = _value_near_end(own, images - pretext_images, metric)
            difference -= _value_near_end(rival.curves, images - rival.pretext_images, metric)
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


def _group_by_length(
    rivals: pd.DataFrame, curves: Curves
) -> dict[tuple[int, str], dict[str, _Rival]]:
    """The runs of the reference; within a group, they differ in their length alone."""
    groups: dict[tuple[int, str], dict[str, _Rival]] = {}
    for arm, run_id, pretext_id, key in zip(
        rivals[ARM], rivals.index, _pretext_ids(rivals), _length_keys(rivals), strict=True
    ):
        if "images_processed" in curves.get(run_id, {}):
            pretext = curves.get(pretext_id, {})
            images = 0.0 if arm == SUPERVISED else last_value(pretext, _IMAGES)
            groups.setdefault(key, {})[run_id] = _Rival(images, curves[run_id])
    return groups


def _length_keys(runs: pd.DataFrame) -> list[tuple[int, str]]:
    """A key for each run of one arm; runs that differ in nothing but their length have the same."""
    is_supervised = bool((runs[ARM] == SUPERVISED).all())
    all_params = (downstream_params if is_supervised else effective_params)(runs.columns)
    return group_keys(runs, [param for param in all_params if param not in _TRAINING_LENGTH])
