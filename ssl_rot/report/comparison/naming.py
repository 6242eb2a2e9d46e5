"""What a cell is called: the settings that tell it from the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.errors import ConfigError
from ssl_rot.report.comparison.settings import BY_NAME, effective

LABELS = "params.dataset.labels_per_class"
CONTENT = "content_key"
"""The last resort: what data or weights of one name, or edited code, leave no param to tell by."""


def naming_keys(compared: pd.DataFrame, by: Sequence[str] | None) -> list[str]:
    """The columns that name a cell: the params ``by``, or else those that tell cells apart.

    Raises:
        ConfigError: ``by`` names a key that the runs do not have.
    """
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
    # cells apart that those before it do not. What is no setting may differ within a cell, as the
    # place of the data does from one machine to another; then it names nothing.
    names = [column for column in params if "." not in column.removeprefix("params.")]
    contents = sorted(effective(params), key=lambda column: column.count("."))
    places = [f"params.{name}" for name in BY_NAME if f"params.{name}" in params]
    within = compared.groupby("cell")[[*params, CONTENT]].nunique(dropna=False)
    cells = compared.drop_duplicates("cell").fillna(dict.fromkeys(params, ""))
    keys = [LABELS] if LABELS in params else []
    count = cells[keys].drop_duplicates().shape[0] if keys else 1
    for key in [*names, *contents, *places, CONTENT]:
        if key == "params.seed" or count == len(cells) or (within[key] > 1).any():
            continue
        finer = cells[[*keys, key]].drop_duplicates().shape[0]
        if finer > count:
            keys, count = [*keys, key], finer
    return keys


def label(settings: dict[str, Any]) -> str:
    """A cell's settings in one line, as one writes them on the command line.

    What is NaN is left away: not every option of a group has every key.
    """
    settings = {key: value for key, value in settings.items() if pd.notna(value)}
    short = [key.rsplit(".", 1)[-1] for key in settings]
    names = [
        # A bare lr or epochs is the downstream schedule's.
        key if short.count(s) > 1 or key.startswith("pretext.schedule.") else s
        for s, key in zip(short, settings, strict=True)
    ]
    line = " ".join(f"{name}={value}" for name, value in zip(names, settings.values(), strict=True))
    return line or "all pairs"


def natural(value: str) -> tuple[int, float, str]:
    """Sorts 2 before 10, null (all of them) after every number, and text by letters."""
    try:
        return (0, np.inf if value == "null" else float(value), "")
    except ValueError:
        return (1, 0.0, value)


def setting_keys(cells: pd.DataFrame) -> list[str]:
    """The columns that name a cell's settings: those between ``cell`` and ``metric``."""
    columns = [str(column) for column in cells]
    return columns[1 : columns.index("metric")]


def cell_of(pairs: pd.DataFrame, cells: pd.DataFrame) -> pd.Series[int]:
    """The row in ``cells`` of each pair."""
    keys = setting_keys(cells)
    settings = map(tuple, cells[keys].astype(str).to_numpy())
    rows = {key: row for row, key in enumerate(settings)}
    columns = [key if key == CONTENT else f"params.{key}" for key in keys]
    mine = map(tuple, pairs[columns].astype(str).to_numpy())
    return pd.Series([rows[key] for key in mine], index=pairs.index)
