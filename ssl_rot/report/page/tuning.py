"""Whether each arm was compared at its own best setting, in one line."""

from __future__ import annotations

import pandas as pd

from ssl_rot.report.comparison.basis import join_words
from ssl_rot.report.comparison.columns import ARM, PHASE
from ssl_rot.report.comparison.contrasts import name_arm
from ssl_rot.report.comparison.selection import Selection
from ssl_rot.report.comparison.tuned_settings import varying_settings

_USUAL = "schedule.lr"


def describe_tuning(runs: pd.DataFrame, selection: Selection | None) -> str:
    """``Tuned: ...`` with what was chosen by what, or ``Not tuned: both arms at ...``."""
    downstream = runs[runs[PHASE] == "downstream"]
    if selection is not None:
        tried = selection.trials.groupby(["arm", "cell"])["setting"].nunique()
        if (tried == 1).all():
            return (
                f"Not tuned here: each arm has one setting of {join_words(selection.keys)} in each "
                "cell, and nothing was chosen."
            )
        arms = tried.groupby("arm").agg(_format_range)
        counts = " and ".join(
            f"{count} {name_arm(str(arm))} setting{'' if count == '1' else 's'}"
            for arm, count in arms.items()
        )
        if arms.nunique() == 1:
            counts = f"{arms.iloc[0]} settings of each arm"
        return (
            f"Tuned: {join_words(selection.keys)} chosen for each arm and cell by the mean "
            f"validation accuracy over seeds, among {counts}. Test accuracy had no part in the "
            "choice."
        ) + _count_validation(downstream)
    varying = varying_settings(downstream)
    both = "both arms" if downstream[ARM].nunique() == 2 else "all arms"
    if varying:
        return (
            f"Not tuned: the arms of each pair have the same {join_words(varying)}; no setting was "
            "chosen for each arm. To tune, add dataset.val_per_class to the runs"
        ) + (" or drop select=null." if _has_validation(downstream) else ".")
    column = f"params.{_USUAL}"
    values = downstream.get(column, pd.Series(dtype=object)).dropna().unique()
    at = f"{_USUAL}={values[0]}" if len(values) == 1 else "the same settings"
    return f"Not tuned: {both} at {at}."


def _format_range(counts: pd.Series[int]) -> str:
    """``6``, or ``1 to 6`` where cells differ."""
    low, high = counts.min(), counts.max()
    return str(low) if low == high else f"{low} to {high}"


def _count_validation(downstream: pd.DataFrame) -> str:
    """Whether the validation images, which are labeled too, are part of the label budget."""

    def is_set(key: str, *unset: str) -> bool:
        values = downstream.get(f"params.dataset.{key}", pd.Series(dtype=object)).dropna()
        return bool((~values.isin(unset)).any())

    parts = []
    if is_set("val_per_class", "null"):
        parts.append("are part of the label budget")
    if is_set("val_fraction", "0", "0.0"):
        parts.append("come on top of the label budget")
    return f" The validation images {' or '.join(parts)}." if parts else ""


def _has_validation(downstream: pd.DataFrame) -> bool:
    return "metrics.val_acc" in downstream and bool(downstream["metrics.val_acc"].notna().any())
