"""Compares the arms: the paired differences of each cell, their uncertainty, and the verdict.

docs/report.md explains how the verdict is reached, and why this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.errors import ConfigError
from ssl_rot.report.comparison.basis import describe_basis
from ssl_rot.report.comparison.cell_estimates import INTERVALS, CellEstimate, estimate_cell
from ssl_rot.report.comparison.cell_names import (
    CONTRAST,
    distinguishing_columns,
    name_cells,
    natural_sort_key,
    setting_columns,
)
from ssl_rot.report.comparison.cell_summary import summarize_cell
from ssl_rot.report.comparison.contrasts import Contrast, contrasts_of
from ssl_rot.report.comparison.estimates import ALPHA, Estimate
from ssl_rot.report.comparison.exclusions import exclude_incomplete_seeds
from ssl_rot.report.comparison.failures import confirm_verdicts
from ssl_rot.report.comparison.hits import Hits
from ssl_rot.report.comparison.holm import adjust_holm
from ssl_rot.report.comparison.metrics import is_higher_better
from ssl_rot.report.comparison.planning import seeds_needed
from ssl_rot.report.comparison.sequential import anytime_p
from ssl_rot.report.comparison.sign_flips import sign_flip_p
from ssl_rot.report.comparison.two_way import mcnemar_p
from ssl_rot.report.comparison.verdicts import judge

MARGIN = 0.01


def compare(
    pairs: pd.DataFrame,
    by: Sequence[str] | None = None,
    *,
    margin: float | None = MARGIN,
    interval: str = "two_way",
    predictions: Hits | None = None,
) -> pd.DataFrame:
    """Compares each arm with its reference in each cell.

    Args:
        pairs: from :func:`ssl_rot.report.pair_runs`. Rows with ``left_out`` are ignored, except
            that lost runs count in the worst case.
        by: config keys. A cell is then all pairs that agree in these keys. Pairs that share a seed
            are averaged first, since they are not independent; a seed that lacks some of them is
            left out. With ``None``, a cell is all pairs that differ in nothing but the seed.
        margin: the smallest difference in accuracy that matters; ``None``: any difference does.
            It does not apply to a loss.
        interval: ``two_way`` takes seeds and test images as samples, in cells with predictions;
            ``seeds`` takes the test images as given.
        predictions: from :func:`ssl_rot.report.load_predictions`.

    Returns:
        One row per cell, sorted by its arms and settings:

        - ``arm``, ``reference``
        - ``cell``: the settings on one line, after the arms if there are several contrasts; then a
          column for each setting
        - ``metric``; ``n``: independent units, which are seeds, or pre-trainings that several seeds
          share; ``seeds``; ``pairs``; ``arm_mean``, ``arm_sd``, ``reference_mean``,
          ``reference_sd`` (over units, n - 1)
        - ``difference`` (mean, the arm minus the reference), ``error`` (standard error), ``low``
          and ``high`` (95 % interval of this cell alone), ``low_simultaneous`` and
          ``high_simultaneous`` (all intervals of the page are right in 95 of 100 pages),
          ``images`` (test images that the interval takes as a sample, NaN for none), ``wins``
          (units for which the arm is better)
        - ``p_holm`` (no difference), ``equivalence_p_holm`` (a difference of the margin or more)
          and ``p_sign_flip_holm``, all adjusted over the cells, as are ``p_anytime_holm`` (valid
          at every look) and ``p_mcnemar_holm`` (of a cell with one pair: about its two networks
          alone); ``p_sign_flip``
        - ``verdict``, one of ``VERDICTS``; ``beyond_margin``: better or worse by more than the
          margin; ``basis``: what the verdict is based on
        - ``arm_lost``, ``reference_lost`` (runs), ``failures`` (in words), ``worst_difference``:
          with each lost run at chance
        - ``seeds_needed``, ``seeds_needed_low``, ``seeds_needed_high``: to find a difference of the
          margin, or the one seen without a margin
        - ``arm_chosen``, ``arm_trials``, and the same for ``reference``: the chosen settings
        - ``epochs_to_match`` (median, infinite if most pairs never match), ``matched`` (pairs that
          do), ``reference_epochs`` (median)
        - ``equal_images_n`` (units), ``equal_images_difference``, ``equal_images_low``,
          ``equal_images_high``: the same comparison at an equal number of images processed
        - ``pretext_acc``, and the means of ``pretext_images``, ``pretext_seconds``, the same with
          ``_shared`` (divided by the number of runs that started from it), ``arm_images``,
          ``arm_seconds``, ``reference_images``, ``reference_seconds``,
          ``reference_pretext_images``, ``reference_pretext_seconds``

    Raises:
        ConfigError: ``by`` names a key that the runs do not have, or ``interval`` is unknown.
    """
    if interval not in INTERVALS:
        allowed = " or ".join(INTERVALS)
        raise ConfigError([f"interval={interval} is not allowed; it must be {allowed}"])
    tried = pairs[(pairs["left_out"] == "") | pairs["is_lost"]]
    columns = distinguishing_columns(tried, by)
    complete = exclude_incomplete_seeds(pairs, by)["left_out"] == ""
    rows: list[dict[str, Any]] = []
    found: list[CellEstimate] = []
    keys = ["cell"] if by is None else [*CONTRAST, *columns]
    for _, cell in tried.groupby(keys, sort=False, dropna=False):
        finished = cell[complete[cell.index]]
        if by is not None and finished.empty:
            continue
        lost_units = cell.loc[cell["is_lost"], "unit"]
        with_lost = cell[complete[cell.index] | cell["unit"].isin(lost_units)]
        found.append(estimate_cell(finished, with_lost, predictions or {}, interval))
        settings = {column.removeprefix("params."): cell[column].iloc[0] for column in columns}
        arms = {side: cell[side].iloc[0] for side in CONTRAST}
        rows.append({**arms, "cell": "", **settings, **summarize_cell(finished, with_lost)})
    if not rows:
        return pd.DataFrame(
            columns=[*CONTRAST, "cell", "metric", "n", "pairs", "difference", "verdict"]
        )
    cells = pd.DataFrame(rows)
    cells["cell"] = name_cells(cells)
    cells = pd.concat([cells, _judge(cells, found, margin)], axis=1)
    cells["basis"] = [describe_basis(row) for row in cells.to_dict("records")]
    contrasts = contrasts_of(tried)
    settings_of_all = cells[setting_columns(cells)].to_numpy()
    order = sorted(
        range(len(cells)),
        key=lambda row: (
            cells["n"][row] == 0,  # no figure shows it, and its number must not be missing there
            contrasts.index(Contrast(cells["arm"][row], cells["reference"][row])),
            [natural_sort_key(str(value)) for value in settings_of_all[row]],
        ),
    )
    return cells.iloc[order].reset_index(drop=True)


def _judge(cells: pd.DataFrame, found: list[CellEstimate], margin: float | None) -> pd.DataFrame:
    """The columns that follow from the estimates of all cells."""
    metric = cells["metric"].iloc[0]
    higher = is_higher_better(metric)
    margin = margin if metric.endswith("_acc") else None
    estimates = Estimate.stack([cell.estimate for cell in found])
    judged = judge(estimates, margin, higher)
    worst = Estimate.stack([cell.worst for cell in found])
    lost_share = cells[["arm_lost_share", "reference_lost_share"]].max(axis=1).to_numpy(float)
    verdicts = confirm_verdicts(judged.verdict, judge(worst, margin, higher).verdict, lost_share)
    family = max(1, int(np.isfinite(judged.p_holm).sum()))
    effect = np.abs(estimates.mean) if margin is None else margin
    needed = seeds_needed(estimates, effect, alpha=ALPHA / family)
    flips = np.array([sign_flip_p(cell.differences) for cell in found])
    anytime = np.array(
        [
            anytime_p(cell.differences, cell.resolution) if len(cell.differences) else np.nan
            for cell in found
        ]
    )
    mcnemar = adjust_holm(np.array([_mcnemar_p(cell) for cell in found]))
    for p in (flips, anytime):
        p[~np.isfinite(judged.p_holm)] = np.nan  # cells that are not judged are not in the family
    return pd.DataFrame(
        {
            "difference": estimates.mean,
            "error": estimates.error,
            "low": judged.low,
            "high": judged.high,
            "low_simultaneous": judged.low_simultaneous,
            "high_simultaneous": judged.high_simultaneous,
            "images": [np.nan if cell.images is None else cell.images for cell in found],
            "family": family,
            "p_holm": judged.p_holm,
            "equivalence_p_holm": judged.equivalence_p_holm,
            "p_sign_flip": flips,
            "p_sign_flip_holm": adjust_holm(flips),
            "p_anytime_holm": adjust_holm(anytime),
            "p_mcnemar_holm": mcnemar,
            "verdict": verdicts,
            "overruled": verdicts != judged.verdict,
            "beyond_margin": judged.beyond_margin & (verdicts == judged.verdict),
            "worst_difference": np.where(lost_share > 0, worst.mean, np.nan),
            "chance": [cell.chance for cell in found],
            "margin": np.nan if margin is None else margin,
            "seeds_needed": needed.seeds,
            "seeds_needed_low": needed.low,
            "seeds_needed_high": needed.high,
        },
        index=cells.index,
    )


def _mcnemar_p(cell: CellEstimate) -> float:
    """Of a cell with one pair whose predictions were kept; NaN for any other."""
    if cell.hits is None or len(cell.differences) != 1:
        return np.nan
    difference = cell.hits.arm[0] - cell.hits.reference[0]
    if (difference % 1).any():  # several seeds that share a pre-training, averaged
        return np.nan
    return float(mcnemar_p(difference.astype(int)))
