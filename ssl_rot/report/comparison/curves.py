"""The metrics of each run by epoch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray


class Curve(NamedTuple):
    """One metric of one run: its epochs in ascending order, and the value at each."""

    epochs: NDArray[np.int32] | NDArray[np.float64]
    values: NDArray[np.float64]


RunCurves = dict[str, Curve]
"""The curves of one run, by metric."""
Curves = dict[str, RunCurves]
"""The curves of all runs, by run id."""


def split_histories(histories: pd.DataFrame) -> Curves:
    """Splits the table of :func:`ssl_rot.report.load_histories` into views of its columns."""
    curves: Curves = {}
    ordered = histories.sort_values(["run_id", "metric", "epoch"])
    epochs, values = ordered["epoch"].to_numpy(), ordered["value"].to_numpy()
    lengths = ordered.groupby(["run_id", "metric"], observed=True, sort=True).size()
    ends = lengths.cumsum()
    for (run_id, metric), start, end in zip(lengths.index, ends - lengths, ends, strict=True):
        curves.setdefault(run_id, {})[metric] = Curve(epochs[start:end], values[start:end])
    return curves


def last_value(curves: RunCurves, metric: str) -> float:
    """The value at the last epoch; NaN if the run does not have the metric."""
    return float(curves[metric].values[-1]) if metric in curves else np.nan


def total(curves: RunCurves, metric: str) -> float:
    """The sum over all epochs; NaN if the run does not have the metric."""
    return float(curves[metric].values.sum()) if metric in curves else np.nan
