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
    number_column,
    p_column,
    text_cell,
    text_column,
)

EMPTY = Table([], [])


def verdict_table(cells: pd.DataFrame) -> Table:
    """The short table: the verdict of each cell and what it is based on."""
    if cells.empty:
        return EMPTY
    columns = [
        number_column("#", "number of the cell in the figures", "number"),
        text_column("cell", "the settings that its pairs share", "cell"),
        text_column("verdict", "at the 5 % level, Holm-adjusted over the cells", "verdict"),
        Column("difference", "mean of rotation minus supervised-only, with its 95 % t interval",
               lambda row: TableCell(format_difference(row), row["difference"])),
        text_column("basis", "what the verdict is based on", "basis"),
    ]  # fmt: skip
    return Table.from_frame(cells.assign(number=range(1, len(cells) + 1)), columns)


def number_table(cells: pd.DataFrame) -> Table:
    """All numbers of each cell."""
    if cells.empty:
        return EMPTY
    unit = unit_of(cells["metric"].iloc[0])
    columns = [
        number_column("#", "number of the cell in the figures", "number"),
        *(text_column(key, "config key", key) for key in setting_columns(cells)),
        number_column("seeds", "number of different seeds", "n"),
        Column(f"supervised-only{unit.suffix}", "mean and standard deviation over seeds",
               lambda row: _mean_cell(row["supervised_mean"], row["supervised_sd"], unit)),
        Column(f"rotation{unit.suffix}", "mean and standard deviation over seeds",
               lambda row: _mean_cell(row["rotation_mean"], row["rotation_sd"], unit)),
        number_column(f"difference ({unit.of_difference})",
                      "mean of the paired differences, rotation minus supervised-only",
                      "difference", unit, signed=True),
        Column("95 % interval", "Student's t interval of the mean difference",
               lambda row: _interval_cell(row, unit)),
        Column("wins", "seeds for which rotation is better",
               lambda row: TableCell(f"{row['wins']} of {row['n']}", row["wins"] / row["n"])),
        p_column("p", "paired t test, two-sided", "p"),
        p_column("p, Holm", "the same, adjusted over the cells; the verdict uses this one",
                 "p_holm"),
        p_column("sign-flip p", "exact test that does not assume a normal distribution",
                 "p_sign_flip"),
        p_column("sign-flip p, Holm", "the same, adjusted over the cells", "p_sign_flip_holm"),
        Column("epochs to match",
               "median epoch at which rotation reaches the final value of supervised-only",
               lambda row: _epochs_cell(row["epochs_to_match"])),
        number_column("supervised-only epochs", "downstream epochs of supervised-only",
                      "supervised_epochs"),
        Column(f"at equal images ({unit.of_difference})",
               "difference when both arms have processed the same number of images, pretext "
               "included, and both are at the end of their training; in parentheses the seeds with "
               "such runs",
               lambda row: _equal_images_cell(row, unit)),
        Column("pretext accuracy (%)", "on the rotated test images",
               lambda row: number_cell(100 * row["pretext_acc"], 1)),
        *(_costs_column(f"pretext {cost}",
                        "total, and divided by the number of runs that started from it",
                        f"pretext_{cost}", f"pretext_{cost}_shared")
          for cost in ("images", "seconds")),
        *(_costs_column(f"downstream {cost}", "supervised-only and rotation",
                        f"supervised_{cost}", f"rotation_{cost}")
          for cost in ("images", "seconds")),
    ]  # fmt: skip
    return Table.from_frame(cells.assign(number=range(1, len(cells) + 1)), columns)


def pair_table(pairs: pd.DataFrame, cells: pd.DataFrame, most: int) -> Table:
    """The first ``most`` pairs, sorted by cell."""
    if cells.empty:
        return EMPTY
    compared = pairs[pairs["left_out"] == ""]
    numbers = find_cell_rows(compared, cells).sort_values(kind="stable").head(most) + 1
    metric = pairs["metric"].iloc[0]
    unit = unit_of(metric)
    value = f"{display_name(metric)} at the last epoch"
    columns = [
        number_column("#", "number of the cell", "number"),
        text_column("seed", "", "seed"),
        Column("rotation run", "name and MLflow run id",
               lambda row: text_cell(_identify_run(row, "rotation"))),
        Column("supervised-only run", "name and MLflow run id",
               lambda row: text_cell(_identify_run(row, "supervised"))),
        number_column(f"rotation{unit.suffix}", value, "rotation", unit),
        number_column(f"supervised-only{unit.suffix}", value, "supervised", unit),
        number_column(f"difference ({unit.of_difference})", "", "difference", unit, signed=True),
        Column("threads", "of torch on the CPU, rotation and supervised-only; their number changes "
               "how sums are rounded, and with that the result",
               lambda row: text_cell(_format_threads(row))),
        text_column("remark", "what may disturb the comparison", "remark"),
    ]  # fmt: skip
    table = Table.from_frame(compared.loc[numbers.index].assign(number=numbers), columns)
    return Table(columns, table.rows, hidden=len(compared) - len(table.rows))


def left_out_table(pairs: pd.DataFrame) -> Table:
    """The runs and pairs that are not compared, and why."""
    columns = [
        Column("what", "name and MLflow run id", lambda row: text_cell(_identify_runs(row))),
        text_column("seed", "", "seed"),
        text_column("why", "", "left_out"),
    ]
    return Table.from_frame(pairs[pairs["left_out"] != ""], columns)


def published_table(results: pd.DataFrame) -> Table:
    """The results of :func:`~ssl_rot.report.comparison.published.against_published`."""
    columns = [
        text_column("setting", "as named in published.csv", "setting"),
        number_column("published (%)",
                      "RotNet: Gidaris et al., ICLR 2018; survey: as reported by a later survey",
                      "published", PERCENT),
        text_column("source", "", "source"),
        Column("here (%)", "last epoch, mean and standard deviation over seeds",
               lambda row: _mean_cell(row["mean"], row["sd"], PERCENT)),
        number_column("seeds", "", "n"),
        text_column("deviations", "in which settings these runs differ from the published recipe",
                    "otherwise"),
    ]  # fmt: skip
    return Table.from_frame(results, columns)


def count_values(values: Iterable[object]) -> list[tuple[str, int]]:
    """The different values and how often each occurs, the most frequent first."""
    counts = pd.Series([str(value) for value in values], dtype=object).value_counts()
    return [(str(value), int(count)) for value, count in counts.items()]


def _identify_run(row: Row, arm: str) -> str:
    return f"{row[f'{arm}_run_name']} · {row[f'{arm}_run_id']}"


def _identify_runs(row: Row) -> str:
    """A run without a partner, or both runs of a refused pair."""
    return "; ".join(
        f"{name}: {_identify_run(row, arm)}"
        for arm, name in ARM_NAMES.items()
        if isinstance(row[f"{arm}_run_id"], str)
    )


def _format_threads(row: Row) -> str:
    counts = [row[f"{arm}_threads"] for arm in ARM_NAMES]
    return "" if pd.isna(counts).all() else " / ".join(map(str, counts))


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


def _costs_column(heading: str, meaning: str, first: str, second: str) -> Column:
    """The numbers of two columns of the DataFrame; sorted by the first."""

    def cell(row: Row) -> TableCell:
        if not np.isfinite(row[first]):
            return MISSING
        return TableCell(
            " / ".join(number_cell(row[key]).text for key in (first, second)), row[first]
        )

    return Column(heading, meaning, cell)
