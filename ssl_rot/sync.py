"""``python -m ssl_rot.sync outputs/<date>/<time>``: sends MLflow what it missed."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from ssl_rot.errors import EXIT_STATUS, TrackingError, UserError


def sync(folders: Iterable[Path]) -> None:
    """Sends MLflow what it misses of the runs in output folders, of runs or of sweeps.

    Nothing is sent twice, however often this is called. A run whose process is gone ends KILLED; a
    run that is still active is skipped.

    Raises:
        UserError: a folder holds no run, a run's files are damaged, or MLflow does not answer.
    """
    from ssl_rot.tracking import RECORD, RunRecord, Tag, Tracker
    from ssl_rot.tracking.heartbeat import is_alive

    records = []
    for folder in folders:
        found = [RunRecord.load(path.parent) for path in sorted(folder.rglob(RECORD))]
        if not found:
            raise TrackingError(f"{folder} holds no run: neither it nor a subfolder has a {RECORD}")
        records += found
    trackers: dict[tuple[str, str], Tracker] = {}
    for record in records:
        assert record is not None
        if record.sent:
            print(f"{record.folder}: nothing to send, MLflow has all of run {record.run_id}")
            continue
        if is_alive(record.folder, same_host=record.tags.get(Tag.HOST) == socket.gethostname()):
            print(f"{record.folder}: skipped, the run is still active")
            continue
        store = (record.experiment, record.uri)
        if store not in trackers:
            trackers[store] = Tracker(*store)
        trackers[store].adopt(record).close()
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
    folders: list[Path] = parser.parse_args().folder
    logging.basicConfig(format="%(message)s")
    try:
        sync(folder.absolute() for folder in folders)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_STATUS)


if __name__ == "__main__":
    main()
