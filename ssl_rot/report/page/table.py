"""A table for the terminal, Markdown, and HTML: what readers see and what columns are sorted by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ssl_rot.report.comparison.metrics import WHOLE, Unit


class TableCell(NamedTuple):
    """The text that readers see, and the value by which the column is sorted."""

    text: str
    sort: float | str
    is_number: bool = True


Row = Mapping[Any, Any]
"""A row of the DataFrame behind a table, by column."""


class Column(NamedTuple):
    """A heading, what it means (may be empty), and how its cell is made from a row."""

    heading: str
    meaning: str
    cell: Callable[[Row], TableCell]


@dataclass(frozen=True)
class Table:
    """Columns and rows of cells; ``hidden`` is the number of rows that are not shown."""

    columns: list[Column]
    rows: list[list[TableCell]]
    hidden: int = 0

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, columns: list[Column]) -> Table:
        """A row of cells for each row of the DataFrame."""
        records = frame.to_dict("records")
        return cls(columns, [[column.cell(record) for column in columns] for record in records])

    def head(self, most: int) -> Table:
        """The first ``most`` rows."""
        hidden = max(0, len(self.rows) - most)
        return replace(self, rows=self.rows[:most], hidden=self.hidden + hidden)

    def to_text(self) -> str:
        """For a terminal, with columns aligned on the left."""
        headings = [column.heading for column in self.columns]
        lines = [headings, *([cell.text for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        line = "  ".join(f"{{:{width}}}" for width in widths)
        return "\n".join(line.format(*texts).rstrip() for texts in lines)


EMPTY = Table([], [])
MISSING = TableCell("—", float("-inf"))


def text_cell(value: str | float | None) -> TableCell:
    """A setting or a name; empty for None and NaN. Numbers among them are sorted as numbers."""
    text = "" if pd.isna(value) else str(value)
    try:
        return TableCell(text, float(text), is_number=False)
    except ValueError:
        return TableCell(text, text, is_number=False)


def number_cell(value: float, digits: int = 0, *, signed: bool = False) -> TableCell:
    """A number with the given number of decimal places."""
    if not np.isfinite(value):
        return MISSING
    return TableCell(f"{value:{'+' if signed else ''},.{digits}f}", float(value))


def mean_cell(mean: float, sd: float, unit: Unit) -> TableCell:
    """A mean with the standard deviation, if there is one."""
    text = f"{unit.factor * mean:.{unit.digits}f}"
    if np.isfinite(sd):
        text += f" ± {unit.factor * sd:.{unit.digits}f}"
    return TableCell(text, mean)


def text_column(heading: str, meaning: str, key: str) -> Column:
    """Shows a column of the DataFrame as text."""
    return Column(heading, meaning, lambda row: text_cell(row[key]))


def number_column(
    heading: str, meaning: str, key: str, unit: Unit = WHOLE, *, signed: bool = False
) -> Column:
    """Shows a column of the DataFrame in the given unit."""
    return Column(
        heading,
        meaning,
        lambda row: number_cell(unit.factor * row[key], unit.digits, signed=signed),
    )


def p_column(heading: str, meaning: str, key: str) -> Column:
    """Shows a column of p values."""

    def cell(row: Row) -> TableCell:
        text = "< 0.0001" if row[key] < 1e-4 else f"{row[key]:.4f}"
        return MISSING if np.isnan(row[key]) else TableCell(text, float(row[key]))

    return Column(heading, meaning, cell)
