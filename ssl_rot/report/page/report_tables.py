"""The tables of the report, with rounded numbers and an explanation of each column."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.cell_names import find_cell_rows, setting_columns
from ssl_rot.report.comparison.columns import ARM_NAMES
from ssl_rot.report.comparison.metrics import PERCENT, Unit, display_name, unit_of
from ssl_rot.report.page.headline import format_difference
from ssl_rot.report.page.table import (
    MISSING,
    Column,
    Row,
    Table,
    TableCell,
    number_cell,
    p_cell,
    text_cell,
)

EMPTY = Table([], [])


def verdict_table(cells: pd.DataFrame) -> Table:
    """The short table: the verdict of each cell and what it is based on."""
    if cells.empty:
        return EMPTY
    columns = [
        Column("#", "number of the cell in the figures", lambda row: number_cell(row["number"])),
        Column("cell", "the settings that its pairs share", lambda row: text_cell(row["cell"])),
        Column("verdict", "at the 5 % level, Holm-adjusted over the cells",
               lambda row: text_cell(row["verdict"])),
        Column("difference", "mean of rotation minus supervised-only, with its 95 % t interval",
               lambda row: TableCell(format_difference(row), row["difference"])),
        Column("basis", "what the verdict is based on", lambda row: text_cell(row["basis"])),
    ]  # fmt: skip
    return Table.from_frame(_number_rows(cells), columns)


def number_table(cells: pd.DataFrame) -> Table:
    """All numbers of each cell."""
    if cells.empty:
        return EMPTY
    unit = unit_of(cells["metric"].iloc[0])
    columns = [
        Column("#", "number of the cell in the figures", lambda row: number_cell(row["number"])),
        *(_setting_column(key) for key in setting_columns(cells)),
        Column("seeds", "number of different seeds", lambda row: number_cell(row["n"])),
        Column(f"supervised-only{unit.suffix}", "mean and standard deviation over seeds",
               lambda row: _mean_cell(row["supervised_mean"], row["supervised_sd"], unit)),
        Column(f"rotation{unit.suffix}", "mean and standard deviation over seeds",
               lambda row: _mean_cell(row["rotation_mean"], row["rotation_sd"], unit)),
        Column(
            f"difference ({unit.of_difference})",
            "mean of the paired differences, rotation minus supervised-only",
            lambda row: number_cell(unit.factor * row["difference"], unit.digits, signed=True),
        ),
        Column("95 % interval", "Student's t interval of the mean difference",
               lambda row: _interval_cell(row, unit)),
        Column("wins", "seeds for which rotation is better",
               lambda row: TableCell(f"{row['wins']} of {row['n']}", row["wins"] / row["n"])),
        Column("p", "paired t test, two-sided", lambda row: p_cell(row["p"])),
        Column("p, Holm", "the same, adjusted over the cells; the verdict uses this one",
               lambda row: p_cell(row["p_holm"])),
        Column("sign-flip p", "exact test that does not assume a normal distribution",
               lambda row: p_cell(row["p_sign_flip"])),
        Column("sign-flip p, Holm", "the same, adjusted over the cells",
               lambda row: p_cell(row["p_sign_flip_holm"])),
        Column(
            "epochs to match",
            "median epoch at which rotation reaches the final value of supervised-only",
            lambda row: _epochs_cell(row["epochs_to_match"]),
        ),
        Column("of epochs", "number of epochs that supervised-only was trained for",
               lambda row: number_cell(row["supervised_epochs"])),
        Column(
            f"at equal images ({unit.of_difference})",
            "difference when both arms have processed the same number of images, pretext included, "
            "and both are at the end of their training; in parentheses the seeds with such runs",
            lambda row: _equal_images_cell(row, unit),
        ),
        Column("pretext accuracy (%)", "on the rotated test images",
               lambda row: number_cell(100 * row["pretext_acc"], 1)),
        Column("pretext images", "total, and divided by the number of runs that started from it",
               lambda row: _two_numbers_cell(row, "pretext_images", "pretext_images_shared")),
        Column("pretext seconds", "total, and divided by the number of runs that started from it",
               lambda row: _two_numbers_cell(row, "pretext_seconds", "pretext_seconds_shared")),
        Column("downstream images", "supervised-only and rotation",
               lambda row: _two_numbers_cell(row, "supervised_images", "rotation_images")),
        Column("downstream seconds", "supervised-only and rotation",
               lambda row: _two_numbers_cell(row, "supervised_seconds", "rotation_seconds")),
    ]  # fmt: skip
    return Table.from_frame(_number_rows(cells), columns)


def pair_table(pairs: pd.DataFrame, cells: pd.DataFrame, most: int) -> Table:
    """The first ``most`` pairs, sorted by cell."""
    if cells.empty:
        return EMPTY
    compared = pairs[pairs["left_out"] == ""]
    numbers = find_cell_rows(compared, cells).sort_values(kind="stable").head(most) + 1
    metric = pairs["metric"].iloc[0]
    unit = unit_of(metric)
    columns = [
        Column("#", "number of the cell", lambda row: number_cell(row["number"])),
        Column("seed", "", lambda row: text_cell(row["seed"])),
        Column("rotation run", "name and MLflow run id",
               lambda row: text_cell(_identify_run(row, "rotation"))),
        Column("supervised-only run", "name and MLflow run id",
               lambda row: text_cell(_identify_run(row, "supervised"))),
        Column(f"rotation{unit.suffix}", f"{display_name(metric)} at the last epoch",
               lambda row: number_cell(unit.factor * row["rotation"], unit.digits)),
        Column(f"supervised-only{unit.suffix}", f"{display_name(metric)} at the last epoch",
               lambda row: number_cell(unit.factor * row["supervised"], unit.digits)),
        Column(f"difference ({unit.of_difference})", "",
               lambda row: number_cell(unit.factor * row["difference"], unit.digits, signed=True)),
    ]  # fmt: skip
    table = Table.from_frame(compared.loc[numbers.index].assign(number=numbers), columns)
    return Table(columns, table.rows, hidden=len(compared) - len(table.rows))


def left_out_table(pairs: pd.DataFrame, cells: pd.DataFrame) -> Table:
    """What is not compared, and why: runs, refused pairs, and cells with a single seed."""
    rows = [
        {"what": _identify_runs(row), "seed": row["seed"], "why": row["left_out"]}
        for row in pairs[pairs["left_out"] != ""].to_dict("records")
    ]
    rows += [
        {"what": f"cell: {name}", "seed": "", "why": "fewer than two pairs"}
        for name in cells.loc[cells["n"] < 2, "cell"]
    ]
    columns = [
        Column("what", "name and MLflow run id", lambda row: text_cell(row["what"])),
        Column("seed", "", lambda row: text_cell(row["seed"])),
        Column("why", "", lambda row: text_cell(row["why"])),
    ]  # fmt: skip
    return Table.from_frame(pd.DataFrame(rows), columns)


def published_table(results: pd.DataFrame) -> Table:
    """The results of :func:`~ssl_rot.report.comparison.published.against_published`."""
    columns = [
        Column("setting", "as named in published.csv", lambda row: text_cell(row["setting"])),
        Column(
            "published (%)",
            "RotNet: Gidaris et al., ICLR 2018; survey: as reported by a later survey",
            lambda row: number_cell(100 * row["published"], 2),
        ),
        Column("source", "", lambda row: text_cell(row["source"])),
        Column("here (%)", "last epoch, mean and standard deviation over seeds",
               lambda row: _mean_cell(row["mean"], row["sd"], PERCENT)),
        Column("seeds", "", lambda row: number_cell(row["n"])),
        Column("deviations", "in which settings these runs differ from the published recipe",
               lambda row: text_cell(row["otherwise"])),
    ]  # fmt: skip
    return Table.from_frame(results, columns)


def count_values(values: Iterable[object]) -> list[tuple[str, int]]:
    """The different values and how often each occurs, the most frequent first."""
    counts = pd.Series([str(value) for value in values], dtype=object).value_counts()
    return [(str(value), int(count)) for value, count in counts.items()]


def _number_rows(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.assign(number=range(1, len(cells) + 1))


def _setting_column(key: str) -> Column:
    return Column(key, "config key", lambda row: text_cell(row[key]))


def _identify_run(row: Row, arm: str) -> str:
    return f"{row[f'{arm}_run_name']} · {row[f'{arm}_run_id']}"


def _identify_runs(row: Row) -> str:
    """A run without a partner, or both runs of a refused pair."""
    return "; ".join(
        f"{name}: {_identify_run(row, arm)}"
        for arm, name in ARM_NAMES.items()
        if isinstance(row[f"{arm}_run_id"], str)
    )


def _mean_cell(mean: float, sd: float, unit: Unit) -> TableCell:
    text = f"{unit.factor * mean:.{unit.digits}f}"
    if np.isfinite(sd):
        text += f" ± {unit.factor * sd:.{unit.digits}f}"
    return TableCell(text, mean)


def _interval_cell(row: Row, unit: Unit) -> TableCell:
    if np.isnan(row["low"]):
        return MISSING
    low, high = (f"{unit.factor * row[end]:+.{unit.digits}f}" for end in ("low", "high"))
    return TableCell(f"[{low}, {high}]", row["low"])


def _epochs_cell(epochs: float) -> TableCell:
    return TableCell("never", float("inf")) if np.isposinf(epochs) else number_cell(epochs)


def _equal_images_cell(row: Row, unit: Unit) -> TableCell:
    if row["equal_images_n"] == 0:
        return MISSING
    value = unit.factor * row["equal_images_difference"]
    return TableCell(f"{value:+.{unit.digits}f} ({row['equal_images_n']})", value)


def _two_numbers_cell(row: Row, first: str, second: str) -> TableCell:
    """The numbers of two columns; sorted by the first."""
    if not np.isfinite(row[first]):
        return MISSING
    text = f"{number_cell(row[first]).text} / {number_cell(row[second]).text}"
    return TableCell(text, row[first])
