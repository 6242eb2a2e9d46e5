"""Chooses, for each arm and cell, the setting with the best validation accuracy.

Test accuracies play no part in the choice. Only the chosen settings are compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.errors import ConfigError
from ssl_rot.report.comparison.cell_names import (
    distinguishing_columns,
    format_settings,
    natural_sort_key,
    reject_unknown_keys,
)
from ssl_rot.report.comparison.columns import (
    ARM,
    CHOSEN,
    PAIR_KEY,
    PHASE,
    SEED,
    TRIALS,
    VALIDATION,
    VARIANCE,
)
from ssl_rot.report.comparison.contrasts import SUPERVISED
from ssl_rot.report.comparison.exclusions import explain_unusable_runs, find_lost_runs
from ssl_rot.report.comparison.params import SEEDS, content_keys, effective_params, params_as_text
from ssl_rot.report.comparison.selection_error import selection_variance
from ssl_rot.report.comparison.tuned_settings import determined_params


@dataclass(frozen=True)
class Selection:
    """What was chosen.

    Args:
        keys: the config keys whose values were chosen.
        runs: as from :func:`ssl_rot.report.load_runs`, but of the downstream runs only those with
            the chosen settings. Their params lack those keys, and their ``pair_key`` is one of
            the remaining settings.
        trials: a row for each arm, cell and setting: ``arm``, ``cell`` (the settings that were not
            chosen), ``setting``, ``seeds``, ``lost``, ``val_mean``, ``val_sd``, ``is_chosen``.
    """

    keys: list[str]
    runs: pd.DataFrame
    trials: pd.DataFrame


def select_settings(
    runs: pd.DataFrame, keys: Sequence[str], metric: str = "test_acc", chance: float = 0.0
) -> Selection:
    """Chooses the setting of each arm and cell by its mean validation accuracy over the seeds.

    A seed whose run was lost counts with an accuracy at chance. Settings are compared on the same
    seeds: a seed that an interrupted sweep tried with few settings plays no part, and a setting
    that was tried with few seeds is not chosen. Of several that are equally good, the first is,
    smaller values before larger ones: a dozen validation images often leave several. A cell is what
    agrees in all other settings.

    Args:
        keys: config keys; those of the pretext apply to arms that have one.
        metric: that will be compared; it enters the error of the selection, never the choice.

    Raises:
        ConfigError: the runs do not have a key, or no validation accuracy.
    """
    downstream = runs[runs[PHASE] == "downstream"].set_index("run_id", drop=False)
    params = [str(column) for column in downstream if str(column).startswith("params.")]
    reject_unknown_keys("select", keys, downstream[params])
    if VALIDATION not in downstream or downstream[VALIDATION].isna().all():
        raise ConfigError(
            [
                f"select=[{','.join(keys)}] needs validation accuracies, and no run has one; add "
                "dataset.val_per_class=1 (validation images out of labels_per_class) or "
                "dataset.val_fraction=0.2 (on top of it) to the runs"
            ]
        )
    reasons = explain_unusable_runs(downstream, "val_acc", {})
    is_lost = find_lost_runs(downstream)
    tried = downstream[(reasons == "") | is_lost]
    setting_params = determined_params(downstream, keys)
    shared = [p for p in effective_params(params) if p not in setting_params]
    content = _content_classes(downstream)
    winners, trials = [], []
    for arm, of_arm in tried.groupby(ARM, sort=False):
        of_pretext = "params.pretext."
        own = [p for p in shared if arm != SUPERVISED or not p.startswith(of_pretext)]
        cells = [p for p in own if p not in SEEDS]
        settings = [p for p in setting_params if arm != SUPERVISED or not p.startswith(of_pretext)]
        names = [f"params.{key}" for key in keys if f"params.{key}" in settings]
        keys_of_cells = _join(of_arm, cells) + content[of_arm.index]
        groups = of_arm.groupby(keys_of_cells, sort=False)
        numbered = of_arm.assign(cell=pd.factorize(keys_of_cells)[0], content_key=content)
        naming = distinguishing_columns(numbered.drop(columns=settings), None)
        for _, cell in groups:
            in_grid = _in_grid(_join(cell, settings), cell[SEED])
            table = _rank_settings(cell, settings, names, in_grid, is_lost, chance)
            # Rounded, since the order in which seeds are added changes the last bits.
            best = int(table["val_mean"].where(table["is_complete"]).round(9).argmax())
            is_chosen = np.arange(len(table)) == best
            first = numbered.loc[cell.index[0], naming]
            name = format_settings({c.removeprefix("params."): v for c, v in first.items()})
            trials.append(table.assign(is_chosen=is_chosen, arm=arm, cell=name))
            won = cell[_join(cell, settings) == table["key"].iloc[best]]
            won = won.assign(
                **{
                    CHOSEN: table["setting"].iloc[best],
                    TRIALS: len(table),
                    VARIANCE: _choice_variance(cell[in_grid], settings, metric),
                }
            )
            shared_downstream = [p for p in own if not p.startswith(of_pretext)]
            pair_keys = _join(won, [*shared_downstream, SEED]) + content[won.index]
            winners.append(won.assign(**{PAIR_KEY: pair_keys.map(_digest)}))
    chosen_runs = pd.concat([*winners, runs[runs[PHASE] != "downstream"]], ignore_index=True)
    chosen_runs = chosen_runs.drop(columns=[c for c in setting_params if c in chosen_runs])
    chosen_runs.attrs = runs.attrs
    columns = ["arm", "cell", "setting", "seeds", "lost", "val_mean", "val_sd", "is_chosen"]
    return Selection(list(keys), chosen_runs, pd.concat(trials, ignore_index=True)[columns])


def _rank_settings(
    cell: pd.DataFrame,
    settings: list[str],
    names: list[str],
    in_grid: pd.Series[bool],
    is_lost: pd.Series[bool],
    chance: float,
) -> pd.DataFrame:
    """A row for each setting that one arm tried in a cell, whatever the order of the runs."""
    ranks = [params_as_text(cell, names)[name].map(natural_sort_key) for name in names]
    cell = cell.loc[sorted(cell.index, key=lambda run_id: [rank[run_id] for rank in ranks])]
    rows: list[dict[str, Any]] = []
    for key, part in cell.groupby(_join(cell, settings), sort=False):
        is_complete = bool(in_grid[part.index].any())
        if is_complete:
            part = part[in_grid[part.index]]
        lost = is_lost[part.index]
        values = part[VALIDATION].astype(float).where(~lost, chance)
        first = part[names].iloc[0]
        rows.append(
            {
                "key": key,
                "setting": format_settings({n.removeprefix("params."): first[n] for n in names}),
                "seeds": part[SEED].nunique(),
                "lost": int(lost.sum()),
                "val_mean": values.mean(),
                "val_sd": values.std(),
                "is_complete": is_complete,
            }
        )
    return pd.DataFrame(rows)


def _in_grid(settings: pd.Series[str], seeds: pd.Series[Any]) -> pd.Series[bool]:
    """Which runs are in the largest set of settings and seeds that were all tried together.

    A sweep that was interrupted has seeds with few of the settings, and one that was extended has
    settings with few of the seeds; neither may decide by what it happens to hold.
    """
    tried = {seed: frozenset(part) for seed, part in settings.groupby(seeds)}

    def size(candidate: frozenset[str]) -> tuple[int, int]:
        count = sum(candidate <= others for others in tried.values())
        return len(candidate) * count, count

    best = max([*tried.values(), *(frozenset([key]) for key in settings.unique())], key=size)
    together = [seed for seed, others in tried.items() if best <= others]
    return settings.isin(best) & seeds.isin(together)


def _choice_variance(cell: pd.DataFrame, settings: list[str], metric: str) -> float:
    """The error that choosing adds; 0 if not every setting has finished with every seed."""
    grids = [
        cell.assign(setting=_join(cell, settings)).pivot_table(
            index="setting", columns=SEED, values=column, dropna=False
        )
        for column in (VALIDATION, f"metrics.{metric}")
        if column in cell
    ]
    if len(grids) < 2 or any(grid.isna().any(axis=None) or grid.empty for grid in grids):
        return 0.0
    return float(selection_variance(*(grid.to_numpy(float) for grid in grids)))


def _content_classes(downstream: pd.DataFrame) -> pd.Series[str]:
    """Equal for runs on the same data, with the same starting weights and arithmetic.

    Code of a pretext is part of the content key of one arm only. Such keys belong together if two
    arms have a pair_key in common.
    """
    keys = content_keys(downstream)
    names = dict(zip(keys, keys, strict=True))

    def root(key: str) -> str:
        while names[key] != key:
            key = names[key]
        return key

    for _, group in keys.groupby(downstream[PAIR_KEY]):
        for key in group:
            names[root(key)] = root(group.iloc[0])
    return keys.map(root)


def _join(runs: pd.DataFrame, params: list[str]) -> pd.Series[str]:
    """The values of the params in one text per run."""
    text = params_as_text(runs, params)
    return pd.Series(["\x1f".join(row) for row in text.to_numpy()], index=runs.index, dtype=object)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
