"""What a reader has to know beside the verdicts: lost runs, tuning, cost, floors, small classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.basis import join_words, plural
from ssl_rot.report.comparison.cell_names import setting_columns
from ssl_rot.report.comparison.contrasts import name_arm
from ssl_rot.report.comparison.floors import FLOORS
from ssl_rot.report.comparison.label_budgets import (
    PER_CLASS,
    find_budget_key,
    name_budget,
    name_budgets,
)
from ssl_rot.report.comparison.label_worth import labels_worth
from ssl_rot.report.comparison.metrics import PERCENT, format_difference, unit_of
from ssl_rot.report.comparison.verdicts import BETTER, EQUIVALENT, NOT_ENOUGH, UNDECIDED

# From this many seeds on, a majority that the mean does not show is pointed out.
_MANY, _MOST = 8, 0.8

# A class that differs from the overall difference by this much is named.
_HIDDEN = 0.05

Namer = Callable[[Sequence[dict[Any, Any]]], str]


def describe_caveats(
    cells: pd.DataFrame, name: Namer, recalls: pd.DataFrame | None = None
) -> list[str]:
    """Sentences, the most important first."""
    rows = cells.to_dict("records")
    return [
        *_describe_failures(rows, name),
        *_describe_spread(rows, name),
        *_describe_trials(rows),
        *_describe_cost(rows, name),
        *_describe_worth(cells),
        *_describe_floors(rows, setting_columns(cells), name),
        *([] if recalls is None else _describe_classes(cells, recalls)),
    ]


def _where(rows: list[dict[Any, Any]], name: Namer) -> str:
    return f" {name(rows)}".rstrip()


def _describe_failures(rows: list[dict[Any, Any]], name: Namer) -> Iterator[str]:
    for row in rows:
        if not row["failures"]:
            continue
        text = f"{row['failures']}{_where([row], name)}"
        if np.isfinite(row["worst_difference"]) and row["n"] > 0:
            level = "zero" if row["chance"] == 0 else "chance"
            worst = format_difference(row["metric"], row["worst_difference"])
            text += f"; with each of them at {level} the difference is {worst}"
        if row["overruled"]:
            text += ", so the finished runs alone do not settle it"
        yield f"{text}."


def _describe_spread(rows: list[dict[Any, Any]], name: Namer) -> Iterator[str]:
    """A rare collapse: most seeds agree, and the mean says the opposite or nothing."""
    for row in rows:
        is_most = row["n"] >= _MANY and _MOST <= row["wins"] / row["n"] < 1
        says_nothing = row["difference"] <= (row["margin"] or 0.0)
        if row["verdict"] in (UNDECIDED, EQUIVALENT) and is_most and says_nothing:
            yield (
                f"Seeds differ widely: {name_arm(row['arm'])} is better in {row['wins']} of "
                f"{plural(row['n'], row['unit'])}{_where([row], name)}, and the mean depends "
                "on the few others."
            )


def _describe_trials(rows: list[dict[Any, Any]]) -> Iterator[str]:
    unequal = [
        row
        for row in rows
        if row.get("arm_trials") != row.get("reference_trials") and "arm_trials" in row
    ]
    if unequal:
        row = unequal[0]
        yield (
            f"{name_arm(row['arm']).capitalize()} was tuned over {row['arm_trials']:.0f} settings "
            f"and {name_arm(row['reference'])} over {row['reference_trials']:.0f}: the arm with "
            "more trials has a better chance of finding a good one."
        )


def _describe_cost(rows: list[dict[Any, Any]], name: Namer) -> Iterator[str]:
    """At equal images: what is left if the reference trains for as long as both phases."""
    is_one_contrast = len({(row["arm"], row["reference"]) for row in rows}) == 1
    for row in rows:
        if row["equal_images_n"] > 0 and row["verdict"] not in (NOT_ENOUGH, UNDECIDED):
            difference = format_difference(
                row["metric"],
                row["equal_images_difference"],
                row["equal_images_low"],
                row["equal_images_high"],
            )
            minus = f"{name_arm(row['arm'])} minus {name_arm(row['reference'])}"
            subject = "it" if is_one_contrast else minus
            text = f"at an equal number of images, pretext included, {subject} is {difference}"
            where = _where([row], name).strip()
            yield f"{where[0].upper()}{where[1:]}, {text}." if where else f"A{text[1:]}."


def _describe_worth(cells: pd.DataFrame) -> Iterator[str]:
    """How many labels supervised-only would need for the arm's accuracy."""
    varying = [key for key in setting_columns(cells) if cells[key].nunique(dropna=False) > 1]
    key = find_budget_key(varying)
    if key is None or unit_of(cells["metric"].iloc[0]) is not PERCENT:
        return
    for (arm, reference), part in cells.groupby(["arm", "reference"], sort=False):
        part = part.assign(labels=pd.to_numeric(part[key], errors="coerce")).dropna(
            subset=["labels", "arm_mean", "reference_mean"]
        )
        part = part.sort_values("labels")
        labels, ours, theirs = (
            part[column].to_numpy(float) for column in ("labels", "arm_mean", "reference_mean")
        )
        worth = labels_worth(labels, ours, theirs)
        is_gain = np.isfinite(worth) & (part["verdict"] == BETTER).to_numpy()
        if is_gain.any():
            row = int(np.flatnonzero(is_gain)[-1])
            ours_in_words = name_budgets(key, [f"{labels[row]:g}"])
            theirs_in_words = name_budget(
                key, f"{worth[row]:{'.0f' if key == PER_CLASS else '.2g'}}"
            )
            yield (
                f"{ours_in_words} with {name_arm(str(arm))} are worth about {theirs_in_words} "
                f"with {name_arm(str(reference))}."
            )


def _describe_classes(cells: pd.DataFrame, recalls: pd.DataFrame) -> Iterator[str]:
    """A class whose change the overall difference hides."""
    overall = recalls["cell"].map(cells.set_index("cell")["difference"])
    clear = (recalls["low"] > 0) | (recalls["high"] < 0)
    hidden = recalls[clear & ((recalls["difference"] - overall).abs() >= _HIDDEN)]
    hidden = hidden.sort_values("difference", key=lambda column: -column.abs())
    for row in hidden.head(2).to_dict("records"):
        change = format_difference("_acc", row["difference"], row["low"], row["high"])
        where = f" at {row['cell']}" if len(cells) > 1 else ""
        yield (
            f"Class {row['label']}, {100 * row['share']:.0f} % of the test images, "
            f"changes by {change}{where}."
        )


def _describe_floors(
    rows: list[dict[Any, Any]], settings: Sequence[str], name: Namer
) -> Iterator[str]:
    for floor, called in FLOORS.items():
        # All contrasts of a cell at once: its floor is the same for each of them.
        by_setting: dict[tuple[str, ...], list[dict[Any, Any]]] = {}
        for row in rows:
            if np.isfinite(row.get(f"floor_{floor}", np.nan)) and unit_of(row["metric"]) is PERCENT:
                by_setting.setdefault(tuple(str(row[key]) for key in settings), []).append(row)
        below: dict[str, list[dict[Any, Any]]] = {}
        for part in by_setting.values():
            is_below = {
                row[side]: row[f"{side}_mean"] < row[f"floor_{floor}"]
                for row in part
                for side in ("arm", "reference")
            }
            under = [name_arm(arm) for arm in is_below if is_below[arm]]
            if under:
                everyone = "both arms" if len(under) == 2 else f"all {len(under)} arms"
                who = everyone if len(under) == len(is_below) else join_words(under)
                below.setdefault(who, []).append(part[0])
        for who, found in below.items():
            levels = sorted({f"{100 * row[f'floor_{floor}']:.1f} %" for row in found})
            yield f"{called} is ahead of {who}{_where(found, name)}, at {' and '.join(levels[:4])}."
