"""Label budgets in words: a number of labels per class, or a part of all labels."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ssl_rot.report.comparison.basis import join_words
from ssl_rot.report.comparison.cell_names import natural_sort_key
from ssl_rot.report.comparison.columns import FRACTION, LABELS, PHASE
from ssl_rot.tracking import Tag

PER_CLASS, PART = (column.removeprefix("params.") for column in (LABELS, FRACTION))


def find_budget_key(keys: Sequence[str]) -> str | None:
    """The budget's key if the cells differ in nothing else."""
    return keys[0] if list(keys) in ([PER_CLASS], [PART]) else None


def name_budget(key: str, value: str) -> str:
    """A budget without its unit: ``5``, ``1 %``, ``all``."""
    if value == "null":
        return "all"
    return f"{100 * float(value):g} %" if key == PART else value


def name_budgets(key: str, values: Sequence[str]) -> str:
    """``1 and 5 labels per class``, ``1 % and 10 % of the labels``, ``all labels``."""
    names = [name_budget(key, value) for value in dict.fromkeys(values)]
    if names == ["all"]:
        return "all labels"
    if key == PART:
        return f"{join_words(names)} of the labels"
    return f"{join_words(names)} label{'s' * (names != ['1'])} per class"


def count_labels(runs: pd.DataFrame) -> str:
    """How many labels each budget came to, in one line; empty if the runs did not record it.

    A class may have fewer than ``labels_per_class``, and a part is no number.
    """
    downstream = runs[runs[PHASE] == "downstream"]
    columns = [LABELS, FRACTION, f"tags.{Tag.LABELS}"]
    known = downstream.reindex(columns=columns).dropna(subset=columns[-1:]).fillna("null")
    counts = []
    known = known.sort_values(columns[:2], key=lambda column: column.map(natural_sort_key))
    for labels, fraction, count in known.drop_duplicates().itertuples(index=False):
        key, value = (PER_CLASS, labels) if fraction == "null" else (PART, fraction)
        counts.append(f"{count} with {name_budgets(key, [value])}")
    return f" Labels used: {'; '.join(counts)}." if counts else ""
