"""What trivial methods reach with the same labeled images, on the same test images.

A pre-training that does not lift a network above its raw pixels' nearest neighbor is no reason to
use a network. A frozen network with random weights is a floor of that kind too.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.cell_names import find_cell_rows
from ssl_rot.report.comparison.columns import FLOOR_KEY, PHASE
from ssl_rot.report.comparison.contrasts import SUPERVISED

FLOORS = {"knn": "1-NN on the pixels", "linear": "A linear model of the pixels"}
"""By the name in the metric ``floor/<name>_acc``, how a sentence about it begins."""

_FROZEN = ("ssl_rot.freeze.FreezeBackbone", "ssl_rot.freeze.Backbone")


def add_floors(cells: pd.DataFrame, pairs: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The cells with their floors.

    Returns:
        ``cells`` with ``floor_knn`` and ``floor_linear``, the mean accuracy over the label subsets
        of the cell, NaN where no floor was measured; and ``is_floor``: whether the reference is a
        frozen network with random weights.
    """
    if cells.empty:
        return cells.assign(is_floor=pd.Series(dtype=bool))
    compared = pairs[pairs["left_out"] == ""]
    rows = find_cell_rows(compared, cells)
    floors = runs[runs[PHASE] == "floor"].reindex(
        columns=[FLOOR_KEY, *(f"metrics.floor/{floor}_acc" for floor in FLOORS)]
    )
    by_key = floors.drop_duplicates(FLOOR_KEY, keep="last").set_index(FLOOR_KEY)
    columns: dict[str, pd.Series[float]] = {}
    for floor in FLOORS:
        keys = compared.get("floor_key", pd.Series(index=compared.index, dtype=object))
        values = keys.map(by_key[f"metrics.floor/{floor}_acc"]).astype(float)
        columns[f"floor_{floor}"] = values.groupby(rows).mean().reindex(range(len(cells)))
    frozen = compared.get("params.freeze._target_", pd.Series("", index=compared.index))
    has_weights = compared.get("params.model.weights", pd.Series("null", index=compared.index))
    is_floor = (
        (compared["reference"] == SUPERVISED)
        & frozen.isin(_FROZEN)
        & has_weights.fillna("null").eq("null")
    )
    all_frozen = is_floor.groupby(rows).all().reindex(range(len(cells))).fillna(False)
    return cells.assign(
        **{name: np.asarray(values) for name, values in columns.items()},
        is_floor=np.asarray(all_frozen, dtype=bool),
    )
