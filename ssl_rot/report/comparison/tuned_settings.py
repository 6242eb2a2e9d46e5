"""Which settings a sweep tuned: those that vary within every arm."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ssl_rot.report.comparison.columns import ARM, PHASE, VALIDATION
from ssl_rot.report.comparison.params import effective_params

_TUNED_GROUPS = ("schedule", "loss", "freeze", "head")
# Longer runs of one arm are there for the comparison at equal images.
_NOT_TUNED = ("schedule.epochs",)


def tuned_keys(runs: pd.DataFrame) -> list[str]:
    """The settings that vary within every arm, if the runs have validation accuracies."""
    downstream = runs[(runs[PHASE] == "downstream") & (runs["status"] == "FINISHED")]
    if VALIDATION not in downstream or downstream[VALIDATION].isna().all():
        return []
    return varying_settings(downstream)


def varying_settings(downstream: pd.DataFrame) -> list[str]:
    """The keys of the downstream training, other than its length, that vary within every arm.

    Of a setting that only repeats another one, as ``schedule.optimizer.lr`` does, the shorter key
    is taken.
    """
    found: list[str] = []
    options = [f"params.{group}" for group in _TUNED_GROUPS if f"params.{group}" in downstream]
    deeper = [
        column
        for column in sorted(effective_params(downstream.columns), key=lambda c: c.count("."))
        if column.split(".")[1] in _TUNED_GROUPS
    ]
    by_arm = [part for _, part in downstream.groupby(ARM)]
    for column in [*options, *deeper]:
        key = column.removeprefix("params.")
        varies = all(part[column].nunique() > 1 for part in by_arm)
        if varies and key not in _NOT_TUNED and column not in determined_params(downstream, found):
            found.append(key)
    return [key for key in found if not _repeats_length(downstream, key)]


def _repeats_length(downstream: pd.DataFrame, key: str) -> bool:
    """Whether a key follows from the number of epochs, as a scheduler's own does."""
    length = f"params.{_NOT_TUNED[0]}"
    if length not in downstream:
        return False
    values = downstream[[length, f"params.{key}"]].drop_duplicates()
    return bool(downstream[length].nunique() > 1 and not values[length].duplicated().any())


def determined_params(downstream: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """The params that the given keys stand for: themselves, and others of their group.

    Of an option such as ``freeze``, everything that follows from it; of a value such as
    ``schedule.lr``, what only repeats it, such as ``schedule.optimizer.lr``.
    """
    found = []
    for key in keys:
        column = f"params.{key}"
        found.append(column)
        group = key if "." not in key else key.rpartition(".")[0]
        for other in downstream:
            if not str(other).startswith(f"params.{group}.") or other in found:
                continue
            values = downstream[[column, other]].dropna().drop_duplicates()
            if "." in key:
                repeats = (values[column] == values[other]).all() and len(values) > 0
            else:
                repeats = not values[column].duplicated().any()
            if repeats:
                found.append(str(other))
    return list(dict.fromkeys(found))
