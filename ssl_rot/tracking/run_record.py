"""The record of a run on the disk, from which it can be sent to MLflow now or later."""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from ssl_rot import files
from ssl_rot.errors import StorageError, TrackingError, describe_error
from ssl_rot.tracking.dataset_use import DatasetUse
from ssl_rot.tracking.names import RECORD


@dataclass
class RunRecord:
    """``run.json`` in a run's folder. Together with ``history.csv`` it describes the whole run.

    Times are in milliseconds since 1970, as in MLflow.

    Args:
        folder: where the file is; not stored in it, since the folder may be moved.
        uri: of the tracking store, without its password.
        experiment: the name of the experiment there.
        params: flat.
        prefix: of every metric's name.
        datasets: what the run uses of its data set.
        changed_tags: those of ``tags`` that have another value since the run began.
        run_id: of the MLflow run; ``None`` until it exists.
        artifacts: files in the folder, each with its artifact folder (``None``: the top one).
        status: MLflow's name for how the run ended; ``None`` until then.
        error: why the run did not finish.
        sent: whether MLflow has everything.
    """

    folder: Path
    uri: str
    experiment: str
    name: str
    start_time: int
    tags: dict[str, str]
    params: dict[str, str]
    prefix: str = ""
    datasets: list[DatasetUse] = field(default_factory=list)
    changed_tags: list[str] = field(default_factory=list)
    run_id: str | None = None
    artifacts: dict[str, str | None] = field(default_factory=dict)
    status: str | None = None
    error: str | None = None
    end_time: int | None = None
    sent: bool = False

    def save(self) -> None:
        """Writes the record to the disk, replacing an earlier one.

        Raises:
            StorageError: the disk is full, or cannot be written, or the folder was moved.
        """
        if not self.folder.is_dir():
            missing = FileNotFoundError(errno.ENOENT, "its folder is no longer there")
            raise StorageError(self.folder / RECORD, missing)
        values = asdict(self)
        del values["folder"]
        files.write(self.folder / RECORD, json.dumps(values, indent=1).encode())

    @classmethod
    def load(cls, folder: Path) -> RunRecord | None:
        """The record in ``folder``, if there is one.

        Raises:
            TrackingError: the file is damaged or belongs to another user, or names files outside
                of the folder.
        """
        path = folder / RECORD
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # reading a pipe could block forever
                raise TrackingError(f"{path} is not a file")
            # What it names is sent to a server: it must be this user's own run, and nothing else.
            if {folder.stat().st_uid, status.st_uid} != {os.getuid()}:
                raise TrackingError(f"{path} belongs to another user, who alone can send the run")
            values = json.loads(path.read_bytes())
            record = TypeAdapter(cls).validate_python({**values, "folder": folder})
            paths = [(folder / name).resolve() for name in record.artifacts]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise TrackingError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            message = f"{path} is damaged, or not the record of a run: {describe_error(error)}"
            raise TrackingError(message) from error
        if outside := [str(at) for at in paths if not at.is_relative_to(folder.resolve())]:
            raise TrackingError(f"{path} names {outside[0]}, which is not in that folder")
        return record
