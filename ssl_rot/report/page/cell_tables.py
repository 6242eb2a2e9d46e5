"""The tables of cells: the verdicts, and all numbers behind them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.basis import plural
from ssl_rot.report.comparison.cell_names import setting_columns
from ssl_rot.report.comparison.contrasts import (
    contrasts_of,
    name_arm,
    name_difference,
    name_sides,
    name_verdict,
)
from ssl_rot.report.comparison.floors import FLOORS
from ssl_rot.report.comparison.metrics import (
    PERCENT,
    Unit,
    format_difference,
    unit_of,
)
from ssl_rot.report.page.table import (
    EMPTY,
    MISSING,
    Column,
    Row,
    Table,
    TableCell,
    mean_cell,
    number_cell,
    number_column,
    p_column,
    text_cell,
    text_column,
)


def verdict_table(cells: pd.DataFrame) -> Table:
    """The short table: the verdict of each cell and what it is based on."""
    if cells.empty:
        return EMPTY
    columns = [
        number_column("#", "number of the cell in the figures", "number"),
        text_column("cell", "the settings that its pairs share", "cell"),
        Column("verdict", "at the 5 % level, Holm-adjusted over the cells", _verdict_cell),
        Column("difference",
               f"mean of {name_difference(cells)}, with the 95 % interval of this cell alone",
               lambda row: _difference_cell(row, "")),
        Column("at equal images", "the same when both arms have processed the same number of "
               "images, pretext included, and both are at the end of their training",
               lambda row: _difference_cell(row, "equal_images_")),
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
        *_choice_columns(cells, arm, reference),
        Column("n", "independent seeds, or pre-training runs that several seeds share",
               lambda row: TableCell(plural(row["n"], row["unit"]), row["n"])),
        text_column("lost", "runs that failed, diverged or were killed", "failures"),
        Column(f"{reference}{unit.suffix}", "mean and standard deviation over seeds",
               lambda row: mean_cell(row["reference_mean"], row["reference_sd"], unit)),
        Column(f"{arm}{unit.suffix}", "mean and standard deviation over seeds",
               lambda row: mean_cell(row["arm_mean"], row["arm_sd"], unit)),
        *(number_column(f"{floor} floor (%)", f"{called}: same labeled images, same test images",
                        f"floor_{floor}", PERCENT)
          for floor, called in FLOORS.items() if cells[f"floor_{floor}"].notna().any()),
        number_column(f"difference ({unit.of_difference})",
                      f"mean of the paired differences, {name_difference(cells)}",
                      "difference", unit, signed=True),
        Column("95 % interval", "of this cell alone, over seeds and, where predictions were kept, "
               "test images", lambda row: _interval_cell(row, "low", "high", unit)),
        Column("simultaneous interval", "wider: all intervals of the page contain their true "
               "difference in 95 of 100 pages",
               lambda row: _interval_cell(row, "low_simultaneous", "high_simultaneous", unit)),
        Column("wins", f"seeds for which {arm} is better",
               lambda row: TableCell(f"{row['wins']} of {row['n']}", row["wins"])),
        p_column("p, Holm", "t test of no difference, adjusted over the cells", "p_holm"),
        p_column("equivalence p, Holm",
                 "two one-sided tests of a difference of the margin or more, adjusted likewise",
                 "equivalence_p_holm"),
        p_column("sign-flip p, Holm", "exact test that assumes symmetric differences instead of "
                 "normal ones, adjusted over the cells", "p_sign_flip_holm"),
        p_column("always-valid p, Holm",
                 "valid even if you look after each seed and stop at will, adjusted over the cells",
                 "p_anytime_holm"),
        Column("seeds needed",
               "for 80 % power to detect the margin, or without a margin the observed difference; "
               "in brackets the 95 % interval from the uncertainty of the standard deviation",
               _needed_cell),
        Column("epochs to match",
               f"median epoch at which {arm} reaches the final value of {reference}",
               lambda row: _epochs_cell(row["epochs_to_match"])),
        number_column(f"{reference} epochs", f"downstream epochs of {reference}",
                      "reference_epochs"),
        Column(f"at equal images ({unit.of_difference})",
               "difference at the same number of images; in parentheses the seeds with such runs",
               lambda row: _equal_images_cell(row, unit)),
        Column("pretext accuracy (%)", "on the test images of the pretext task",
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


def _interval_cell(row: Row, low: str, high: str, unit: Unit) -> TableCell:
    if np.isnan(row[low]):
        return MISSING
    ends = (f"{unit.factor * row[end]:+.{unit.digits}f}" for end in (low, high))
    return TableCell(f"[{', '.join(ends)}]", row[low])


def _difference_cell(row: Row, prefix: str) -> TableCell:
    values = [row[f"{prefix}{name}"] for name in ("difference", "low", "high")]
    if np.isnan(values[0]):
        return MISSING
    return TableCell(format_difference(row["metric"], *values), values[0])


def _needed_cell(row: Row) -> TableCell:
    if np.isnan(row["seeds_needed"]):
        return MISSING
    values = [row[f"seeds_needed{end}"] for end in ("", "_low", "_high")]
    texts = [f"{value:.0f}" if np.isfinite(value) else "∞" for value in values]
    return TableCell(f"{texts[0]} [{texts[1]}, {texts[2]}]", values[0])


def _choice_columns(cells: pd.DataFrame, arm: str, reference: str) -> list[Column]:
    """The chosen settings and the number of trials, if settings were chosen."""
    if "arm_chosen" not in cells:
        return []

    def column(side: str, name: str) -> Column:
        return Column(
            f"{name} chosen",
            "by the mean validation accuracy; in parentheses the number of settings tried",
            lambda row: text_cell(f"{row[f'{side}_chosen']} ({row[f'{side}_trials']:.0f})"),
        )

    return [column("reference", reference), column("arm", arm)]


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
