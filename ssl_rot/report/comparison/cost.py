"""What a comparison cost, and how it stands when both arms have processed equally many images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_rot.report.comparison.settings import alike, beside_pretext, better_is_higher
from ssl_rot.tracking import Tag


class Line(NamedTuple):
    """A metric of one run: epochs, ascending, and the value of each."""

    epochs: NDArray[np.int32]
    values: NDArray[np.float64]


Curves = dict[str, dict[str, Line]]
"""By run id and metric."""

# A supervised-only run that is trained longer, so as to process as many images as its rivals did,
# differs in these.
_LENGTH = (
    *("params.schedule.epochs", "params.schedule.scheduler.epochs"),
    "params.schedule.scheduler.T_max",
)

# From this part of its images on a run is at its end: two runs rarely come to the same total, since
# they end with whole epochs.
_END = 0.98


def curves(histories: pd.DataFrame) -> Curves:
    """Takes the long table apart; the lines share its memory.

    Args:
        histories: from :func:`ssl_rot.report.load_histories`.
    """
    found: Curves = {}
    ordered = histories.sort_values(["run_id", "metric", "epoch"])
    epochs, values = ordered["epoch"].to_numpy(), ordered["value"].to_numpy()
    groups = ordered.groupby(["run_id", "metric"], observed=True, sort=True).size()
    ends = groups.cumsum()
    for (run_id, metric), start, end in zip(groups.index, ends - groups, ends, strict=True):
        found.setdefault(run_id, {})[metric] = Line(epochs[start:end], values[start:end])
    return found


def costs(
    pairs: pd.DataFrame,
    partners: pd.DataFrame,
    runs: pd.DataFrame,
    supervised: pd.DataFrame,
    lines: Curves,
    metric: str,
) -> pd.DataFrame:
    """The columns of :func:`ssl_rot.report.pair_runs` from ``supervised_epochs`` on.

    Args:
        pairs: the rotation runs, one a pair.
        partners: their supervised-only partners, row by row.
        runs: all runs loaded, the pretext runs among them.
        supervised: all usable supervised-only runs, indexed by run id.
        lines: from :func:`curves`; what is not in there comes out as NaN.
        metric: that is compared.
    """
    rows = []
    longer = _by_length(supervised, lines)
    pretext_ids = pairs.get(
        f"tags.{Tag.PRETEXT_RUN_ID}", pd.Series(index=pairs.index, dtype=object)
    )
    shared_by = _shared_by(runs)
    # The partner's key, not its own: code of one's own in the pretext is none of the other arm's.
    for run_id, partner, pretext_id, key in zip(
        pairs["run_id"], partners["run_id"], pretext_ids, _length_key(partners), strict=True
    ):
        one, other, before = (lines.get(r, {}) for r in (run_id, partner, pretext_id))
        pretext_images = _last(before, "pretext/images_processed")
        rows.append(
            {
                "epochs_to_match": _epochs_to_match(one, other, metric),
                "supervised_epochs": other[metric].epochs[-1] if metric in other else np.nan,
                "pretext_run_id": pretext_id,
                "pretext_acc": _last(before, "pretext/test_acc"),
                "pretext_images": pretext_images,
                "pretext_seconds": _total(before, "pretext/epoch_seconds"),
                "pretext_shared_by": shared_by.get(pretext_id, np.nan),
                "rotation_images": _last(one, "images_processed"),
                "rotation_seconds": _total(one, "epoch_seconds"),
                "supervised_images": _last(other, "images_processed"),
                "supervised_seconds": _total(other, "epoch_seconds"),
                **_at_equal_images(one, pretext_images, longer.get(key, {}), metric),
            }
        )
    return pd.DataFrame(rows, index=pairs.index)


def _shared_by(runs: pd.DataFrame) -> pd.Series[int]:
    """How many finished runs started from each pretext run."""
    finished = runs[runs["status"] == "FINISHED"]
    return finished.get(f"tags.{Tag.PRETEXT_RUN_ID}", pd.Series(dtype=object)).value_counts()


def _epochs_to_match(one: dict[str, Line], other: dict[str, Line], metric: str) -> float:
    if metric not in one or metric not in other:
        return np.nan
    sign = 1 if better_is_higher(metric) else -1
    reached = sign * one[metric].values >= sign * other[metric].values[-1]
    return float(one[metric].epochs[reached.argmax()]) if reached.any() else np.nan


def _at_equal_images(
    one: dict[str, Line], pretext_images: float, candidates: dict[str, dict[str, Line]], metric: str
) -> dict[str, object]:
    """Both arms at the largest number of images that both have processed, pretext included.

    Only where both are at the end of their training then: in the middle of a schedule the learning
    rate is still high, and such an accuracy says little beside one from the end of another's.
    """
    nothing: dict[str, object] = {
        "equal_images": np.nan,
        "equal_images_difference": np.nan,
        "equal_images_run_id": None,
    }
    total = pretext_images + _last(one, "images_processed")
    spent = {run_id: _last(own, "images_processed") for run_id, own in candidates.items()}
    if np.isnan(total) or not spent:
        return nothing
    for chosen in sorted(spent, key=lambda run_id: abs(spent[run_id] - total)):
        budget = min(total, spent[chosen])
        difference = _value_near_end(one, budget - pretext_images, metric) - _value_near_end(
            candidates[chosen], budget, metric
        )
        if not np.isnan(difference):
            return {
                "equal_images": budget,
                "equal_images_difference": difference,
                "equal_images_run_id": chosen,
            }
    return nothing


def _value_near_end(own: dict[str, Line], images: float, metric: str) -> float:
    """The metric after the last epoch that ended within so many images; NaN before the end."""
    if metric not in own or "images_processed" not in own:
        return np.nan
    epochs, processed = own["images_processed"]
    within = processed <= images
    if not within.any() or processed[within][-1] < _END * processed[-1]:
        return np.nan
    known = own[metric].epochs <= epochs[within][-1]
    return float(own[metric].values[known][-1]) if known.any() else np.nan


def _by_length(
    supervised: pd.DataFrame, lines: Curves
) -> dict[tuple[int, str], dict[str, dict[str, Line]]]:
    """The supervised-only runs with curves, grouped by all that matters but their length."""
    found: dict[tuple[int, str], dict[str, dict[str, Line]]] = {}
    for run_id, key in zip(supervised.index, _length_key(supervised), strict=True):
        if "images_processed" in lines.get(run_id, {}):
            found.setdefault(key, {})[run_id] = lines[run_id]
    return found


def _length_key(runs: pd.DataFrame) -> list[tuple[int, str]]:
    keys = [key for key in beside_pretext(runs.columns) if key not in _LENGTH]
    return alike(runs, keys)


def _last(own: dict[str, Line], metric: str) -> float:
    return float(own[metric].values[-1]) if metric in own else np.nan


def _total(own: dict[str, Line], metric: str) -> float:
    return float(own[metric].values.sum()) if metric in own else np.nan
