"""The estimate of one cell's difference: what it is, its error, and its worst case."""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import NamedTuple

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.columns import VARIANCE
from ssl_rot.report.comparison.estimates import Array, Estimate, estimate_over_seeds
from ssl_rot.report.comparison.failures import chance_level
from ssl_rot.report.comparison.hits import BALANCED, CellHits, Hits, cell_hits
from ssl_rot.report.comparison.selection_error import add_selection_error
from ssl_rot.report.comparison.shared_seeds import add_seed_error, independent_differences
from ssl_rot.report.comparison.two_way import estimate_two_way

INTERVALS = ("two_way", "seeds")
# Metrics that are known for each test image.
_BY_IMAGE = ("test_acc", BALANCED)
_MOST_IMAGES = 1_000_000


class CellEstimate(NamedTuple):
    """The difference of one cell."""

    estimate: Estimate
    worst: Estimate  # with each lost run at chance
    differences: Array  # by unit, or by seed
    images: int | None  # in the error, which is that of seeds alone for None
    resolution: float  # the smallest difference that the metric can show, or 0 if unknown
    chance: float  # what lost runs are taken to reach
    hits: CellHits | None


def estimate_cell(
    finished: pd.DataFrame, with_lost: pd.DataFrame, hits: Hits, interval: str
) -> CellEstimate:
    """Estimates a cell from its finished pairs, and its worst case from those with lost runs too.

    Args:
        interval: ``two_way`` takes seeds and test images as samples, where predictions are there;
            ``seeds`` takes the test images as given.
    """
    metric = with_lost["metric"].iloc[0]
    classes = _count_classes(with_lost, hits)
    # Below any other level, so that no verdict depends on a guess.
    unknown = 0.0 if metric.endswith("_acc") else np.inf
    chance = unknown if classes is None else chance_level(metric, classes)
    of_images = cell_hits(finished, hits) if metric in _BY_IMAGE and len(finished) > 0 else None
    resolution = _find_resolution(with_lost, metric, of_images)
    differences = finished["difference"]
    worst_differences = with_lost["arm_value"].fillna(chance) - with_lost["reference_value"].fillna(
        chance
    )
    worst = estimate_over_seeds(_by_unit(worst_differences, with_lost["unit"]), resolution)
    is_two_way = of_images is not None and interval == "two_way"
    if of_images is None or not is_two_way:
        estimate = (
            estimate_over_seeds(_by_unit(differences, finished["unit"]), resolution)
            if len(finished)
            else Estimate.undefined()
        )
    else:
        weighted = of_images.targets if metric == BALANCED else None
        estimate = estimate_two_way(of_images.arm - of_images.reference, weighted)
        lost = cell_hits(with_lost, hits, chance)
        if lost is not None:
            worst = estimate_two_way(lost.arm - lost.reference, weighted)
    return CellEstimate(
        _add_choice(add_seed_error(estimate, finished, differences), finished),
        _add_choice(add_seed_error(worst, with_lost, worst_differences), with_lost),
        independent_differences(finished, differences),
        len(of_images.targets) if of_images is not None and is_two_way else None,
        resolution,
        chance,
        of_images,
    )


def _by_unit(values: pd.Series[float], units: pd.Series[str]) -> Array:
    return np.asarray(values.groupby(units, sort=False).mean(), dtype=float)


def _add_choice(estimate: Estimate, pairs: pd.DataFrame) -> Estimate:
    """Adds the error of having chosen each arm's setting; a cell may average several choices."""
    variances = []
    for side in ("arm", "reference"):
        column = f"{side}_{VARIANCE}"
        if column not in pairs or pairs.empty:
            return estimate
        of_cells = pairs.groupby("cell")[column].first().to_numpy(dtype=float)
        variances.append(np.array(of_cells.sum() / len(of_cells) ** 2))
    if not any(variance > 0 for variance in variances):
        return estimate
    return add_selection_error(estimate, (variances[0], variances[1]))


def _count_classes(pairs: pd.DataFrame, hits: Hits) -> int | None:
    for run_id in [*pairs["arm_run_id"], *pairs["reference_run_id"]]:
        if run_id in hits:
            return len(np.unique(hits[run_id].targets))
    return None


def _find_resolution(pairs: pd.DataFrame, metric: str, of_images: CellHits | None) -> float:
    """1 / number of test images, or of the fewest that the accuracies can come from."""
    if of_images is not None:
        return 1 / len(of_images.targets)
    if metric not in ("test_acc", "val_acc", "train_acc"):
        return 0.0
    values = pd.concat([pairs["arm_value"], pairs["reference_value"]]).dropna().unique()
    images = 1
    for value in values:
        images = lcm(images, Fraction(float(value)).limit_denominator(100_000).denominator)
        if images > _MOST_IMAGES:
            return 0.0
    return 1 / images
