"""Compares the arms: the paired differences of each cell, their uncertainty, and the verdict.

docs/report.md explains how the verdict is reached, and why this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.cell_names import (
    distinguishing_columns,
    format_settings,
    natural_sort_key,
    setting_columns,
)
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
    """Compares rotation with supervised-only in each cell.

    Args:
        pairs: from :func:`ssl_rot.report.pair_runs`; rows with ``left_out`` are ignored.
        by: config keys. A cell is then all pairs that agree in these keys. Pairs that share a seed
            are averaged first, since they are not independent; a seed that lacks some of them is
            left out. With ``None``, a cell is all pairs that differ in nothing but the seed.

    Returns:
        One row per cell, sorted by its settings:

        - ``cell``: the settings on one line; then a column for each of them
        - ``metric``; ``n`` (seeds), ``pairs``; ``supervised_mean``, ``supervised_sd``,
          ``rotation_mean``, ``rotation_sd`` (over seeds, n - 1)
        - ``difference`` (mean, rotation minus supervised-only), ``low`` and ``high`` (95 % t
          interval), ``wins`` (seeds for which rotation is better)
        - ``p`` (paired t test), ``p_holm`` (adjusted over the cells), ``p_sign_flip``,
          ``p_sign_flip_holm``
        - ``verdict``, one of ``VERDICTS``, and ``basis``: what it is based on
        - ``epochs_to_match`` (median, infinite if most pairs never match), ``matched`` (pairs that
          do), ``supervised_epochs`` (median)
        - ``equal_images_n`` (seeds), ``equal_images_difference``, ``equal_images_low``,
          ``equal_images_high``: the same comparison at an equal number of images processed
        - ``pretext_acc``, and the means of ``pretext_images``, ``pretext_seconds``, the same with
          ``_shared`` (divided by the number of runs that started from it), ``rotation_images``,
          ``rotation_seconds``, ``supervised_images``, ``supervised_seconds``

    Raises:
        ConfigError: ``by`` names a key that the runs do not have.
    """
    pairs = exclude_incomplete_seeds(pairs, by)
    compared = pairs[pairs["left_out"] == ""]
    columns = distinguishing_columns(compared, by)
    rows = []
    keys = ["cell"] if by is None else columns
    for _, cell in compared.groupby(keys, sort=False, dropna=False):
        settings = {column.removeprefix("params."): cell[column].iloc[0] for column in columns}
        rows.append({"cell": "", **settings, **_summarize(cell)})
    if not rows:
        return pd.DataFrame(columns=["cell", "metric", "n", "pairs", "difference", "verdict"])
    cells = pd.DataFrame(rows)
    for p in ("p", "p_sign_flip"):
        cells[f"{p}_holm"] = adjust_holm(cells[p].to_numpy(dtype=float))
    sign = np.where(cells["metric"].map(is_higher_better), 1.0, -1.0)
    gain = sign * cells["difference"].to_numpy(dtype=float)
    cells["verdict"] = assign_verdicts(gain, cells["p_holm"].to_numpy(dtype=float))
    tested = int(cells["p"].notna().sum())
    cells["basis"] = [_describe_basis(row, tested) for row in cells.itertuples()]
    settings_of_all = cells[setting_columns(cells)]
    # A setting that is the same in all cells is not part of their names.
    varies = (settings_of_all.nunique(dropna=False) > 1) | (len(cells) == 1)
    named = settings_of_all.loc[:, varies].to_dict("records")
    cells["cell"] = [format_settings({str(k): v for k, v in row.items()}) for row in named]
    values = settings_of_all.to_numpy()
    order = sorted(
        range(len(cells)), key=lambda row: [natural_sort_key(str(value)) for value in values[row]]
    )
    return cells.iloc[order].reset_index(drop=True)


def _summarize(cell: pd.DataFrame) -> dict[str, Any]:
    metric = cell["metric"].iloc[0]
    sign = 1 if is_higher_better(metric) else -1
    seeds = cell.groupby("seed", sort=False).mean(numeric_only=True)
    difference = seeds["difference"].to_numpy(dtype=float)
    test = paired_t_test(difference)
    equal = seeds["equal_images_difference"].dropna().to_numpy(dtype=float)
    equal_test = paired_t_test(equal if len(equal) > 0 else np.full(1, np.nan))
    is_known = cell["supervised_epochs"].notna().all()  # then NaN means that a pair never matched
    row = {
        "metric": metric,
        "n": len(seeds),
        "pairs": len(cell),
        "supervised_mean": seeds["supervised"].mean(),
        "supervised_sd": seeds["supervised"].std(),
        "rotation_mean": seeds["rotation"].mean(),
        "rotation_sd": seeds["rotation"].std(),
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
        "supervised_epochs": cell["supervised_epochs"].median(),
    }
    for cost in ("images", "seconds"):
        row[f"pretext_{cost}"] = cell[f"pretext_{cost}"].mean()
        row[f"pretext_{cost}_shared"] = (cell[f"pretext_{cost}"] / cell["pretext_shared_by"]).mean()
        row[f"rotation_{cost}"] = cell[f"rotation_{cost}"].mean()
        row[f"supervised_{cost}"] = cell[f"supervised_{cost}"].mean()
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
