"""A run that is being written: to the disk first, then to MLflow whenever it answers."""

import logging
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from ssl_rot import files
from ssl_rot.errors import TrackingError, describe_error, without_password
from ssl_rot.tracking.database import absolute_uri
from ssl_rot.tracking.history import History, now
from ssl_rot.tracking.names import CONFIG, RECORD, Tag
from ssl_rot.tracking.run_record import RunRecord
from ssl_rot.tracking.run_sender import RunSender
from ssl_rot.tracking.store import Store

log = logging.getLogger(__name__)

PROCESS_GONE = "its process is gone"
"""The error of a run whose process died without ending it."""

_NOTE_LENGTH = 5000  # characters of a tag that every store accepts
_SHORTEST_PAUSE = 2.0  # seconds; nobody looks more often
_PAUSE_FACTOR = 10  # the pause after a call to MLflow, as a multiple of the call's duration


class RunLog:
    """Writes a run to its folder, and has it sent to MLflow."""

    def __init__(self, store: Store, record: RunRecord, history: History, system: History) -> None:
        self.record, self.history, self.system = record, history, system
        self._sender = RunSender(store, record, history, system)
        self._next_send = 0.0
        self._handed_over = False

    @property
    def run_id(self) -> str | None:
        """The id of the MLflow run, once there is one."""
        return self.record.run_id

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Logs the metrics of an epoch."""
        self.history.add(number, values)
        self.send_when_due()

    def artifacts(self, paths: Iterable[Path], folder: str | None = None) -> None:
        """Logs files of the run's folder: sent with the next epoch, at the end, or by ``flush``.

        They go to the artifact ``folder``; ``None`` is the top one.
        """
        names = (str(path.relative_to(self.record.folder)) for path in paths)
        self.record.artifacts |= dict.fromkeys(names, folder)
        self.record.sent = False
        self.record.save()

    def table(self, table: pd.DataFrame, name: str) -> None:
        """Logs a table as a CSV file."""
        path = self.record.folder / f"{name}.csv"
        files.write(path, table.to_csv(index=False).encode())
        self.artifacts([path])

    def describe(self, section: str) -> None:
        """Puts a section, in Markdown, on top of the run's description in MLflow."""
        record = self.record
        note = "\n\n".join([without_password(section), record.tags.get(Tag.NOTE, "")]).strip()
        record.tags[Tag.NOTE] = note[:_NOTE_LENGTH]
        record.changed_tags = sorted({*record.changed_tags, Tag.NOTE})
        record.sent = False
        record.save()

    def hand_over(self) -> None:
        """Leaves the run to another process, which ends it: :meth:`end` does nothing."""
        self.send()
        self._handed_over = True

    def end(self, status: str, error: BaseException | None = None) -> None:
        """Ends the run. What MLflow does not accept now can be sent later."""
        if self._handed_over:
            return
        record = self.record
        if error is not None and not self.history.rows:  # nothing happened in this run
            if record.run_id is None:
                (record.folder / RECORD).unlink(missing_ok=True)
                return
            record.artifacts.pop(CONFIG, None)  # it may be what the store does not accept
        record.status, record.end_time = status, now()
        record.error = None if error is None else describe_error(error)
        try:
            self.history.sync()
            record.save()
        except Exception as failure:  # the error that ended the run is the one to report
            if error is None:
                raise
            log.warning("%s", failure)
        try:
            self.send()
        except TrackingError as failure:
            log.warning("%s", failure if error is None else unsent_error([self], failure))

    def close(self) -> None:
        """Ends a run whose process died, and sends what it left on the disk.

        Raises:
            TrackingError: the store does not answer; the rest can be sent later.
        """
        record = self.record
        if record.status is None:
            record.status, record.error = "KILLED", PROCESS_GONE
            record.end_time = max(self.history.times.values(), default=now())
        record.save()
        self.send()

    def send_when_due(self) -> None:
        """Sends what MLflow does not have, except soon after the last call. Only logs a failure.

        MLflow takes at most a tenth of the time: the longer a call takes, to succeed or to fail,
        the longer the pause after it, and the more epochs go in the next call.
        """
        started = time.monotonic()
        if started < self._next_send:
            return
        try:
            self.send()
        except TrackingError as error:
            log.warning("%s. Training continues; the metrics are in %s", error, self.history.path)
        now = time.monotonic()
        self._next_send = now + max(_SHORTEST_PAUSE, _PAUSE_FACTOR * (now - started))

    def send(self) -> None:
        """Sends everything that MLflow does not have: the run, params, epochs, artifacts, status.

        Raises:
            TrackingError: the store does not answer; the rest can be sent later.
        """
        self._sender.send()

    def sync_command(self, *folders: Path) -> str:
        """The command that sends what is in the folders to this run's store."""
        uri = self.record.uri
        to = [] if uri == without_password(absolute_uri(None)) else ["--to", uri]
        return shlex.join(["python", "-m", "ssl_rot.sync", *to, *map(str, folders)])


def unsent_error(runs: Sequence[RunLog], error: TrackingError) -> TrackingError:
    """An error that also says where the unsent data is, and how to send it."""
    folders = sorted({run.record.folder for run in runs})
    if gone := [str(folder) for folder in folders if not folder.is_dir()]:
        return TrackingError(
            f"{error}\nThe rest was in {', '.join(gone)}, which is no longer there. If it was "
            f"moved: {runs[0].sync_command(Path('NEW_PLACE'))}"
        )
    return TrackingError(
        f"{error}\nNothing is lost: all of it is in {', '.join(map(str, folders))}. When MLflow "
        f"answers again: {runs[0].sync_command(*folders)}"
    )
