"""What a run leaves on the disk, so that MLflow can be told of it later as well as now."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ssl_rot import files
from ssl_rot.errors import TrackingError
from ssl_rot.tracking.names import RECORD


@dataclass
class RunRecord:
    """``run.json`` in a run's folder. With ``history.csv`` and the files beside it, it is a run.

    Args:
        folder: where it lies; the run's folder may have been moved since.
        uri: of the tracking store.
        experiment: its name there.
        name: of the run.
        start_time: milliseconds since 1970, as MLflow has it.
        tags: all of them.
        params: flat.
        prefix: before each metric's name.
        run_id: of the MLflow run; ``None`` until MLflow has one.
        artifacts: files in the folder, and the folder of the run's artifacts each belongs in.
        status: how the run ended, as MLflow names it; ``None`` until it has.
        error: why it did not finish.
        end_time: like ``start_time``.
        sent: MLflow has all of it.
    """

    folder: Path
    uri: str
    experiment: str
    name: str
    start_time: int
    tags: dict[str, str]
    params: dict[str, str]
    prefix: str = ""
    run_id: str | None = None
    artifacts: dict[str, str | None] = field(default_factory=dict)
    status: str | None = None
    error: str | None = None
    end_time: int | None = None
    sent: bool = False

    def save(self) -> None:
        """Puts it on the disk, in the place of what was there."""
        values = asdict(self)
        del values["folder"]
        files.write(self.folder / RECORD, json.dumps(values, indent=1).encode())

    def discard(self) -> None:
        """Takes it off the disk: nothing happened that is worth a run."""
        (self.folder / RECORD).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path) -> RunRecord | None:
        """The record in ``folder``, if there is one.

        Raises:
            TrackingError: it is damaged.
        """
        path = folder / RECORD
        try:
            values: dict[str, Any] = json.loads(path.read_bytes())
            return cls(folder, **values)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError) as error:
            raise TrackingError(f"{path} is damaged, or no record of a run: {error}") from error
