"""How many labels the reference needs for what an arm reaches with fewer."""

from __future__ import annotations

import numpy as np

from ssl_rot.report.comparison.estimates import Array


def labels_worth(labels: Array, arm: Array, reference: Array) -> Array:
    """The budget at which the reference's mean reaches the arm's, for each of the arm's budgets.

    Interpolated over the logarithm of the budget between those that were run; NaN outside them,
    and where the reference's mean does not rise with the budget.

    Args:
        labels: labels per class, ascending.
        arm: the mean of the arm at each.
        reference: the mean of the reference at each.
    """
    if len(labels) < 2 or (np.diff(reference) <= 0).any():
        return np.full(len(labels), np.nan)
    worth = np.interp(arm, reference, np.log(labels), left=np.nan, right=np.nan)
    return np.asarray(np.exp(worth))
