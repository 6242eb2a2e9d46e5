"""The answer in words: what a user should do, then the numbers, then what they depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.basis import join_words, plural
from ssl_rot.report.comparison.cell_names import setting_columns
from ssl_rot.report.comparison.contrasts import SUPERVISED, name_arm
from ssl_rot.report.comparison.label_budgets import find_budget_key, name_budgets
from ssl_rot.report.comparison.metrics import Unit, display_name, unit_of
from ssl_rot.report.comparison.verdicts import BETTER, EQUIVALENT, NOT_ENOUGH, UNDECIDED, WORSE
from ssl_rot.report.page.caveats import describe_caveats

Cell = dict[Any, Any]
_MOST_NAMED = 4  # cells in one sentence
_MANY_ARMS = 3  # share a sentence


def write_headline(
    cells: pd.DataFrame,
    planned_seeds: int | None = None,
    recalls: pd.DataFrame | None = None,
    trials: pd.DataFrame | None = None,
) -> list[str]:
    """The sentences of the answer, the first of which can stand alone.

    Args:
        cells: from :func:`ssl_rot.report.comparison.floors.add_floors`.
        planned_seeds: until every cell has as many, the answer is called interim.
        recalls: from :func:`ssl_rot.report.comparison.recalls.compare_recalls`.
        trials: of the selection, if settings were chosen.
    """
    if cells.empty:
        return ["Nothing could be compared."]
    asked = cells[~cells["is_floor"]]
    if asked.empty:
        asked = cells
    sentences: list[str] = []
    finished = asked[asked["n"] > 0]
    if finished.empty:
        sentences.append("No pair of runs finished.")
    elif finished["verdict"].eq(NOT_ENOUGH).all() and finished["arm"].nunique() > 1:
        sentences.append("There are too few seeds for a verdict on any arm; it takes three.")
        finished = finished.iloc[:0]
    for reference, against in finished.groupby("reference", sort=False):
        arms = {
            str(arm): part.to_dict("records") for arm, part in against.groupby("arm", sort=False)
        }
        if len(arms) >= _MANY_ARMS:
            sentences += _advise_on_many(arms, str(reference), _cell_namer(asked))
            continue
        for arm, rows in arms.items():
            sentences += _advise(rows, arm, str(reference), _cell_namer(asked))
    least = int(asked["n"].min())
    if planned_seeds is not None and least < planned_seeds:
        seeds = "1 seed" if least == 1 else f"{least} seeds"
        sentences[0] = f"Interim, after {seeds} of {planned_seeds} planned: {sentences[0]}"
    sentences += describe_caveats(asked, _cell_namer(asked), recalls)
    if trials is not None and asked["arm"].nunique() > 1:
        sentences.append(_name_best_arms(trials))
    return sentences


def _advise(
    rows: list[Cell], arm: str, reference: str, name: Callable[[Sequence[Cell]], str]
) -> list[str]:
    """One sentence of advice, and one of numbers for each kind of verdict."""
    by_verdict = {
        verdict: [row for row in rows if row["verdict"] == verdict]
        for verdict in (BETTER, EQUIVALENT, WORSE, UNDECIDED, NOT_ENOUGH)
    }
    found = {verdict: part for verdict, part in by_verdict.items() if part}
    ours, theirs = name_arm(arm), name_arm(reference)
    rather = "" if reference == SUPERVISED else f" rather than {theirs}"
    use = {
        BETTER: f"use {ours}{rather}",
        EQUIVALENT: f"{ours}{rather} makes no difference that matters",
        WORSE: f"do not use {ours}{rather}",
        UNDECIDED: f"these runs do not settle whether {ours}{rather} helps",
        NOT_ENOUGH: f"there are too few seeds to say whether {ours}{rather} helps",
    }
    parts = [
        use[verdict] if len(part) == len(rows) else f"{name(part)}, {use[verdict]}"
        for verdict, part in found.items()
    ]
    advice = "; ".join(parts)
    numbers = [_state(verdict, part, ours, name, len(rows)) for verdict, part in found.items()]
    return [f"{advice[0].upper()}{advice[1:]}.", *numbers]


def _advise_on_many(
    arms: dict[str, list[Cell]], reference: str, name: Callable[[Sequence[Cell]], str]
) -> list[str]:
    """One sentence of advice on all arms, and one of numbers for each that is better or worse."""
    rather = "" if reference == SUPERVISED else f" rather than {name_arm(reference)}"
    sayings = {
        BETTER: "use {arms}{rather}",
        WORSE: "do not use {arms}{rather}",
        EQUIVALENT: "{arms}{rather} make{s} no difference that matters",
        UNDECIDED: "these runs do not settle whether {arms}{rather} help{s}",
        NOT_ENOUGH: "there are too few seeds to say whether {arms}{rather} help{s}",
    }
    advice, numbers = [], []
    for verdict, saying in sayings.items():
        by_cells: dict[str, list[str]] = {}
        for arm, rows in arms.items():
            part = [row for row in rows if row["verdict"] == verdict]
            if part:
                where = "" if len(part) == len(rows) else f"{name(part)}, "
                by_cells.setdefault(where, []).append(name_arm(arm))
            if part and verdict in (BETTER, WORSE):
                numbers.append(_state(verdict, part, name_arm(arm), name, len(rows)))
        for where, named in by_cells.items():
            named_as = join_words(named, "or" if verdict in (BETTER, WORSE) else "and")
            ending = "s" if len(named) == 1 else ""
            advice.append(where + saying.format(arms=named_as, rather=rather, s=ending))
    text = "; ".join(advice)
    return [f"{text[0].upper()}{text[1:]}.", *numbers]


def _state(
    verdict: str,
    part: list[Cell],
    ours: str,
    name: Callable[[Sequence[Cell]], str],
    total: int,
) -> str:
    """The numbers of the cells with one verdict."""
    metric = part[0]["metric"]
    unit = unit_of(metric)
    where = f" {name(part)}" if total > 1 else ""
    sign = {BETTER: 1, WORSE: -1}.get(verdict)
    if len(part) > _MOST_NAMED:
        values = sorted(unit.factor * row["difference"] for row in part)
        low, high = (f"{value:+.{unit.digits - 1}f}" for value in (values[0], values[-1]))
        numbers = f"between {low} and {high} {_points(unit)}"
    else:
        numbers = join_words([_number(row, unit, sign) for row in part])
    of_metric = f" of {display_name(metric)}"
    if verdict == NOT_ENOUGH:
        counts = join_words(sorted({plural(row["n"], row["unit"]) for row in part}))
        return (
            f"The difference{where} is {numbers}{of_metric} over {counts}; a verdict takes three."
        )
    if verdict in (BETTER, WORSE):
        word = "gains" if (verdict == BETTER) == metric.endswith("_acc") else "loses"
        word = "changes" if not metric.endswith("_acc") else word
        units = {plural(row["n"], row["unit"]) for row in part}
        over = f" over {units.pop()}" if len(units) == 1 else ""
        doubtful = [row for row in part if not row["beyond_margin"]]
        doubt = ""
        if doubtful and np.isfinite(part[0]["margin"]):
            whose = "that" if len(doubtful) == len(part) else f"{name(doubtful)} it"
            doubt = f"; {whose} may be less than {_margin(part[0])}"
        return f"{ours.capitalize()} {word} {numbers}{of_metric}{where}{over}{doubt}."
    if verdict == EQUIVALENT:
        return f"The difference{where} is less than {_margin(part[0])}: {numbers}{of_metric}."
    if len(part) > _MOST_NAMED or any(row["overruled"] for row in part):
        return f"The difference{where} is {numbers}{of_metric}."
    of = _margin(part[0]) if np.isfinite(part[0]["margin"]) else "that size"
    needed = [
        f"{_seeds_needed(row)} {name([row]) if len(part) > 1 else ''}".rstrip()
        for row in part
        if np.isfinite(row["seeds_needed"])
    ]
    stuck = [row for row in part if not np.isfinite(row["seeds_needed"])]
    if needed:
        settle = f"Finding a difference of {of} would take {join_words(needed)}"
        if stuck:
            settle += f"; {name(stuck)}, more seeds would not be enough: it takes more test images"
    else:
        settle = f"With these test images, no number of seeds would find a difference of {of}"
    return f"The difference{where} is {numbers}{of_metric}. {settle}."


def _number(row: Cell, unit: Unit, sign: int | None) -> str:
    """``8.7 points [5.1, 12.3]``: of a gain or a loss as an amount, else with its sign."""
    digits = unit.digits - 1
    mark = "+" if sign is None else ""
    factor = unit.factor * (sign or 1)
    ends = sorted((factor * row["low"], factor * row["high"]))
    text = f"{factor * row['difference']:{mark}.{digits}f} {_points(unit)}"
    if np.isfinite(ends).all():
        text += f" [{ends[0]:{mark}.{digits}f}, {ends[1]:{mark}.{digits}f}]"
    return text


def _points(unit: Unit) -> str:
    return "points" if unit.of_difference == "percentage points" else "units"


def _margin(row: Cell) -> str:
    points = 100 * row["margin"]
    return "a point" if np.isclose(points, 1) else f"{points:g} points"


def _seeds_needed(row: Cell) -> str:
    """``28 seeds [14, 244]``."""
    high = row["seeds_needed_high"]
    top = f"{high:.0f}" if np.isfinite(high) else "more than can be run"
    return f"{row['seeds_needed']:.0f} {row['unit']}s [{row['seeds_needed_low']:.0f}, {top}]"


def _name_best_arms(trials: pd.DataFrame) -> str:
    """Which arm is best on the validation images, which no test accuracy enters."""
    best: dict[str, list[str]] = {}
    for cell, part in trials[trials["is_chosen"]].groupby("cell", sort=False):
        tied = np.isclose(part["val_mean"], part["val_mean"].max())
        best[str(cell)] = [name_arm(arm) for arm in part["arm"][tied]]
    first = next(iter(best.values()))
    if all(arms == first for arms in best.values()):
        is_best = "is the best arm" if len(first) == 1 else "are the best arms"
        return f"On validation images {join_words(first)} {is_best}."
    parts = [f"{join_words(arms)} at {cell}" for cell, arms in best.items()]
    return f"On validation images the best arms are {join_words(parts[:_MOST_NAMED])}."


def _cell_namer(asked: pd.DataFrame) -> Callable[[Sequence[Cell]], str]:
    """How cells are called in a sentence: ``with 1 or 5 labels per class``, ``at lr=0.1``.

    Their arms aside; nothing if the cells differ in nothing else.
    """
    varying = [key for key in setting_columns(asked) if asked[key].nunique(dropna=False) > 1]
    budget = find_budget_key(varying)
    settings = asked["cell"].str.rpartition(": ")[2].nunique()

    def name(rows: Sequence[Cell]) -> str:
        if not varying:
            return ""
        if budget is not None:
            return f"with {name_budgets(budget, [str(row[budget]) for row in rows])}"
        names = [row["cell"].rpartition(": ")[2] for row in rows]
        if len(names) > _MOST_NAMED:
            return f"in {len(names)} of {settings} cells"
        return f"at {join_words(names)}"

    return name
