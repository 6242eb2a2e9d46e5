"""Why a run or a pair is not compared: the entries under "left out"."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_rot.report.comparison.cost import Curves
from ssl_rot.report.comparison.settings import as_text, beside_pretext
from ssl_rot.tracking import Tag

PHASE, ARM = f"tags.{Tag.PHASE}", f"tags.{Tag.ARM}"
CONFIG, PAIR = f"tags.{Tag.CONFIG_KEY}", f"tags.{Tag.PAIR_KEY}"
ARMS = {"rotation": "rotation", "supervised": "supervised-only"}
"""The arms, and what a reader calls them."""

_NAMED = 5  # differing keys that a message names


def unfit(downstream: pd.DataFrame, metric: str, lines: Curves) -> pd.Series[str]:
    """Why each run cannot be compared whoever its partner were; empty where it can.

    Args:
        downstream: indexed by run id.
        metric: that is compared.
        lines: from :func:`ssl_rot.report.comparison.cost.curves`, empty if they were not loaded.
    """
    reasons = pd.Series("", index=downstream.index, dtype=object)

    def give(mask: pd.Series[bool], reason: pd.Series[str] | str) -> None:
        first = mask & (reasons == "")
        reasons[first] = reason if isinstance(reason, str) else reason[first]

    error = downstream.get(f"tags.{Tag.ERROR}", pd.Series(index=downstream.index, dtype=object))
    why = (" (" + error.astype(object) + ")").fillna("")
    give(downstream["status"] != "FINISHED", "not FINISHED: " + downstream["status"] + why)
    needed = downstream.reindex(columns=[ARM, CONFIG, PAIR, "params.seed"])
    give(needed.isna().any(axis=1), "its arm, config_key, pair_key or seed is missing")
    finished = downstream[reasons == ""].sort_values("start_time", kind="stable")
    # What stands under `pretext` of a supervised-only run is ignored: its pair_key says it all.
    same = finished[CONFIG].where(finished[ARM] != "supervised", finished[PAIR])
    latest = finished.index[~(finished[ARM] + same).duplicated(keep="last")]
    give(~downstream.index.to_series().isin(latest), "superseded: its config was run again later")

    value = downstream[f"metrics.{metric}"].astype(float)
    give(value.isna(), f"{metric} is missing or not a number")
    give(value.abs() > 1e300, f"{metric} is infinite")  # MLflow stores inf as the largest float
    if metric.endswith("_acc"):
        give((value < 0) | (value > 1), value.map(f"{metric}={{:g}} is no fraction of 1".format))
    give(*_ends_early(downstream, metric, lines))
    return reasons


def _ends_early(
    downstream: pd.DataFrame, metric: str, lines: Curves
) -> tuple[pd.Series[bool], pd.Series[str]]:
    """Whose metric stops before the run's others do, so that its last value is not the end's."""
    said = pd.Series("", index=downstream.index, dtype=object)
    for run_id in downstream.index:
        own = lines.get(run_id, {})
        last = max((line.epochs[-1] for line in own.values()), default=0)
        if metric in own and own[metric].epochs[-1] < last:
            said[run_id] = f"{metric} ends at epoch {own[metric].epochs[-1]} of {last}"
    return said != "", said


def differing(one: pd.DataFrame, other: pd.DataFrame) -> pd.Series[str]:
    """What the arms of each pair differ in besides the pretext; empty where in nothing.

    Args:
        one: the rotation runs.
        other: their partners, row by row.
    """
    keys = beside_pretext({*one.columns, *other.columns})
    left, right = (as_text(frame, keys) for frame in (one, other))
    rows, columns = np.nonzero((left != right).to_numpy())
    said = pd.Series("", index=one.index, dtype=object)
    for row in np.unique(rows):
        said.iloc[row] = "refused, the arms differ in " + _named(
            keys, left.iloc[row], right.iloc[row], columns[rows == row]
        )
    return said


def partnerless(
    alone: pd.DataFrame, rotation: pd.DataFrame, supervised: pd.DataFrame
) -> pd.Series[str]:
    """Names, for each run without a partner, what the nearest run of the other arm differs in.

    Args:
        alone: the runs without a partner, indexed by run id.
        rotation: all usable rotation runs.
        supervised: all usable supervised-only runs.
    """
    keys = beside_pretext({*rotation.columns, *supervised.columns})
    settings = {
        arm: as_text(frame, keys) for arm, frame in zip(ARMS, (rotation, supervised), strict=True)
    }
    said = {}
    for run_id, arm in zip(alone.index, alone[ARM], strict=True):
        other = next(name for name in ARMS if name != arm)
        own = settings[arm].loc[run_id]
        candidates = settings[other]
        same_seed = candidates[candidates["params.seed"] == own["params.seed"]]
        if same_seed.empty:
            said[run_id] = f"no partner: no {ARMS[other]} run with seed {own['params.seed']}"
            continue
        unlike = same_seed.to_numpy() != own.to_numpy()
        nearest = unlike.sum(axis=1).argmin()
        named = _named(keys, own, same_seed.iloc[nearest], np.flatnonzero(unlike[nearest]))
        named = (
            named or "the data, the precision or the starting weights, whatever their params say"
        )
        said[run_id] = f"no partner: the nearest {ARMS[other]} run differs in {named}"
    return pd.Series(said, dtype=object)


def _named(
    keys: list[str], one: pd.Series[str], other: pd.Series[str], at: NDArray[np.intp]
) -> str:
    named: dict[tuple[str, str, str], str] = {}
    for i in at:
        key, pair = keys[i].removeprefix("params."), (one.iloc[i], other.iloc[i])
        # schedule.optimizer.lr only repeats schedule.lr
        source = key.split(".")[0] if key.count(".") > 1 else key
        if (source, *pair) in named:
            continue
        named[(key.split(".")[0], *pair)] = f"{key} ({pair[0]} against {pair[1]})"
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return ", ".join(list(named.values())[:_NAMED]) + more
