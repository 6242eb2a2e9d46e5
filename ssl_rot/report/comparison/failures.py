"""What failed, diverged and killed runs could change in a verdict.

Leaving lost seeds out favors the arm that loses them: those that remain are the ones that went
well. The worst case takes every lost seed at chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssl_rot.report.comparison.estimates import Array
from ssl_rot.report.comparison.verdicts import NOT_ENOUGH, UNDECIDED

# A cell that loses a larger share of the seeds of one arm gets no verdict that its worst case
# does not share.
MOST_LOST = 0.1


def differences_at_chance(arm: Array, reference: Array, chance: float) -> Array:
    """Arm minus reference, with what is NaN, the runs that were lost, taken at ``chance``.

    ``[..., n]`` for metrics, or ``[n, images]`` for hits, where a lost run is a row of NaN; then
    its expected hit on each image is the chance level.
    """
    return np.nan_to_num(arm, nan=chance) - np.nan_to_num(reference, nan=chance)


def chance_level(metric: str, classes: int) -> float:
    """What guessing gets: 1 / classes as accuracy, and log(classes) as cross-entropy."""
    return float(np.log(classes)) if metric.endswith("_loss") else 1 / classes


def confirm_verdicts(
    verdicts: NDArray[np.str_], worst: NDArray[np.str_], lost_share: Array
) -> NDArray[np.str_]:
    """The verdicts, *undecided* where too many seeds were lost and the worst case disagrees.

    Args:
        verdicts: over the seeds that finished.
        worst: the same with each lost seed at chance.
        lost_share: the share of seeds that were lost, of the arm that lost more of them.
    """
    doubtful = (lost_share > MOST_LOST) & (verdicts != worst) & (verdicts != NOT_ENOUGH)
    return np.where(doubtful, UNDECIDED, verdicts)
