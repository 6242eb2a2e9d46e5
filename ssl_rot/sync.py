"""``python -m ssl_rot.sync outputs/<date>/<time>``: sends MLflow what it missed."""

import argparse
import logging
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from ssl_rot.errors import EXIT_STATUS, TrackingError, UserError, without_password


def sync(folders: Iterable[Path], uri: str | None = None) -> None:
    """Sends MLflow what it misses of the runs in output folders, of runs or of sweeps.

    Nothing is sent twice, however often this is called. A run whose process is gone ends KILLED; a
    run that is still active is skipped. A run that the store does not have is created there.

    Args:
        uri: of the store; ``None`` follows MLflow's own defaults, and refuses runs that were
            recorded for another store.

    Raises:
        UserError: a folder holds no run, a run's files are damaged, or MLflow does not answer.
    """
    from ssl_rot.tracking import RECORD, RunRecord, Tag, Tracker
    from ssl_rot.tracking.database import absolute_uri
    from ssl_rot.tracking.heartbeat import is_alive

    records: list[RunRecord] = []
    for folder in folders:
        found = [RunRecord.load(path.parent) for path in folder.rglob(RECORD)]
        if not found:
            raise TrackingError(f"{folder} holds no run: neither it nor a subfolder has a {RECORD}")
        records += filter(None, found)
    target = absolute_uri(uri)
    for record in records:
        if uri is None and record.uri != without_password(target):
            raise TrackingError(
                f"{record.folder} was recorded for {record.uri}, but would be sent to "
                f"{target}. Choose one with --to ADDRESS"
            )
    trackers: dict[str, Tracker] = {}
    new_ids: dict[str, str] = {}
    for record in sorted(records, key=lambda record: record.start_time):  # parents come first
        if record.experiment not in trackers:
            trackers[record.experiment] = Tracker(record.experiment, target)
        tracker = trackers[record.experiment]
        with tracker.store.lock("dead"):  # of two at once, one would send everything again
            record = RunRecord.load(record.folder) or record
            if is_alive(record.folder, same_host=record.tags.get(Tag.HOST) == socket.gethostname()):
                print(f"{record.folder}: skipped, the run is still active")
                continue
            old_id = record.run_id
            if old_id is None or not tracker.runs.has(old_id):
                record.run_id, record.sent = None, False
                record.tags[Tag.FOLDER] = str(record.folder)
                for tag in (Tag.PARENT_RUN_ID, Tag.PRETEXT_RUN_ID):
                    if record.tags.get(tag) in new_ids:
                        record.tags[tag] = new_ids[record.tags[tag]]
            elif record.sent:
                print(f"{record.folder}: nothing to send, MLflow has all of run {old_id}")
                continue
            record.uri = without_password(target)
            tracker.adopt(record).close()
        new_ids[str(old_id)] = str(record.run_id)
        print(f"{record.folder}: sent, run {record.run_id} is {record.status}")
    for tracker in trackers.values():
        tracker.close_dead()


def main() -> None:
    """The command ``python -m ssl_rot.sync``."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_rot.sync",
        description="Sends MLflow what it missed of runs while it was unavailable: epochs, files, "
        "and how they ended. Nothing is sent twice.",
    )
    parser.add_argument("folder", nargs="+", type=Path, help="output folder of a run or a sweep")
    parser.add_argument(
        "--to",
        metavar="ADDRESS",
        help="the tracking store, as in tracking.uri; needed for runs that were recorded for "
        "another store than MLFLOW_TRACKING_URI or mlflow.db in the working directory",
    )
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    try:
        sync([folder.absolute() for folder in options.folder], options.to)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_STATUS)


if __name__ == "__main__":
    main()
