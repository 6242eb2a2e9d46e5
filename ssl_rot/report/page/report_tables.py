"""The tables of the report, with rounded numbers and an explanation of each column."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.cell_names import find_cell_rows, setting_columns
from ssl_rot.report.comparison.contrasts import (
    contrasts_of,
    name_arm,
    name_difference,
    name_sides,
    name_verdict,
)
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
        Column("verdict", "at the 5 % level, Holm-adjusted over the cells", _verdict_cell),
        Column("difference", f"mean of {name_difference(cells)}, with its 95 % t interval",
               lambda row: TableCell(format_difference(row), row["difference"])),
        text_column("basis", "what the verdict is based on", "basis"),
    ]  # fmt: skip
    return Table.from_frame(cells.assign(number=range(1, len(cells) + 1)), columns)


def number_table(cells: pd.DataFrame) -> Table:
    """All numbers of each cell."""
    if cells.empty:
        return EMPTY
    unit = unit_of(cells["metric"].iloc[0])
    arm, reference = name_sides(cells)
    columns = [
        number_column("#", "number of the cell in the figures", "number"),
        *_contrast_columns(cells),
        *(text_column(key, "config key", key) for key in setting_columns(cells)),
        number_column("seeds", "number of different seeds", "n"),
        Column(f"{reference}{unit.suffix}", "mean and standard deviation over seeds",
               lambda row: _mean_cell(row["reference_mean"], row["reference_sd"], unit)),
        Column(f"{arm}{unit.suffix}", "mean and standard deviation over seeds",
               lambda row: _mean_cell(row["arm_mean"], row["arm_sd"], unit)),
        number_column(f"difference ({unit.of_difference})",
                      f"mean of the paired differences, {name_difference(cells)}",
                      "difference", unit, signed=True),
        Column("95 % interval", "Student's t interval of the mean difference",
               lambda row: _interval_cell(row, unit)),
        Column("wins", f"seeds for which {arm} is better",
               lambda row: TableCell(f"{row['wins']} of {row['n']}", row["wins"] / row["n"])),
        p_column("p", "paired t test, two-sided", "p"),
        p_column("p, Holm", "the same, adjusted over the cells; the verdict uses this one",
                 "p_holm"),
        p_column("sign-flip p", "exact test that does not assume a normal distribution",
                 "p_sign_flip"),
        p_column("sign-flip p, Holm", "the same, adjusted over the cells", "p_sign_flip_holm"),
        Column("epochs to match",
               f"median epoch at which {arm} reaches the final value of {reference}",
               lambda row: _epochs_cell(row["epochs_to_match"])),
        number_column(f"{reference} epochs", f"downstream epochs of {reference}",
                      "reference_epochs"),
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
        *(_costs_column(f"downstream {cost}", f"{reference} and {arm}",
                        f"reference_{cost}", f"arm_{cost}")
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
    arm, reference = name_sides(cells)
    columns = [
        number_column("#", "number of the cell", "number"),
        text_column("seed", "", "seed"),
        Column(f"{arm} run", "name and MLflow run id",
               lambda row: text_cell(_identify_run(row, "arm"))),
        Column(f"{reference} run", "name and MLflow run id",
               lambda row: text_cell(_identify_run(row, "reference"))),
        number_column(f"{arm}{unit.suffix}", value, "arm_value", unit),
        number_column(f"{reference}{unit.suffix}", value, "reference_value", unit),
        number_column(f"difference ({unit.of_difference})", "", "difference", unit, signed=True),
        Column("threads", f"of torch on the CPU, {arm} and {reference}; their number changes "
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


def _contrast_columns(cells: pd.DataFrame) -> list[Column]:
    """The arms, if there are several contrasts."""
    if len(contrasts_of(cells)) == 1:
        return []
    sides = ["arm"] if cells["reference"].nunique() == 1 else ["arm", "reference"]

    def column(side: str) -> Column:
        return Column(side, "by its pretext", lambda row: text_cell(name_arm(row[side])))

    return [column(side) for side in sides]


def _verdict_cell(row: Row) -> TableCell:
    """Sorted by the verdict itself, in which ``better`` is the arm's."""
    name = name_verdict(row["verdict"], row["arm"], row["reference"])
    return TableCell(name, row["verdict"], is_number=False)


def _identify_run(row: Row, side: str) -> str:
    return f"{row[f'{side}_run_name']} · {row[f'{side}_run_id']}"


def _identify_runs(row: Row) -> str:
    """A run without a partner, or both runs of a refused pair."""
    return "; ".join(
        f"{name_arm(row[side])}: {_identify_run(row, side)}"
        for side in ("arm", "reference")
        if isinstance(row[f"{side}_run_id"], str)
    )


def _format_threads(row: Row) -> str:
    counts = [row["arm_threads"], row["reference_threads"]]
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
