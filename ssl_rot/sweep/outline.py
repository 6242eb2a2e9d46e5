"""What a sweep set out to do, kept in its folder for those who look at it from elsewhere."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from ssl_rot import files
from ssl_rot.errors import TrackingError, describe_error

OUTLINE = "sweep.json"


@dataclass(frozen=True)
class OutlinedJob:
    """A job of a sweep.

    Args:
        overrides: those that not all jobs have.
        images: that its downstream phase processes.
        pretext: names the pre-training that it needs and that is not stored; jobs that share one
            have the same name.
        pretext_images: that this pre-training processes.
        is_finished: whether an earlier run has its result.
        same_as: the number of an earlier job that gives the same result.
        evaluated: images that its downstream phase only evaluates, in all epochs together.
        pretext_evaluated: those of the pre-training.
    """

    number: int
    overrides: str
    images: int
    pretext: str | None
    pretext_images: int
    is_finished: bool
    same_as: int | None
    evaluated: int = 0
    pretext_evaluated: int = 0


@dataclass(frozen=True)
class Outline:
    """A sweep and its jobs.

    Args:
        run_id: of the sweep's own run in MLflow.
        uri: of the tracking store, without its password.
        experiment: the name of the experiment there.
        folders: that jobs write to; a resumed sweep has several.
        record: the folder of the sweep's own run.
        jobs: ``None`` if the sweeper chooses them as it goes.
        started: when, or when it was resumed last, in milliseconds since 1970.
    """

    run_id: str
    uri: str
    experiment: str
    folders: list[str]
    record: str
    jobs: list[OutlinedJob] | None
    started: int = 0

    def save(self) -> None:
        """Writes ``sweep.json`` into every folder of the sweep."""
        content = json.dumps(asdict(self), indent=1).encode()
        for folder in {*self.folders, self.record}:
            files.write(Path(folder) / OUTLINE, content)

    @classmethod
    def load(cls, folder: Path) -> Outline:
        """Reads ``sweep.json``; a sweep that was moved is where the file is.

        Raises:
            TrackingError: there is none, or it is damaged.
        """
        path = folder / OUTLINE
        try:
            outline = TypeAdapter(cls).validate_json(path.read_bytes())
        except OSError as error:
            raise TrackingError(f"{folder} is not the folder of a sweep: no {OUTLINE}") from error
        except ValueError as error:
            raise TrackingError(f"{path} is damaged: {describe_error(error)}") from error
        if Path(outline.record).is_dir():
            return outline
        return replace(outline, folders=[str(folder)], record=str(folder))


def name_pretext(key: str, job: int, *, shared: bool) -> str:
    """The name of a pre-training within a sweep; with ``pretext.reuse=false`` each job has one."""
    return key if shared else f"{key} of job {job}"
