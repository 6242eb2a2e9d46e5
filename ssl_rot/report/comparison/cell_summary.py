"""Means, counts and costs of one cell: all of its row that needs no inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.columns import CHOSEN, TRIALS
from ssl_rot.report.comparison.contrasts import name_arm
from ssl_rot.report.comparison.estimates import ROUNDING, Estimate, estimate_over_seeds, interval
from ssl_rot.report.comparison.metrics import is_higher_better
from ssl_rot.report.comparison.shared_seeds import share_seeds


def summarize_cell(finished: pd.DataFrame, with_lost: pd.DataFrame) -> dict[str, Any]:
    """The row of a cell from its finished pairs, and from those with lost runs too."""
    metric = with_lost["metric"].iloc[0]
    sign = 1 if is_higher_better(metric) else -1
    units = finished.groupby("unit", sort=False).mean(numeric_only=True)
    equal = units["equal_images_difference"].dropna().to_numpy(dtype=float)
    of_equal = estimate_over_seeds(equal) if len(equal) > 0 else Estimate.undefined()
    low, high = interval(of_equal)
    is_known = finished["reference_epochs"].notna().all()  # then NaN: a pair never matched
    row = {
        "metric": metric,
        **_count_units(finished, with_lost),
        "seeds": finished["seed"].nunique(),
        "pairs": len(finished),
        "reference_mean": units["reference_value"].mean(),
        "reference_sd": units["reference_value"].std(),
        "arm_mean": units["arm_value"].mean(),
        "arm_sd": units["arm_value"].std(),
        "wins": int((sign * units["difference"] > ROUNDING).sum()),
        **_count_lost(with_lost),
        **_describe_choice(with_lost),
        "equal_images_n": len(equal),
        "equal_images_difference": float(of_equal.mean),
        "equal_images_low": float(low),
        "equal_images_high": float(high),
        "epochs_to_match": (
            finished["epochs_to_match"].fillna(np.inf).median() if is_known else np.nan
        ),
        "matched": int(finished["epochs_to_match"].notna().sum()),
        "reference_epochs": finished["reference_epochs"].median(),
    }
    for cost in ("images", "seconds"):
        row[f"pretext_{cost}"] = finished[f"pretext_{cost}"].mean()
        shared = finished[f"pretext_{cost}"] / finished["pretext_shared_by"]
        row[f"pretext_{cost}_shared"] = shared.mean()
        for cost_of in (f"arm_{cost}", f"reference_{cost}", f"reference_pretext_{cost}"):
            row[cost_of] = finished[cost_of].mean()
    return row | {"pretext_acc": finished["pretext_acc"].mean()}


def _count_units(finished: pd.DataFrame, with_lost: pd.DataFrame) -> dict[str, Any]:
    """The independent observations, and what they are."""
    units, seeds = finished["unit"].nunique(), finished["seed"].nunique()
    if (with_lost["unit"] == with_lost["seed"]).all() or (share_seeds(finished) and seeds < units):
        return {"n": seeds, "unit": "seed"}
    return {"n": units, "unit": "pre-training"}


def _count_lost(pairs: pd.DataFrame) -> dict[str, Any]:
    """How many runs of each arm were lost, and that in words."""
    row: dict[str, Any] = {}
    sentences = []
    for side in ("arm", "reference"):
        runs = pairs.drop_duplicates(f"{side}_run_id")
        lost = runs[f"{side}_lost"][runs[f"{side}_lost"] != ""]
        row[f"{side}_lost"] = len(lost)
        row[f"{side}_lost_share"] = len(lost) / max(1, len(runs))
        if len(lost) > 0:
            name = name_arm(pairs[side].iloc[0])
            runs_of = f"{len(lost)} of {len(runs)} {name} run{'s' * (len(runs) > 1)}"
            sentences.append(f"{runs_of} {_what_happened(lost)}")
    return row | {"failures": ", ".join(sentences)}


def _what_happened(lost: pd.Series[str]) -> str:
    if lost.str.contains("NonFiniteLoss").all():
        return "diverged"
    if lost.str.contains("KILLED").all():
        return "were killed" if len(lost) > 1 else "was killed"
    return "failed" if lost.str.contains("FAILED").all() else "were lost"


def _describe_choice(pairs: pd.DataFrame) -> dict[str, Any]:
    """The chosen settings; those of a cell that averages several choices are not named."""
    row: dict[str, Any] = {}
    for side in ("arm", "reference"):
        chosen, trials = f"{side}_{CHOSEN}", f"{side}_{TRIALS}"
        if chosen in pairs:
            values = pairs[chosen].dropna().unique()
            row[chosen] = values[0] if len(values) == 1 else f"{len(values)} different ones"
            row[trials] = pairs[trials].max()
    return row
