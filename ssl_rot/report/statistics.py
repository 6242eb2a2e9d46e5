"""Compare: the paired differences of each cell, their uncertainty, and a verdict in words.

How the verdict is reached, and why so, stands in docs/report.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ssl_rot.errors import ConfigError
from ssl_rot.report.settings import better_is_higher, effective

ALPHA = 0.05
VERDICTS = ("rotation better", "supervised-only better", "no clear difference", "not enough runs")
LABELS = "params.dataset.labels_per_class"

# Differences this close are one number that was rounded twice.
_SAME = 1e-9
# Beyond, the exact test would take gigabytes.
_EXACT = 40

Array = NDArray[np.float64]


class Paired(NamedTuple):
    """What the differences of the pairs tell; the axis of the pairs is gone.

    ``low`` and ``high`` bound the 95 % t interval of the mean, ``p`` is two-sided.
    """

    mean: Array
    low: Array
    high: Array
    p: Array


def paired_t(differences: Array) -> Paired:
    """The paired t test, after Student; NaN where there are fewer than two pairs.

    Where all differences are equal, as a few accuracies on a few hundred images can be, there is no
    spread to estimate: no interval is given, and p is that of the sign flips.

    Args:
        differences: ``[..., n]``, of the n pairs.
    """
    n = differences.shape[-1]
    mean = differences.mean(axis=-1)
    if n < 2:
        nothing = np.full_like(mean, np.nan)
        return Paired(mean, nothing, nothing, nothing)
    error = stats.sem(differences, axis=-1)
    flat = np.ptp(differences, axis=-1) <= _SAME
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(mean / error), n - 1)
    p = np.where(flat, np.where(np.abs(mean) <= _SAME, 1.0, 0.5 ** (n - 1)), p)
    half = np.where(flat, np.nan, stats.t.ppf(1 - ALPHA / 2, n - 1) * error)
    return Paired(mean, mean - half, mean + half, p)


def sign_flip_p(differences: Array) -> float:
    """The exact two-sided p of the mean when each difference may as well have the other sign.

    Assumes nothing about their distribution. No p is below ``2 ** (1 - n)``.

    Args:
        differences: ``[n]``. Above 40 pairs random flips stand for all.
    """
    n = len(differences)
    if n < 2:
        return float("nan")
    if n > _EXACT:
        test = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=99_999, rng=0
        )
        return float(test.pvalue)

    def sums(part: Array) -> Array:
        """The sums of ``part`` under all choices of signs."""
        start = np.zeros(1)
        return reduce(lambda found, d: np.concatenate([found - d, found + d]), part, start)

    # All 2^n sums are those of two halves put together, which takes 2^(n/2) numbers.
    left, right = sums(differences[: n // 2]), np.sort(sums(differences[n // 2 :]))
    least = abs(differences.sum()) - _SAME
    above = (len(right) - np.searchsorted(right, least - left)).sum()
    return min(1.0, 2.0 * float(above) / 2.0**n)


def holm(p: Array) -> Array:
    """p values adjusted for being several, after Holm (1979); the family is the last axis.

    Those that are NaN are no part of it.
    """
    order = np.argsort(p, axis=-1)  # NaN comes last
    ordered = np.take_along_axis(p, order, axis=-1)
    size = np.isfinite(p).sum(axis=-1, keepdims=True)
    rank = np.arange(p.shape[-1])
    stepped = np.minimum(1.0, np.fmax.accumulate(ordered * np.maximum(size - rank, 1), axis=-1))
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, np.where(np.isnan(ordered), np.nan, stepped), axis=-1)
    return adjusted


def verdicts(gain: Array, adjusted_p: Array) -> NDArray[np.str_]:
    """The verdict in words.

    Args:
        gain: mean difference, positive where rotation is better.
        adjusted_p: after :func:`holm`; NaN where there were too few pairs.
    """
    clear = adjusted_p <= ALPHA
    choices = [np.isnan(adjusted_p), clear & (gain > 0), clear & (gain < 0)]
    return np.select(choices, [VERDICTS[3], VERDICTS[0], VERDICTS[1]], VERDICTS[2])


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
    keys = _keys(compared, by)
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
    named = naming.astype(str).to_dict("records")
    cells["cell"] = [label({str(k): v for k, v in settings.items()}) for settings in named]
    values = settings_of_all.to_numpy()
    order = sorted(range(len(cells)), key=lambda i: [natural(str(v)) for v in values[i]])
    return cells.iloc[order].reset_index(drop=True)


def setting_keys(cells: pd.DataFrame) -> list[str]:
    """The columns that name a cell's settings: those between ``cell`` and ``metric``."""
    columns = [str(column) for column in cells]
    return columns[1 : columns.index("metric")]


def cell_of(pairs: pd.DataFrame, cells: pd.DataFrame) -> pd.Series[int]:
    """The row in ``cells`` of each pair."""
    keys = setting_keys(cells)
    settings = map(tuple, cells[keys].astype(str).to_numpy())
    rows = {key: row for row, key in enumerate(settings)}
    mine = map(tuple, pairs[[f"params.{key}" for key in keys]].astype(str).to_numpy())
    return pd.Series([rows[key] for key in mine], index=pairs.index)


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
        "wins": int((sign * difference > _SAME).sum()),
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


def _keys(compared: pd.DataFrame, by: Sequence[str] | None) -> list[str]:
    """The columns of params that name a cell."""
    params = [column for column in map(str, compared) if column.startswith("params.")]
    if by is not None:
        unknown = [key for key in by if f"params.{key}" not in params]
        if unknown:
            known = ", ".join(column.removeprefix("params.") for column in params)
            raise ConfigError(
                [f"by={key} is no key of the runs; allowed: {known}" for key in unknown]
            )
        return [f"params.{key}" for key in by]
    # Names of options before their contents, shallow keys before deep ones; each only if it tells
    # cells apart that those before it do not.
    names = [column for column in params if "." not in column.removeprefix("params.")]
    contents = sorted(effective(params), key=lambda column: column.count("."))
    cells = compared.drop_duplicates("cell").fillna(dict.fromkeys(params, ""))
    keys = [LABELS] if LABELS in params else []
    count = cells[keys].drop_duplicates().shape[0] if keys else 1
    for key in [*names, *contents]:
        if key == "params.seed" or count == len(cells):
            continue
        finer = cells[[*keys, key]].drop_duplicates().shape[0]
        if finer > count:
            keys, count = [*keys, key], finer
    return keys


def label(settings: dict[str, str]) -> str:
    """A cell's settings in one line, as one writes them on the command line."""
    short = [key.rsplit(".", 1)[-1] for key in settings]
    names = [s if short.count(s) == 1 else key for s, key in zip(short, settings, strict=True)]
    line = " ".join(f"{name}={value}" for name, value in zip(names, settings.values(), strict=True))
    return line or "all pairs"


def natural(value: str) -> tuple[int, float, str]:
    """Sorts 2 before 10, null (all of them) after every number, and text by letters."""
    try:
        return (0, np.inf if value == "null" else float(value), "")
    except ValueError:
        return (1, 0.0, value)
