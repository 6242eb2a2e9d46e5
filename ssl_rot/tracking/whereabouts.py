"""Where the files of a run are, whose they are, and whether its process is alive."""

import os
import socket
from dataclasses import replace
from pathlib import Path

from ssl_rot.errors import UserError
from ssl_rot.tracking.database import database_path
from ssl_rot.tracking.heartbeat import is_alive
from ssl_rot.tracking.names import Tag
from ssl_rot.tracking.run_record import RunRecord
from ssl_rot.tracking.runs import StoredRun
from ssl_rot.tracking.slurm import is_queued


def folder_of(run: StoredRun) -> Path:
    """The folder that the run was started in."""
    return Path(run.tags.get(Tag.FOLDER, os.devnull))


def locate(run: StoredRun, uri: str) -> StoredRun:
    """The run with the folder that it has now, after a move together with its database.

    Args:
        uri: of the tracking store.
    """
    database, relative = database_path(uri), run.tags.get(Tag.RELATIVE_FOLDER)
    if database is None or relative is None:
        return run
    folder = Path(os.path.normpath(database.parent / relative))
    return replace(run, tags={**run.tags, Tag.FOLDER: str(folder)}) if _holds(folder, run) else run


def is_here(run: StoredRun) -> bool:
    """Whether this user started the run on this machine, or in a folder that this machine can read.

    The host name alone proves nothing: containers and copies of a machine share it.
    """
    folder = folder_of(run)
    try:
        if not folder.is_dir() or folder.stat().st_uid != os.getuid():
            return False
        return run.tags.get(Tag.HOST) == socket.gethostname() or _holds(folder, run)
    except OSError:  # another user's, perhaps
        return False


def _holds(folder: Path, run: StoredRun) -> bool:
    """Whether this user has the files of a run in ``folder``."""
    try:
        record = RunRecord.load(folder)
    except UserError:
        return False
    return record is not None and record.run_id == run.run_id


def is_running(run: StoredRun) -> bool:
    """Whether the process of a run is alive, or SLURM will still close the sweep that it is."""
    if is_alive(folder_of(run), same_host=run.tags.get(Tag.HOST) == socket.gethostname()):
        return True
    closer = run.tags.get(Tag.CLOSER)  # which may outlive its work for a moment
    return closer is not None and run.status == "RUNNING" and is_queued(closer)
