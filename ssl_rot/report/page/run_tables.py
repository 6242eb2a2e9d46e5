"""The tables of runs: pairs, what was left out, trials, classes, and published results."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ssl_rot.report.comparison.cell_names import find_cell_rows
from ssl_rot.report.comparison.contrasts import name_arm, name_sides
from ssl_rot.report.comparison.metrics import PERCENT, display_name, format_difference, unit_of
from ssl_rot.report.page.table import (
    EMPTY,
    Column,
    Row,
    Table,
    TableCell,
    mean_cell,
    number_column,
    text_cell,
    text_column,
)


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
               "as chance", lambda row: mean_cell(row["val_mean"], row["val_sd"], PERCENT)),
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
               lambda row: mean_cell(row["mean"], row["sd"], PERCENT)),
        number_column("seeds", "", "n"),
        text_column("deviations", "in which settings these runs differ from the published recipe",
                    "otherwise"),
    ]  # fmt: skip
    return Table.from_frame(results, columns)


def count_values(values: Iterable[object]) -> list[tuple[str, int]]:
    """The different values and how often each occurs, the most frequent first."""
    counts = pd.Series([str(value) for value in values], dtype=object).value_counts()
    return [(str(value), int(count)) for value, count in counts.items()]


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
