"""Why a run or a pair is excluded from the comparison: the entries under "left out"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_rot.report.comparison.cell_names import distinguishing_columns, format_settings
from ssl_rot.report.comparison.columns import ARM, CONFIG_KEY, ERROR, PAIR_KEY, SEED
from ssl_rot.report.comparison.contrasts import SUPERVISED, Contrast, name_arm
from ssl_rot.report.comparison.curves import Curves
from ssl_rot.report.comparison.params import downstream_params, params_as_text

_MOST_KEYS = 5  # in a message; the others are counted


def explain_unusable_runs(downstream: pd.DataFrame, metric: str, curves: Curves) -> pd.Series[str]:
    """Why each run, by its id, cannot be compared with any partner; empty for a usable run."""
    reasons = pd.Series("", index=downstream.index, dtype=object)

    def exclude(mask: pd.Series[bool], reason: pd.Series[str] | str) -> None:
        """The first reason of a run is the one that is reported."""
        new = mask & (reasons == "")
        reasons[new] = reason if isinstance(reason, str) else reason[new]

    error = downstream.get(ERROR, pd.Series(index=downstream.index, dtype=object))
    cause = (" (" + error.astype(object) + ")").fillna("")
    exclude(downstream["status"] != "FINISHED", "not FINISHED: " + downstream["status"] + cause)
    needed = downstream.reindex(columns=[ARM, CONFIG_KEY, PAIR_KEY, SEED])
    exclude(needed.isna().any(axis=1), "its arm, config_key, pair_key or seed is missing")
    finished = downstream[reasons == ""].sort_values("start_time", kind="stable")
    latest = finished.index[~_identify(finished).duplicated(keep="last")]
    superseded = ~downstream.index.to_series().isin(latest)
    exclude(superseded, "superseded: its config was run again later")

    value = downstream[f"metrics.{metric}"].astype(float)
    exclude(value.isna(), f"{metric} is missing or not a number")
    exclude(value.abs() > 1e300, f"{metric} is infinite")  # MLflow stores inf as the largest float
    if metric.endswith("_acc"):
        text = value.map(f"{metric}={{:g}} is not between 0 and 1".format)
        exclude((value < 0) | (value > 1), text)
    # The last value of a metric that ends before the run's others is not the last epoch's.
    for run_id in reasons.index[reasons == ""]:
        own = curves.get(run_id, {})
        last = max((curve.epochs[-1] for curve in own.values()), default=0)
        if metric in own and own[metric].epochs[-1] < last:
            reasons[run_id] = f"{metric} ends at epoch {own[metric].epochs[-1]} of {last}"
    return reasons


def find_lost_runs(downstream: pd.DataFrame) -> pd.Series[bool]:
    """Whether each run failed, diverged or was killed, and was not run again with success."""
    identity = _identify(downstream)
    is_lost = downstream["status"].isin(["FAILED", "KILLED"])
    is_lost &= downstream.reindex(columns=[ARM, PAIR_KEY, SEED]).notna().all(axis=1)
    is_lost &= ~identity.isin(identity[downstream["status"] == "FINISHED"])
    latest = downstream[is_lost].sort_values("start_time", kind="stable")
    latest = latest[~identity[latest.index].duplicated(keep="last")]
    return pd.Series(downstream.index.isin(latest.index), index=downstream.index)


def _identify(runs: pd.DataFrame) -> pd.Series[str]:
    """Equal for two runs of the same config.

    A supervised-only run ignores its `pretext` settings, so its pair_key identifies it fully.
    """
    runs = runs.reindex(columns=[ARM, CONFIG_KEY, PAIR_KEY])
    key = runs[CONFIG_KEY].where(runs[ARM] != SUPERVISED, runs[PAIR_KEY])
    return runs[ARM].astype(str) + key.astype(str)


def explain_refused_pairs(pairs: pd.DataFrame, partners: pd.DataFrame) -> pd.Series[str]:
    """The params besides the pretext's in which the arms of each pair differ; empty if none."""
    params = downstream_params({*pairs.columns, *partners.columns})
    ours, theirs = params_as_text(pairs, params), params_as_text(partners, params)
    rows, columns = np.nonzero((ours != theirs).to_numpy())
    reasons = pd.Series("", index=pairs.index, dtype=object)
    for row in np.unique(rows):
        reasons.iloc[row] = "refused, the arms differ in " + _list_differences(
            ours.iloc[row], theirs.iloc[row], columns[rows == row]
        )
    return reasons


def explain_missing_partners(
    unpaired: pd.DataFrame, usable: pd.DataFrame, contrasts: Sequence[Contrast]
) -> pd.Series[str]:
    """For each run without a partner, how the most similar usable run of another arm differs."""
    params = downstream_params(usable.columns)
    settings = params_as_text(usable, params)
    reasons = {}
    for run_id, arm in zip(unpaired.index, unpaired[ARM], strict=True):
        others = [contrast.reference for contrast in contrasts if contrast.arm == arm]
        others = others or [contrast.arm for contrast in contrasts if contrast.reference == arm]
        own = settings.loc[run_id]
        candidates = settings[usable[ARM].isin(others) & (settings[SEED] == own[SEED])]
        if candidates.empty:
            names = " or ".join(map(name_arm, others))
            reasons[run_id] = f"no partner: no {names} run with seed {own[SEED]}"
            continue
        differs = candidates.to_numpy() != own.to_numpy()
        nearest = differs.sum(axis=1).argmin()
        name = name_arm(usable.loc[candidates.index[nearest], ARM])
        positions = np.flatnonzero(differs[nearest])
        differences = _list_differences(own, candidates.iloc[nearest], positions)
        reasons[run_id] = f"no partner: the nearest {name} run differs in " + (
            differences or "the data, the precision or the starting weights, but in no param"
        )
    return pd.Series(reasons, dtype=object)


def exclude_incomplete_seeds(pairs: pd.DataFrame, by: Sequence[str] | None) -> pd.DataFrame:
    """Leaves out the pairs of a seed that lacks some of the settings that ``by`` averages over.

    The mean of such a seed would be that of other settings than the other seeds' means.
    """
    compared = pairs[pairs["left_out"] == ""]
    if by is None or compared.empty:
        return pairs
    reasons = pairs["left_out"].copy()
    keys = ["arm", "reference", *distinguishing_columns(compared, by)]
    for _, cell in compared.groupby(keys, dropna=False):
        columns = [c for c in distinguishing_columns(cell, None) if cell[c].nunique() > 1]
        names = cell.drop_duplicates("cell").set_index("cell")[columns].to_dict("index")
        for _, of_seed in cell.groupby("seed"):
            lacking = [
                format_settings({str(k).removeprefix("params."): v for k, v in settings.items()})
                for number, settings in names.items()
                if number not in set(of_seed["cell"])
            ]
            if lacking:
                more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
                reasons[of_seed.index] = f"its seed has no pair with {lacking[0]}{more}"
    return pairs.assign(left_out=reasons)


def _list_differences(
    one: pd.Series[str], other: pd.Series[str], positions: NDArray[np.intp]
) -> str:
    """``schedule.lr (0.2 against 0.02)`` for each param at the given positions."""
    listed: list[str] = []
    seen: set[tuple[str, str, str]] = set()
    for position in positions:
        key = str(one.index[position]).removeprefix("params.")
        values = one.iloc[position], other.iloc[position]
        group = key.partition(".")[0]
        # A deep key often only repeats a shallow one, as schedule.optimizer.lr does schedule.lr.
        if key.count(".") > 1 and (group, *values) in seen:
            continue
        seen.add((group, *values))
        listed.append(f"{key} ({values[0]} against {values[1]})")
    more = f" and {len(listed) - _MOST_KEYS} more" if len(listed) > _MOST_KEYS else ""
    return ", ".join(listed[:_MOST_KEYS]) + more
