"""The tables of the report, with rounded numbers and an explanation of each column."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.basis import plural
from ssl_rot.report.comparison.cell_names import find_cell_rows, setting_columns
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
    display_name,
    format_difference,
    unit_of,
)
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
        Column("n", "independent seeds, or pre-trainings that several seeds share",
               lambda row: TableCell(plural(row["n"], row["unit"]), row["n"])),
        text_column("lost", "runs that failed, diverged or were killed", "failures"),
        Column(f"{reference}{unit.suffix}", "mean and standard deviation over seeds",
               lambda row: _mean_cell(row["reference_mean"], row["reference_sd"], unit)),
        Column(f"{arm}{unit.suffix}", "mean and standard deviation over seeds",
               lambda row: _mean_cell(row["arm_mean"], row["arm_sd"], unit)),
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
                 "for whoever looks after every seed and stops at will, adjusted over the cells",
                 "p_anytime_holm"),
        Column("seeds needed",
               "for 80 % power at the margin, or without one at the difference seen, with the 95 % "
               "interval that the spread's own uncertainty gives",
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


def trial_table(trials: pd.DataFrame) -> Table:
    """The settings that each arm tried: :attr:`ssl_rot.report.comparison.selection.Selection`."""
    columns = [
        Column("arm", "", lambda row: text_cell(name_arm(row["arm"]))),
        text_column("cell", "the settings that were not chosen", "cell"),
        text_column("setting", "one trial of the arm", "setting"),
        Column("chosen", "the best mean over all seeds", lambda row: text_cell(
            "chosen" if row["is_chosen"] else "")),
        Column("validation accuracy (%)", "mean and standard deviation over seeds; lost runs count "
               "as chance", lambda row: _mean_cell(row["val_mean"], row["val_sd"], PERCENT)),
        number_column("seeds", "settings with fewer seeds than others are not chosen", "seeds"),
        number_column("lost", "runs that failed, diverged or were killed", "lost"),
    ]  # fmt: skip
    return Table.from_frame(trials, columns)


def recall_table(recalls: pd.DataFrame, most: int) -> Table:
    """The result of :func:`ssl_rot.report.comparison.recalls.compare_recalls`."""
    columns = [
        number_column("#", "number of the cell", "number"),
        number_column("class", "by its number in the data set", "label"),
        number_column("share (%)", "of the test images", "share", PERCENT),
        number_column("reference (%)", "recall: the share of its images found", "reference_mean",
                      PERCENT),
        number_column("arm (%)", "recall", "arm_mean", PERCENT),
        Column("difference", "with simultaneous 95 % intervals over all rows, over seeds and test "
               "images", lambda row: TableCell(
                   format_difference("_acc", row["difference"], row["low"], row["high"]),
                   row["difference"])),
    ]  # fmt: skip
    return Table.from_frame(recalls, columns).head(most)


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
