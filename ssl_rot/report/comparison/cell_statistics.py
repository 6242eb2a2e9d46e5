"""Compares the arms: the paired differences of each cell, their uncertainty, and the verdict.

docs/report.md explains how the verdict is reached, and why this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.cell_names import (
    ALL_PAIRS,
    CONTRAST,
    distinguishing_columns,
    format_settings,
    natural_sort_key,
    setting_columns,
)
from ssl_rot.report.comparison.contrasts import Contrast, contrasts_of, name_arm
from ssl_rot.report.comparison.estimates import ROUNDING
from ssl_rot.report.comparison.exclusions import exclude_incomplete_seeds
from ssl_rot.report.comparison.inference import (
    adjust_holm,
    assign_verdicts,
    paired_t_test,
    sign_flip_p,
)
from ssl_rot.report.comparison.metrics import is_higher_better


def compare(pairs: pd.DataFrame, by: Sequence[str] | None = None) -> pd.DataFrame:
    """Compares each arm with its reference in each cell.

    Args:
        pairs: from :func:`ssl_rot.report.pair_runs`; rows with ``left_out`` are ignored.
        by: config keys. A cell is then all pairs that agree in these keys. Pairs that share a seed
            are averaged first, since they are not independent; a seed that lacks some of them is
            left out. With ``None``, a cell is all pairs that differ in nothing but the seed.

    Returns:
        One row per cell, sorted by its arms and settings:

        - ``arm``, ``reference``
        - ``cell``: the settings on one line, after the arms if there are several contrasts; then a
          column for each setting
        - ``metric``; ``n`` (seeds), ``pairs``; ``arm_mean``, ``arm_sd``, ``reference_mean``,
          ``reference_sd`` (over seeds, n - 1)
        - ``difference`` (mean, the arm minus the reference), ``low`` and ``high`` (95 % t
          interval), ``wins`` (seeds for which the arm is better)
        - ``p`` (paired t test), ``p_holm`` (adjusted over the cells), ``p_sign_flip``,
          ``p_sign_flip_holm``
        - ``verdict``, one of ``VERDICTS``, and ``basis``: what it is based on
        - ``epochs_to_match`` (median, infinite if most pairs never match), ``matched`` (pairs that
          do), ``reference_epochs`` (median)
        - ``equal_images_n`` (seeds), ``equal_images_difference``, ``equal_images_low``,
          ``equal_images_high``: the same comparison at an equal number of images processed
        - ``pretext_acc``, and the means of ``pretext_images``, ``pretext_seconds``, the same with
          ``_shared`` (divided by the number of runs that started from it), ``arm_images``,
          ``arm_seconds``, ``reference_images``, ``reference_seconds``,
          ``reference_pretext_images``, ``reference_pretext_seconds``

    Raises:
        ConfigError: ``by`` names a key that the runs do not have.
    """
    pairs = exclude_incomplete_seeds(pairs, by)
    compared = pairs[pairs["left_out"] == ""]
    columns = distinguishing_columns(compared, by)
    rows = []
    keys = ["cell"] if by is None else [*CONTRAST, *columns]
    for _, cell in compared.groupby(keys, sort=False, dropna=False):
        settings = {column.removeprefix("params."): cell[column].iloc[0] for column in columns}
        arms = {side: cell[side].iloc[0] for side in CONTRAST}
        rows.append({**arms, "cell": "", **settings, **_summarize(cell)})
    if not rows:
        return pd.DataFrame(
            columns=[*CONTRAST, "cell", "metric", "n", "pairs", "difference", "verdict"]
        )
    cells = pd.DataFrame(rows)
    for p in ("p", "p_sign_flip"):
        cells[f"{p}_holm"] = adjust_holm(cells[p].to_numpy(dtype=float))
    sign = np.where(cells["metric"].map(is_higher_better), 1.0, -1.0)
    gain = sign * cells["difference"].to_numpy(dtype=float)
    cells["verdict"] = assign_verdicts(gain, cells["p_holm"].to_numpy(dtype=float))
    tested = int(cells["p"].notna().sum())
    cells["basis"] = [_describe_basis(row, tested) for row in cells.itertuples()]
    cells["cell"] = _name_cells(cells)
    contrasts = contrasts_of(compared)
    settings_of_all = cells[setting_columns(cells)].to_numpy()
    order = sorted(
        range(len(cells)),
        key=lambda row: (
            contrasts.index(Contrast(cells["arm"][row], cells["reference"][row])),
            [natural_sort_key(str(value)) for value in settings_of_all[row]],
        ),
    )
    return cells.iloc[order].reset_index(drop=True)


def _name_cells(cells: pd.DataFrame) -> list[str]:
    """The settings in which the cells differ, after the arms if there are several contrasts."""
    settings = cells[setting_columns(cells)]
    # A setting that is the same in all cells is not part of their names.
    varies = (settings.nunique(dropna=False) > 1) | (len(cells) == 1)
    named = settings.loc[:, varies].to_dict("records")
    names = [format_settings({str(k): v for k, v in row.items()}) for row in named]
    if len(contrasts_of(cells)) == 1:
        return names
    arms = cells["arm"].map(name_arm)
    if cells["reference"].nunique() > 1:
        arms += " against " + cells["reference"].map(name_arm)
    return [
        arm if name == ALL_PAIRS else f"{arm}: {name}"
        for arm, name in zip(arms, names, strict=True)
    ]


def _summarize(cell: pd.DataFrame) -> dict[str, Any]:
    metric = cell["metric"].iloc[0]
    sign = 1 if is_higher_better(metric) else -1
    seeds = cell.groupby("seed", sort=False).mean(numeric_only=True)
    difference = seeds["difference"].to_numpy(dtype=float)
    test = paired_t_test(difference)
    equal = seeds["equal_images_difference"].dropna().to_numpy(dtype=float)
    equal_test = paired_t_test(equal if len(equal) > 0 else np.full(1, np.nan))
    is_known = cell["reference_epochs"].notna().all()  # then NaN means that a pair never matched
    row = {
        "metric": metric,
        "n": len(seeds),
        "pairs": len(cell),
        "reference_mean": seeds["reference_value"].mean(),
        "reference_sd": seeds["reference_value"].std(),
        "arm_mean": seeds["arm_value"].mean(),
        "arm_sd": seeds["arm_value"].std(),
        "difference": float(test.mean),
        "low": float(test.low),
        "high": float(test.high),
        "wins": int((sign * difference > ROUNDING).sum()),
        "p": float(test.p),
        "p_sign_flip": sign_flip_p(difference),
        "equal_images_n": len(equal),
        "equal_images_difference": float(equal_test.mean),
        "equal_images_low": float(equal_test.low),
        "equal_images_high": float(equal_test.high),
        "epochs_to_match": cell["epochs_to_match"].fillna(np.inf).median() if is_known else np.nan,
        "matched": int(cell["epochs_to_match"].notna().sum()),
        "reference_epochs": cell["reference_epochs"].median(),
    }
    for cost in ("images", "seconds"):
        row[f"pretext_{cost}"] = cell[f"pretext_{cost}"].mean()
        row[f"pretext_{cost}_shared"] = (cell[f"pretext_{cost}"] / cell["pretext_shared_by"]).mean()
        for cost_of in (f"arm_{cost}", f"reference_{cost}", f"reference_pretext_{cost}"):
            row[cost_of] = cell[cost_of].mean()
    return row | {"pretext_acc": cell["pretext_acc"].mean()}


def _describe_basis(cell: Any, tested: int) -> str:
    if cell.n < 2:
        return "a single seed shows no spread; run at least two, better five or more"
    flips = f"sign flips p = {cell.p_sign_flip:.2g}"
    if cell.p_sign_flip <= 1.001 * 0.5 ** (cell.n - 1):
        flips += f" (the smallest possible with {cell.n} seeds)"
    if np.isnan(cell.low):
        return f"{cell.n} seeds with the same difference, so that only the signs count: {flips}"
    over = f", {cell.p_holm:.2g} after Holm over {tested} cells" if tested > 1 else ""
    return f"paired t test on {cell.n} seeds, p = {cell.p:.2g}{over}; {flips}"
