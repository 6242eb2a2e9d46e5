"""The difference between the arms for each class: what an overall accuracy can hide."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.cell_names import find_cell_rows
from ssl_rot.report.comparison.estimates import ALPHA, interval
from ssl_rot.report.comparison.hits import Hits, cell_hits
from ssl_rot.report.comparison.two_way import recall_differences
from ssl_rot.report.comparison.verdicts import LEAST_SEEDS


def compare_recalls(cells: pd.DataFrame, pairs: pd.DataFrame, hits: Hits) -> pd.DataFrame:
    """The difference in recall for each class of the cells with predictions.

    Returns:
        A row per cell and class: ``number`` of the cell from 1, ``cell``, ``label`` (the class),
        ``share`` of the test images, ``arm_mean``, ``reference_mean``, ``difference``, and ``low``
        and ``high``: simultaneous 95 % intervals over all rows, NaN below three units.
    """
    rows = []
    if len(cells) > 0:
        compared = pairs[pairs["left_out"] == ""]
        positions = find_cell_rows(compared, cells)
        for row, part in compared.groupby(positions):
            found = cell_hits(part, hits)
            if found is None:
                continue
            labels, estimates = recall_differences(found.arm - found.reference, found.targets)
            for position, label in enumerate(labels):
                own = found.targets == label
                rows.append(
                    {
                        "number": int(row) + 1,
                        "cell": cells["cell"][row],
                        "label": int(label),
                        "share": own.mean(),
                        "arm_mean": found.arm[:, own].mean(),
                        "reference_mean": found.reference[:, own].mean(),
                        "difference": float(estimates.mean[position]),
                        "estimate": type(estimates)(*(field[position] for field in estimates)),
                    }
                )
    columns = ["number", "cell", "label", "share", "arm_mean", "reference_mean", "difference"]
    table = pd.DataFrame(rows, columns=[*columns, "estimate"])
    ends = [
        interval(estimate, 1 - ALPHA / len(table)) if estimate.n >= LEAST_SEEDS else (np.nan,) * 2
        for estimate in table["estimate"]
    ]
    table["low"], table["high"] = np.array(ends, dtype=float).reshape(-1, 2).T
    return table.drop(columns="estimate")
