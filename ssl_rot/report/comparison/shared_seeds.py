"""Pre-trainings that share their downstream seeds: both are samples, and neither is independent.

With seeds of its own for each pre-training, the spread between pre-trainings contains that of the
seeds. With the same seeds for all, it does not: every pre-training meets the same labels, and more
of them would make an interval ever narrower around a difference that holds for these labels only.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.estimates import Array, Estimate


def share_seeds(pairs: pd.DataFrame) -> bool:
    """Whether a seed occurs with more than one ``unit`` among the pairs of a cell."""
    return bool(len(pairs) > 0 and pairs.groupby("seed")["unit"].nunique().max() > 1)


def independent_differences(pairs: pd.DataFrame, differences: pd.Series[float]) -> Array:
    """Their means by unit; by seed where units share seeds whose means have the larger error."""
    by_unit, by_seed = (
        np.asarray(differences.groupby(pairs[name], sort=False).mean(), dtype=float)
        for name in ("unit", "seed")
    )
    if not share_seeds(pairs) or min(len(by_unit), len(by_seed)) < 2:
        return by_unit
    errors = [values.var(ddof=1) / len(values) for values in (by_unit, by_seed)]
    return by_unit if errors[0] >= errors[1] else by_seed


def add_seed_error(
    estimate: Estimate, pairs: pd.DataFrame, differences: pd.Series[float]
) -> Estimate:
    """Adds the error of shared seeds to an estimate over pre-trainings: V + V_seed - V_both.

    The two-way variance of :mod:`ssl_rot.report.comparison.two_way`, with seeds in place of images.
    ``n`` is the smaller of both numbers.
    """
    if not share_seeds(pairs):
        return estimate
    table = differences.groupby([pairs["unit"], pairs["seed"]]).mean().unstack()
    units, seeds = table.shape
    n = np.minimum(estimate.n, seeds)
    if seeds < 2 or units < 2:  # too few to be judged
        return estimate._replace(n=n)
    of_units, of_seeds = table.mean(axis=1), table.mean(axis=0)
    residuals = table.sub(of_units, axis=0).sub(of_seeds - of_seeds.mean(), axis=1).to_numpy()
    both = np.nansum(residuals**2) / ((units - 1) * (seeds - 1) * units * seeds)
    extra = max(float(of_seeds.var(ddof=1)) / seeds - float(both), 0.0)
    return estimate._replace(
        error=np.sqrt(estimate.error**2 + extra), df=np.minimum(estimate.df, seeds - 1), n=n
    )
