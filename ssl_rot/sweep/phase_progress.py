"""How far one phase of a job is, as far as its folder tells."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from ssl_rot.errors import UserError
from ssl_rot.sweep.outline import name_pretext
from ssl_rot.tracking import HISTORY, RECORD, RunRecord, Tag
from ssl_rot.tracking.heartbeat import LOST_SECONDS, silence
from ssl_rot.tracking.run_log import PROCESS_GONE

_COLUMNS = ("timestamp", "images_processed", "epoch_seconds", "test_acc")


@dataclass(frozen=True)
class PhaseProgress:
    """A phase of a job.

    Args:
        key: of what it trains: a name of the pre-training, or ``job <number>``.
        total: its epochs, unless it stops early.
        epochs: of each that has ended: when (seconds since 1970), the images processed so far, and
            how long it took.
        accuracy: after the last of them, on the test set.
        problem: why it ended without finishing.
    """

    job: int
    name: str
    key: str
    total: int
    epochs: list[tuple[float, float, float]]
    accuracy: float | None
    is_finished: bool
    problem: str | None

    @property
    def images(self) -> float:
        """Images processed so far."""
        return self.epochs[-1][1] if self.epochs else 0.0

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return not self.is_finished and self.problem is None


class PhaseReader:
    """Reads a phase from its folder; a file that has not changed is not read again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._record: RunRecord | None = None
        self._rows: list[dict[str, float]] = []
        self._seen: dict[str, tuple[int, int]] = {}

    def read(self, sweep: str, since: int) -> PhaseProgress | None:
        """The phase now; ``None`` if the folder holds none of the sweep with that run id.

        Args:
            since: when the sweep started, in milliseconds since 1970. What did not finish before
                that will be tried again.
        """
        if self._has_changed(RECORD):
            try:
                self._record = RunRecord.load(self._folder)
            except UserError:  # of another user, who may look at it but not send it
                return None
        record = self._record
        if record is None or record.tags.get(Tag.PARENT_RUN_ID) != sweep:
            return None
        if record.tags[Tag.PHASE] not in ("pretext", "downstream"):  # a floor has no epochs
            return None
        if self._has_changed(HISTORY):
            self._rows = _read_rows(self._folder / HISTORY)
        name, job = record.tags[Tag.PHASE], int(record.tags[Tag.JOB])
        problem = None
        if record.status is None and silence(self._folder) > LOST_SECONDS:
            problem = PROCESS_GONE
        elif record.status not in (None, "FINISHED"):
            if record.end_time is not None and record.end_time < since:
                return None
            problem = record.error or record.status
        is_pretext = name == "pretext"
        prefix = "pretext." if is_pretext else ""
        return PhaseProgress(
            job=job,
            name=name,
            key=_name_pretext(record, job) if is_pretext else f"job {job}",
            total=int(record.params[f"{prefix}schedule.epochs"]),
            epochs=[
                (row["timestamp"] / 1000, row["images_processed"], row["epoch_seconds"])
                for row in self._rows
            ],
            accuracy=self._rows[-1]["test_acc"] if self._rows else None,
            is_finished=record.status == "FINISHED",
            problem=problem,
        )

    def _has_changed(self, name: str) -> bool:
        try:
            status = (self._folder / name).stat()
        except OSError:
            return False
        before, now = self._seen.get(name), (status.st_mtime_ns, status.st_size)
        self._seen[name] = now
        return before != now


def _name_pretext(record: RunRecord, job: int) -> str:
    shared = record.params["pretext.reuse"] != "false"
    return name_pretext(record.tags[Tag.PRETEXT_KEY], job, shared=shared)


def _read_rows(path: Path) -> list[dict[str, float]]:
    """The complete rows of a file that another process may be writing; none of a damaged file."""
    try:
        content = path.read_bytes()
        rows = csv.DictReader(content[: content.rfind(b"\n") + 1].decode().splitlines())
        return [{name: float(row[name]) for name in _COLUMNS} for row in rows]
    except (OSError, ValueError, TypeError, KeyError, csv.Error):
        return []
