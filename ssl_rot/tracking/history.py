"""A phase's numbers on the disk: one row an epoch, written before anything else hears of it."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path

from ssl_rot import files
from ssl_rot.errors import StorageError


class History:
    """``history.csv``: columns ``epoch`` and ``timestamp``, then one for each metric.

    A row that is there stays as it is: an epoch trained again after a resume gives the same numbers
    but for the seconds it took, and what has been told once is not told otherwise later.

    Args:
        path: of the file. Rows that an earlier process left there are taken over, a last row that
            it did not finish is dropped.

    Attributes:
        rows: metrics by epoch, from 1.
        times: when each epoch ended, in milliseconds since 1970.

    Raises:
        ValueError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[int, dict[str, float]] = {}
        self.times: dict[int, int] = {}
        if path.exists():
            self._read(path.read_bytes())

    def add(self, epoch: int, record: Mapping[str, float]) -> None:
        """Appends an epoch's row, on the disk when this returns.

        Raises:
            StorageError: the disk is full, or cannot be written.
        """
        if epoch in self.rows:
            return
        row, now = dict(record), int(time.time() * 1000)
        if not self.rows:
            head = _csv([["epoch", "timestamp", *row]])
            files.write(self.path, head + _csv([[epoch, now, *row.values()]]))
        else:
            try:
                with self.path.open("ab") as file:
                    file.write(_csv([[epoch, now, *row.values()]]))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise StorageError(self.path, error) from error
        self.rows[epoch], self.times[epoch] = row, now

    def _read(self, content: bytes) -> None:
        whole = content[: content.rfind(b"\n") + 1]
        try:
            for line in csv.DictReader(whole.decode().splitlines(), strict=True):
                epoch, when = int(line.pop("epoch")), int(line.pop("timestamp", 0))
                self.rows[epoch] = {name: float(value) for name, value in line.items()}
                self.times[epoch] = when
        except (ValueError, TypeError, KeyError, csv.Error) as error:
            raise ValueError(f"{self.path} is damaged: {error}") from error
        if whole != content:  # what is appended next begins a line of its own
            files.write(self.path, whole)


def _csv(rows: list[list[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
