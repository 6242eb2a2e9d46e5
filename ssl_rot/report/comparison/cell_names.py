"""What a cell is called: the settings that distinguish it from the other cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.errors import ConfigError
from ssl_rot.report.comparison.columns import LABELS
from ssl_rot.report.comparison.contrasts import contrasts_of, name_arm
from ssl_rot.report.comparison.params import IDENTIFIED_BY_CONTENT, SEEDS, effective_params

# Names a cell only if no param can: other data or weights under the same name, or edited code.
_CONTENT = "content_key"

CONTRAST = ["arm", "reference"]
ALL_PAIRS = "all pairs"  # the name of a cell without any setting


def distinguishing_columns(compared: pd.DataFrame, by: Sequence[str] | None) -> list[str]:
    """The columns that name a cell: the params ``by``, or else those that distinguish the cells.

    They do so within a contrast: the two arms are not among them.

    Raises:
        ConfigError: ``by`` names a key that the runs do not have.
    """
    params = [column for column in map(str, compared) if column.startswith("params.")]
    if by is not None:
        reject_unknown_keys("by", by, compared[params])
        return [f"params.{key}" for key in by]
    # The name of an option comes before its content and a shallow key before a deep one. Each is
    # taken only if it splits cells that those before it do not. A param without effect may differ
    # within a cell, such as the path of the data on another machine; then it cannot name the cell.
    options = [column for column in params if "." not in column.removeprefix("params.")]
    contents = sorted(effective_params(params), key=lambda column: column.count("."))
    paths = [f"params.{key}" for key in IDENTIFIED_BY_CONTENT if f"params.{key}" in params]
    within = compared.groupby("cell")[[*params, _CONTENT]].nunique(dropna=False)
    cells = compared.drop_duplicates("cell").fillna(dict.fromkeys(params, ""))
    columns = [column for column in (*CONTRAST, LABELS) if column in compared]
    count = len(cells[columns].drop_duplicates()) if columns else 1
    for column in [*options, *contents, *paths, _CONTENT]:
        if column in SEEDS or count == len(cells) or (within[column] > 1).any():
            continue
        finer = len(cells[[*columns, column]].drop_duplicates())
        if finer > count:
            columns, count = [*columns, column], finer
    return [column for column in columns if column not in CONTRAST]


def reject_unknown_keys(option: str, keys: Sequence[str], params: pd.DataFrame) -> None:
    """Refuses config keys that the runs, of which all params are given, do not have."""
    known = [str(column).removeprefix("params.") for column in params]
    differ = ", ".join(key for key in known if params[f"params.{key}"].nunique() > 1)
    faults = []
    for key in keys:
        if key not in known:
            close = "".join(f" (did you mean {k}?)" for k in get_close_matches(key, known, n=1))
            faults.append(
                f"{option}={key} is not a key of these runs{close}; they differ in: {differ}"
            )
    if faults:
        raise ConfigError(faults)


def format_settings(settings: Mapping[str, Any]) -> str:
    """Settings on one line, the way they are written on the command line.

    NaN is skipped: not every option of a group has every key.
    """
    settings = {key: value for key, value in settings.items() if pd.notna(value)}
    last_parts = [key.rsplit(".", 1)[-1] for key in settings]
    names = [
        # A bare lr or epochs means the downstream schedule's.
        key if last_parts.count(part) > 1 or key.startswith("pretext.schedule.") else part
        for part, key in zip(last_parts, settings, strict=True)
    ]
    line = " ".join(f"{name}={value}" for name, value in zip(names, settings.values(), strict=True))
    return line or ALL_PAIRS


def name_cells(cells: pd.DataFrame) -> list[str]:
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


def natural_sort_key(value: str) -> tuple[int, float, str]:
    """Sorts 2 before 10, null (no limit) after every number, and then text alphabetically."""
    try:
        return (0, np.inf if value == "null" else float(value), "")
    except ValueError:
        return (1, 0.0, value)


def setting_columns(cells: pd.DataFrame) -> list[str]:
    """The columns that hold a cell's settings: those between ``cell`` and ``metric``."""
    columns = [str(column) for column in cells]
    return columns[columns.index("cell") + 1 : columns.index("metric")]


def find_cell_rows(pairs: pd.DataFrame, cells: pd.DataFrame) -> pd.Series[int]:
    """For each pair, the position of its cell's row in ``cells``."""
    columns = setting_columns(cells)
    settings = map(tuple, cells[[*CONTRAST, *columns]].astype(str).to_numpy())
    rows = {values: row for row, values in enumerate(settings)}
    of_pairs = [column if column == _CONTENT else f"params.{column}" for column in columns]
    return pd.Series(
        [rows[tuple(values)] for values in pairs[[*CONTRAST, *of_pairs]].astype(str).to_numpy()],
        index=pairs.index,
    )
