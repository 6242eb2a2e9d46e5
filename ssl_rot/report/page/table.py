"""A table of what a reader sees and of what its columns sort by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cell:
    """What a reader sees, and what the column sorts by."""

    text: str
    sort: float | str
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """Columns with the explanations that stand over them, and rows."""

    columns: list[tuple[str, str]]
    rows: list[list[Cell]]

    def to_text(self) -> str:
        """For a terminal: columns padded to their widest value."""
        heads = [name for name, _ in self.columns]
        lines = [heads, *([cell.text for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = (
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
            for line in lines
        )
        return "\n".join(line.rstrip() for line in padded)


NONE = Cell("—", float("-inf"))


def text_cell(value: object) -> Cell:
    """Text as it is; empty for what a run does not have."""
    text = "" if value is None or value != value else str(value)
    return Cell(text, _sortable(text), is_number=False)


def _sortable(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def number_cell(value: float, digits: int, *, sign: bool = False) -> Cell:
    """A number with so many digits after the point."""
    if not np.isfinite(value):
        return NONE
    return Cell(f"{value:{'+' if sign else ''},.{digits}f}", float(value))


def p_cell(value: float) -> Cell:
    """A p value."""
    if np.isnan(value):
        return NONE
    return Cell("< 0.0001" if value < 1e-4 else f"{value:.4f}", float(value))
