"""The report's tables in words and rounded numbers, for the terminal, Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.inference import VERDICTS
from ssl_rot.report.comparison.naming import cell_of, setting_keys
from ssl_rot.report.comparison.reasons import ARMS
from ssl_rot.report.comparison.settings import spoken, unit
from ssl_rot.report.page.table import NONE, Cell, Table, number_cell, p_cell, text_cell

_COSTS = ("images", "seconds")


def headline(cells: pd.DataFrame) -> str:
    """The answer in a sentence or two."""
    if cells.empty:
        return "Nothing could be compared."
    counts = cells["verdict"].value_counts()
    if len(cells) == 1:
        row = cells.iloc[0]
        said = {
            VERDICTS[0]: "Rotation is better",
            VERDICTS[1]: "Supervised-only is better",
            VERDICTS[2]: "No clear difference",
            VERDICTS[3]: "Not enough runs for a verdict",
        }[row["verdict"]]
        return f"{said}: {difference(row)} of {spoken(row['metric'])} over {row['n']} seeds."
    parts = [f"{verdict} in {counts[verdict]}" for verdict in VERDICTS if verdict in counts]
    line = f"{'; '.join(parts)} of {len(cells)} cells."
    return line[0].upper() + line[1:]


def difference(row: pd.Series[Any]) -> str:
    """``+3.1 points [1.2, 5.0]``."""
    factor, _ = unit(row["metric"])
    digits = 1 if factor > 1 else 3
    interval = ""
    if np.isfinite(row["low"]):
        ends = (f"{factor * row[end]:+.{digits}f}" for end in ("low", "high"))
        interval = f" [{', '.join(ends)}]"
    points = " points" if factor > 1 else ""
    return f"{factor * row['difference']:+.{digits}f}{points}{interval}"


def verdict_table(cells: pd.DataFrame) -> Table:
    """The short table: what came out in each cell and what it rests on."""
    columns = [
        ("#", "as in the figures"),
        ("cell", "what is alike in all of its pairs but for the seed"),
        ("verdict", "at 5 %, Holm-adjusted over the cells"),
        ("difference", "mean of rotation less supervised-only, with its 95 % t interval"),
        ("basis", "what the verdict rests on"),
    ]
    rows = [
        [
            Cell(str(number), number),
            text_cell(row["cell"]),
            text_cell(row["verdict"]),
            Cell(difference(row), row["difference"]),
            text_cell(row["basis"]),
        ]
        for number, (_, row) in enumerate(cells.iterrows(), start=1)
    ]
    return Table(columns, rows)


def number_table(cells: pd.DataFrame) -> Table:
    """All numbers of each cell."""
    factor, points = unit(cells["metric"].iloc[0])
    percent = "%" if factor > 1 else ""
    keys = setting_keys(cells)
    columns = [
        ("#", "as in the figures"),
        *((key, "config key") for key in keys),
        ("seeds", "pairs with different seeds"),
        (f"supervised-only{' (%)' * bool(percent)}", "mean and standard deviation over seeds"),
        (f"rotation{' (%)' * bool(percent)}", "mean and standard deviation over seeds"),
        (f"difference ({points})", "mean of the paired differences"),
        ("95 % interval", "Student's t, of the paired differences"),
        ("wins", "seeds where rotation is better"),
        ("p", "paired t test, two-sided"),
        ("p, Holm", "the same, adjusted over the cells: the verdict's"),
        ("sign-flip p", "exact, assumes no distribution"),
        ("sign-flip p, Holm", "the same, adjusted over the cells"),
        ("epochs to match", "median epoch at which rotation reaches the supervised-only arm's end"),
        ("of epochs", "that the supervised-only arm took"),
        (f"at equal images ({points})", "difference when both arms have processed equally many "
         "images, pretext included, and are at their ends; in brackets the seeds with such runs"),
        ("pretext accuracy (%)", "on the turned test images"),
        ("pretext images", "whole cost, and divided by the runs that started from it"),
        ("pretext seconds", "whole cost, and divided by the runs that started from it"),
        ("downstream images", "supervised-only and rotation"),
        ("downstream seconds", "supervised-only and rotation"),
    ]  # fmt: skip
    rows = []
    for number, (_, row) in enumerate(cells.iterrows(), start=1):
        rows.append(
            [
                Cell(str(number), number),
                *(text_cell(row[key]) for key in keys),
                number_cell(row["n"], 0),
                *(_mean_sd(row, arm, factor) for arm in ("supervised", "rotation")),
                number_cell(factor * row["difference"], 2 if factor > 1 else 4, sign=True),
                _interval(factor * row["low"], factor * row["high"], 2 if factor > 1 else 4),
                Cell(f"{row['wins']} of {row['n']}", row["wins"] / row["n"]),
                *(p_cell(row[k]) for k in ("p", "p_holm", "p_sign_flip", "p_sign_flip_holm")),
                _epochs(row["epochs_to_match"]),
                number_cell(row["supervised_epochs"], 0),
                _at_equal(row, factor),
                number_cell(100 * row["pretext_acc"], 1),
                *(_two(row[f"pretext_{c}"], row[f"pretext_{c}_shared"]) for c in _COSTS),
                *(_two(row[f"supervised_{c}"], row[f"rotation_{c}"]) for c in _COSTS),
            ]
        )
    return Table(columns, rows)


def pair_table(pairs: pd.DataFrame, cells: pd.DataFrame, most: int) -> Table:
    """The pairs by cell, the first ``most`` of them."""
    compared = pairs[pairs["left_out"] == ""]
    rows_of = cell_of(compared, cells).sort_values(kind="stable").head(most) + 1
    compared = compared.loc[rows_of.index].assign(number=rows_of)
    metric = pairs["metric"].iloc[0]
    factor, points = unit(metric)
    digits = 2 if factor > 1 else 4
    columns = [
        ("#", "number of the cell"),
        ("seed", ""),
        ("rotation run", "name and MLflow run id"),
        ("supervised-only run", "name and MLflow run id"),
        (f"rotation{' (%)' if factor > 1 else ''}", spoken(metric) + ", last epoch"),
        (f"supervised-only{' (%)' if factor > 1 else ''}", spoken(metric) + ", last epoch"),
        (f"difference ({points})", ""),
    ]
    rows = [
        [
            number_cell(row["number"], 0),
            text_cell(row["seed"]),
            text_cell(f"{row['rotation_run_name']} · {row['rotation_run_id']}"),
            text_cell(f"{row['supervised_run_name']} · {row['supervised_run_id']}"),
            number_cell(factor * row["rotation"], digits),
            number_cell(factor * row["supervised"], digits),
            number_cell(factor * row["difference"], digits, sign=True),
        ]
        for row in compared.to_dict("records")
    ]
    return Table(columns, rows)


def left_out_table(pairs: pd.DataFrame, cells: pd.DataFrame) -> Table:
    """What is not compared, and why: runs, refused pairs, and cells with one seed."""
    columns = [("what", "name and MLflow run id"), ("seed", ""), ("why", "")]
    rows = []
    for row in pairs[pairs["left_out"] != ""].to_dict("records"):
        names = [
            f"{spoken_arm}: {row[f'{arm}_run_name']} · {row[f'{arm}_run_id']}"
            for arm, spoken_arm in ARMS.items()
            if isinstance(row[f"{arm}_run_id"], str)
        ]
        rows.append(
            [text_cell("; ".join(names)), text_cell(row["seed"]), text_cell(row["left_out"])]
        )
    rows += [
        [text_cell(f"cell: {name}"), text_cell(""), text_cell("fewer than two pairs")]
        for name in cells.loc[cells["n"] < 2, "cell"]
    ]
    return Table(columns, rows)


def counted(values: Iterable[object]) -> list[tuple[str, int]]:
    """Different values and how often each occurs, the most frequent first."""
    counts = pd.Series([str(value) for value in values], dtype=object).value_counts()
    return [(str(value), int(count)) for value, count in counts.items()]


def _mean_sd(row: pd.Series[Any], arm: str, factor: float) -> Cell:
    digits = 2 if factor > 1 else 4
    mean, sd = factor * row[f"{arm}_mean"], factor * row[f"{arm}_sd"]
    return Cell(f"{mean:.{digits}f}" + (f" ± {sd:.{digits}f}" if np.isfinite(sd) else ""), mean)


def _interval(low: float, high: float, digits: int) -> Cell:
    if np.isnan(low):
        return NONE
    return Cell(f"[{low:+.{digits}f}, {high:+.{digits}f}]", low)


def _epochs(value: float) -> Cell:
    return Cell("never", float("inf")) if np.isposinf(value) else number_cell(value, 0)


def _at_equal(row: pd.Series[Any], factor: float) -> Cell:
    if row["equal_images_n"] == 0:
        return NONE
    digits = 2 if factor > 1 else 4
    value = factor * row["equal_images_difference"]
    return Cell(f"{value:+.{digits}f} ({row['equal_images_n']})", value)


def _two(one: float, other: float) -> Cell:
    if not np.isfinite(one):
        return NONE
    return Cell(" / ".join(f"{v:,.0f}" if np.isfinite(v) else "—" for v in (one, other)), one)
