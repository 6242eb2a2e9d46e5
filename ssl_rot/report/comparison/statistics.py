"""Compare: the paired differences of each cell, their uncertainty, and a verdict in words.

How the verdict is reached, and why so, stands in docs/report.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.inference import SAME, holm, paired_t, sign_flip_p, verdicts
from ssl_rot.report.comparison.naming import label, naming_keys, natural, setting_keys
from ssl_rot.report.comparison.settings import better_is_higher


def compare(pairs: pd.DataFrame, by: Sequence[str] | None = None) -> pd.DataFrame:
    """Rotation against supervised-only in each cell.

    Args:
        pairs: from :func:`ssl_rot.report.pair_runs`; rows with ``left_out`` are passed over.
        by: config keys; a cell is then what is alike in these, and all else is averaged within each
            seed first, since what shares a seed is not independent. ``None``: a cell is what is
            alike in all but the seed.

    Returns:
        One row a cell, by the name of its settings:

        - ``cell``: the settings in one line; then a column for each of them
        - ``metric``; ``n`` (seeds), ``pairs``; ``supervised_mean``, ``supervised_sd``,
          ``rotation_mean``, ``rotation_sd`` (over seeds, n - 1)
        - ``difference`` (mean, rotation less supervised-only), ``low`` and ``high`` (95 % t
          interval), ``wins`` (seeds where rotation is better)
        - ``p`` (paired t), ``p_holm`` (adjusted over the cells), ``p_sign_flip``,
          ``p_sign_flip_holm``
        - ``verdict``, one of ``VERDICTS``, and ``basis``, what it rests on
        - ``epochs_to_match`` (median, infinite where most pairs never match), ``matched`` (pairs
          that do), ``supervised_epochs`` (median)
        - ``equal_images_n`` (seeds), ``equal_images_difference``, ``equal_images_low``,
          ``equal_images_high``: the same comparison at equal images processed
        - ``pretext_acc``, and means of ``pretext_images``, ``pretext_seconds``, the same with
          ``_shared`` (divided by the runs that started from it), ``rotation_images``,
          ``rotation_seconds``, ``supervised_images``, ``supervised_seconds``

    Raises:
        ConfigError: ``by`` names a key that the runs do not have.
    """
    compared = pairs[pairs["left_out"] == ""]
    keys = naming_keys(compared, by)
    rows = []
    grouping = ["cell"] if by is None else keys
    for _, cell in compared.groupby(grouping, sort=False, dropna=False):
        settings = {key.removeprefix("params."): cell[key].iloc[0] for key in keys}
        rows.append({"cell": "", **settings, **_row(cell)})
    if not rows:
        return pd.DataFrame(columns=["cell", "metric", "n", "pairs", "difference", "verdict"])
    cells = pd.DataFrame(rows)
    for p in ("p", "p_sign_flip"):
        cells[f"{p}_holm"] = holm(cells[p].to_numpy(dtype=float))
    sign = np.where(cells["metric"].map(better_is_higher), 1.0, -1.0)
    gain = sign * cells["difference"].to_numpy(dtype=float)
    cells["verdict"] = verdicts(gain, cells["p_holm"].to_numpy(dtype=float))
    cells["basis"] = [_basis(row, int(cells["p"].notna().sum())) for row in cells.itertuples()]
    settings_of_all = cells[setting_keys(cells)]
    # What is the same everywhere names nothing.
    naming = settings_of_all.loc[:, (settings_of_all.nunique(dropna=False) > 1) | (len(cells) == 1)]
    named = naming.to_dict("records")
    cells["cell"] = [label({str(k): v for k, v in settings.items()}) for settings in named]
    values = settings_of_all.to_numpy()
    order = sorted(range(len(cells)), key=lambda i: [natural(str(v)) for v in values[i]])
    return cells.iloc[order].reset_index(drop=True)


def _row(cell: pd.DataFrame) -> dict[str, Any]:
    """The numbers of one cell but for what depends on the other cells."""
    metric = cell["metric"].iloc[0]
    sign = 1 if better_is_higher(metric) else -1
    seeds = cell.groupby("seed", sort=False).mean(numeric_only=True)
    difference = seeds["difference"].to_numpy(dtype=float)
    paired = paired_t(difference)
    equal = seeds["equal_images_difference"].dropna().to_numpy(dtype=float)
    at_equal = paired_t(equal) if len(equal) > 0 else paired_t(np.full(1, np.nan))
    row = {
        "metric": metric,
        "n": len(seeds),
        "pairs": len(cell),
        "supervised_mean": seeds["supervised"].mean(),
        "supervised_sd": seeds["supervised"].std(),
        "rotation_mean": seeds["rotation"].mean(),
        "rotation_sd": seeds["rotation"].std(),
        "difference": float(paired.mean),
        "low": float(paired.low),
        "high": float(paired.high),
        "wins": int((sign * difference > SAME).sum()),
        "p": float(paired.p),
        "p_sign_flip": sign_flip_p(difference),
        "equal_images_n": len(equal),
        "equal_images_difference": float(at_equal.mean),
        "equal_images_low": float(at_equal.low),
        "equal_images_high": float(at_equal.high),
        "epochs_to_match": np.nan,
        "matched": int(cell["epochs_to_match"].notna().sum()),
        "supervised_epochs": cell["supervised_epochs"].median(),
    }
    if cell["supervised_epochs"].notna().all():  # the curves were loaded: what is NaN never matched
        row["epochs_to_match"] = cell["epochs_to_match"].fillna(np.inf).median()
    for cost in ("images", "seconds"):
        row[f"pretext_{cost}"] = cell[f"pretext_{cost}"].mean()
        row[f"pretext_{cost}_shared"] = (cell[f"pretext_{cost}"] / cell["pretext_shared_by"]).mean()
        row[f"rotation_{cost}"] = cell[f"rotation_{cost}"].mean()
        row[f"supervised_{cost}"] = cell[f"supervised_{cost}"].mean()
    return row | {"pretext_acc": cell["pretext_acc"].mean()}


def _basis(cell: Any, family: int) -> str:
    """What a verdict rests on."""
    if cell.n < 2:
        return "one seed says nothing about chance; two are needed, five or more are better"
    flips = f"sign flips p = {cell.p_sign_flip:.2g}"
    if cell.p_sign_flip <= 1.001 * 0.5 ** (cell.n - 1):
        flips += f" (the least that {cell.n} seeds can give)"
    if np.isnan(cell.low):
        return f"{cell.n} seeds with the same difference, so that only the signs count: {flips}"
    over = f", {cell.p_holm:.2g} after Holm over {family} cells" if family > 1 else ""
    return f"paired t test on {cell.n} seeds, p = {cell.p:.2g}{over}; {flips}"
