"""A phase's numbers on the disk: one row an epoch, written before anything else hears of it."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path


class History:
    """``history.csv``: a column ``epoch``, then one for each metric.

    A row that is there stays as it is: an epoch trained again after a resume gives the same numbers
    but for the seconds it took, and what has been told once is not told otherwise later.

    Args:
        path: of the file. Rows that an earlier process left there are taken over, a last row that
            it did not finish is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[int, dict[str, float]] = {}
        if path.exists():
            text = path.read_text()
            whole = text[: text.rfind("\n") + 1].splitlines()
            for line in csv.DictReader(whole):
                epoch = int(line.pop("epoch"))
                self.rows[epoch] = {name: float(value) for name, value in line.items()}
            if self.rows:
                self._write()

    def add(self, epoch: int, record: Mapping[str, float]) -> None:
        """Appends an epoch's row, on the disk when this returns."""
        if epoch in self.rows:
            return
        self.rows[epoch] = dict(record)
        if len(self.rows) == 1:
            self._write()
            return
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([epoch, *record.values()])
            file.flush()
            os.fsync(file.fileno())

    def _write(self) -> None:
        """The whole file, in the place of the old one."""
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["epoch", *next(iter(self.rows.values()))])
            writer.writerows([epoch, *row.values()] for epoch, row in sorted(self.rows.items()))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
