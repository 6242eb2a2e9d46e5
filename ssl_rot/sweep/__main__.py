"""``python -m ssl_rot.sweep status``: the progress of a sweep that runs elsewhere."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_rot.errors import EXIT_STATUS, TrackingError, UserError, store_errors, without_password
from ssl_rot.streams import outliving_readers

if TYPE_CHECKING:
    from ssl_rot.sweep.outline import Outline
    from ssl_rot.tracking import Tracker


def find_folder(name: str | None) -> Path:
    """The folder of a sweep, given as such or as the id of its run; the newest one by default.

    Raises:
        TrackingError: there is none.
    """
    from ssl_rot.sweep.outline import OUTLINE
    from ssl_rot.tracking import Tag
    from ssl_rot.tracking.database import absolute_uri, connect

    if name is None:
        found = [*Path("multirun").glob(f"*/*/{OUTLINE}")]
        if not found:
            raise TrackingError(f"{Path.cwd() / 'multirun'} holds no sweep; name a folder or a run")
        return max(found, key=lambda path: path.stat().st_mtime).parent
    if Path(name).is_dir():
        return Path(name)
    uri = absolute_uri(None)
    with store_errors(f"{name} is neither a folder nor a run in {uri}"):
        return Path(connect(uri).get_run(name).data.tags[Tag.FOLDER])


def describe_state(outline: Outline, tracker: Tracker | None) -> str:
    """Whether the sweep is running, and how it ended if not."""
    from ssl_rot.tracking import RunRecord, Tag
    from ssl_rot.tracking.heartbeat import LOST_SECONDS, silence
    from ssl_rot.tracking.slurm import is_queued

    folder = Path(outline.record)
    record = RunRecord.load(folder)
    if record is not None and record.status is not None:
        return record.status + (f", {record.error}" if record.error else "")
    if silence(folder) < LOST_SECONDS:
        return "running"
    closer = None
    if tracker is not None:
        with suppress(TrackingError):  # its run was deleted
            closer = tracker.runs.get(outline.run_id).tags.get(Tag.CLOSER)
    if closer is not None and is_queued(closer):
        return f"left to SLURM, whose job {closer} closes it"
    return "its process is gone; the same command with resume=true continues it"


def _open_tracker(outline: Outline) -> Tracker | None:
    """The sweep's store, if it can be reached from here."""
    from ssl_rot.tracking import Tracker
    from ssl_rot.tracking.database import absolute_uri, database_path

    default = absolute_uri(None)  # has the password that the outline's does not
    uri = default if without_password(default) == outline.uri else outline.uri
    database = database_path(uri)
    try:
        if database is not None and not database.exists():  # a tracker would make it
            raise TrackingError(f"The tracking store {uri} is no longer there.")
        return Tracker(outline.experiment, uri)
    except TrackingError as error:
        print(f"{error}\nWhat follows is from the folders alone.", file=sys.stderr)
        return None


def show_status(name: str | None, *, watch: bool) -> None:
    """Prints the progress of a sweep; with ``watch``, until its last job has ended.

    Raises:
        UserError: there is no such sweep.
    """
    from ssl_rot.sweep.outline import Outline
    from ssl_rot.sweep.progress import ProgressReader
    from ssl_rot.sweep.screen import SweepView, describe

    folder = find_folder(name)
    outline = Outline.load(folder)
    tracker = _open_tracker(outline)
    reader = ProgressReader(outline, tracker)
    print(f"Sweep in {folder}, run {outline.run_id}: {describe_state(outline, tracker)}")
    if not watch:
        print("\n".join(describe(reader.read())))
    else:
        view = SweepView(reader)
        view.start()
        try:
            view.wait()
        finally:
            view.stop()


def main() -> None:
    """The command ``python -m ssl_rot.sweep``."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_rot.sweep", description="Inspects a sweep from another process."
    )
    commands = parser.add_subparsers(required=True, metavar="status")
    status = commands.add_parser(
        "status",
        help="show the progress of a sweep",
        description="Shows the progress of a sweep, wherever it runs, from its folder and MLflow.",
    )
    status.add_argument(
        "sweep",
        nargs="?",
        metavar="FOLDER | RUN",
        help="folder of the sweep, or the id of its run in MLFLOW_TRACKING_URI or mlflow.db here; "
        "by default the newest sweep in multirun/",
    )
    status.add_argument("--watch", action="store_true", help="follow it until the last job ends")
    options = parser.parse_args()
    try:
        with outliving_readers():
            show_status(options.sweep, watch=options.watch)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_STATUS)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
