"""The metrics of a phase on the disk: one row per epoch, written before they go anywhere else."""

import csv
import io
import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

from ssl_rot import files
from ssl_rot.errors import StorageError

log = logging.getLogger(__name__)

_SYNC_EVERY = 1.0  # seconds; a wait for the disk takes as long as a tiny epoch


class History:
    """``history.csv``: columns ``epoch`` and ``timestamp``, then one for each metric.

    A metric that a row lacks is ``nan`` there. One that is new in a row gets a column.

    A row is never changed: an epoch that is trained again after a resume gives the same metrics
    except for its duration, and MLflow may already have the first ones.

    Args:
        step: the name of the first column.
        path: of the file. The rows of an earlier process are read; an incomplete last row is
            dropped.

    Attributes:
        rows: the metrics of each epoch, from 1.
        times: when each epoch ended, in milliseconds since 1970.

    Raises:
        ValueError: the file is damaged.
    """

    def __init__(self, path: Path, step: str = "epoch") -> None:
        self.path, self._step = path, step
        self.rows: dict[int, dict[str, float]] = {}
        self.times: dict[int, int] = {}
        self._columns: list[str] = []
        self._next_sync = 0.0
        if path.exists():
            self._read(path.read_bytes())

    def add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Appends the row of an epoch; keeps a row that exists.

        From then on it survives a kill. Rows less than a second apart reach the disk together, at
        the latest with :meth:`sync`.

        Raises:
            StorageError: the disk is full, or cannot be written.
        """
        if epoch in self.rows:
            return
        row, ended = dict(metrics), now()
        new = [name for name in row if name not in self._columns]
        self._columns += new
        if new:
            header = _csv(self._step, "timestamp", *self._columns)
            earlier = (self._line(each, self.times[each], self.rows[each]) for each in self.rows)
            files.write(self.path, b"".join([header, *earlier, self._line(epoch, ended, row)]))
        else:
            line = self._line(epoch, ended, row)
            try:
                with self.path.open("ab") as file:
                    file.write(line)
            except OSError as error:
                raise StorageError(self.path, error) from error
            if time.monotonic() >= self._next_sync:
                self.sync()
        self.times[epoch] = ended  # first: another thread may be sending the rows
        self.rows[epoch] = row

    def sync(self) -> None:
        """Waits until the rows are on the disk.

        Raises:
            StorageError: the disk is full, or cannot be written.
        """
        if not self.path.exists():
            return
        try:
            with self.path.open("ab") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(self.path, error) from error
        self._next_sync = time.monotonic() + _SYNC_EVERY

    def _line(self, epoch: int, ended: int, row: Mapping[str, float]) -> bytes:
        return _csv(epoch, ended, *(row.get(name, math.nan) for name in self._columns))

    def _read(self, content: bytes) -> None:
        complete = content[: content.rfind(b"\n") + 1]
        try:
            for line in csv.DictReader(complete.decode().splitlines(), strict=True):
                epoch, timestamp = int(line.pop(self._step)), int(line.pop("timestamp", 0))
                values = {name: float(value) for name, value in line.items()}
                self._columns = [*values]
                self.rows[epoch] = {k: v for k, v in values.items() if not math.isnan(v)}
                self.times[epoch] = timestamp
        except (ValueError, TypeError, KeyError, csv.Error) as error:
            raise ValueError(f"{self.path} is damaged: {error}") from error
        if complete != content:  # the next row must start on a new line
            files.write(self.path, complete)


def read_history(path: Path, step: str = "epoch") -> History:
    """Reads the metrics file. A damaged one is renamed: the checkpoints have most of its rows."""
    try:
        return History(path, step)
    except ValueError as error:
        renamed = path.with_name(f"{path.name}.damaged")
        log.warning("%s; renamed to %s", error, renamed.name)
        path.replace(renamed)
        return History(path, step)


def now() -> int:
    """Milliseconds since 1970, as in MLflow."""
    return int(time.time() * 1000)


def _csv(*values: object) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()
