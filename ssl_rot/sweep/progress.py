"""How far a sweep is, read from its folders and MLflow alone: by its own process, or elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from ssl_rot.errors import TrackingError
from ssl_rot.sweep.failures import load_failures
from ssl_rot.sweep.outline import Outline
from ssl_rot.sweep.phase_progress import PhaseProgress, PhaseReader
from ssl_rot.tracking import RECORD, RunRecord, Tag, Tracker
from ssl_rot.tracking.heartbeat import LOST_SECONDS, silence

_WINDOW = 600.0
"""The speed is that of the last so many seconds."""
_EVALUATION = 1 / 3
"""What an image takes to evaluate, as a part of what it takes to train on: no backward pass."""
_MLFLOW_SECONDS = 5.0
"""Between two queries, at least; ten times as long as one takes, if that is more."""


@dataclass(frozen=True)
class Progress:
    """A sweep at one moment.

    Args:
        total: its jobs; ``None`` if nobody knows.
        problems: why jobs have failed, by their number.
        images_left: to process; ``None`` if nobody knows.
        seconds_left: at the measured speed.
        is_closed: whether the sweep's own run has ended, or its process was killed.
    """

    total: int | None
    done: int
    problems: dict[int, str]
    running: list[PhaseProgress]
    images: float
    images_left: float | None
    seconds_left: float | None
    is_closed: bool

    @property
    def is_over(self) -> bool:
        """Whether no job is running or will be."""
        ended = self.done + len(self.problems)
        all_ended = self.total is not None and ended >= self.total
        return all_ended or (self.is_closed and not self.running)


class ProgressReader:
    """Reads the state of a sweep, and only what has changed since the last time.

    Args:
        tracker: ``None`` if MLflow cannot be reached; jobs that failed before they had a run of
            their own are missing then.
    """

    def __init__(self, outline: Outline, tracker: Tracker | None) -> None:
        self._outline, self._tracker = outline, tracker
        self._phases: dict[Path, PhaseReader] = {}
        self._failed: dict[int, str] = {}
        self._next_query = 0.0
        self._effort: dict[str, float] = {}
        for job in outline.jobs or ():
            self._effort[f"job {job.number}"] = _weigh(job.images, job.evaluated)
            if job.pretext is not None:
                self._effort[job.pretext] = _weigh(job.pretext_images, job.pretext_evaluated)

    def read(self, *, ask_mlflow: bool = False) -> Progress:
        """The state now; of MLflow, as it was some seconds ago unless ``ask_mlflow``."""
        if ask_mlflow or time.monotonic() >= self._next_query:
            self._query_mlflow()
        for folder in self._outline.folders:
            for path in Path(folder).rglob(f"*/{RECORD}"):  # trials have a folder for each seed
                self._phases.setdefault(path.parent, PhaseReader(path.parent))
        sweep, since = self._outline.run_id, self._outline.started
        found = [reader.read(sweep, since) for reader in self._phases.values()]
        phases = [phase for phase in found if phase is not None]
        done, problems = self._judge(phases)
        jobs = self._outline.jobs
        left = self._count_left(phases, done | problems.keys())
        effort = sum(images * self._effort[key] for key, images in left.items())
        speed = self._measure_speed(phases)
        return Progress(
            total=None if jobs is None else len(jobs),
            done=len(done),
            problems=problems,
            running=sorted((phase for phase in phases if phase.is_running), key=lambda at: at.job),
            images=sum(phase.images for phase in phases),
            images_left=None if jobs is None else sum(left.values()),
            seconds_left=effort / speed if jobs is not None and speed else None,
            is_closed=self._is_closed(),
        )

    def _is_closed(self) -> bool:
        folder = Path(self._outline.record)
        record = RunRecord.load(folder)
        was_killed = LOST_SECONDS < silence(folder) < math.inf
        return was_killed or (record is not None and record.status is not None)

    def _judge(self, phases: Collection[PhaseProgress]) -> tuple[set[int], dict[int, str]]:
        """The jobs that are done, and why others failed."""
        running = {at.job for at in phases if at.is_running}  # a trial perhaps with another seed
        done = {at.job for at in phases if at.name == "downstream" and at.is_finished} - running
        for job in self._outline.jobs or ():  # a job comes after the one that it repeats
            if job.is_finished or job.same_as in done:
                done.add(job.number)
        # MLflow has the better reason for a process that is gone: too little memory, for example.
        problems = {at.job: at.problem for at in phases if at.problem is not None} | self._failed
        return done, {
            number: problem
            for number, problem in sorted(problems.items())
            if number not in done | running  # it was tried again
        }

    def _count_left(
        self, phases: Iterable[PhaseProgress], ended: Collection[int]
    ) -> dict[str, float]:
        """The images that each phase which has not ended still has to process."""
        total: dict[str, float] = {}
        finished = {at.key for at in phases if at.is_finished}
        for job in self._outline.jobs or ():
            if job.number in ended or job.same_as is not None:
                continue
            total[f"job {job.number}"] = job.images
            if job.pretext is not None and job.pretext not in finished:
                total[job.pretext] = job.pretext_images
        processed = {at.key: at.images for at in phases if at.problem is None}
        return {key: max(0.0, images - processed.get(key, 0.0)) for key, images in total.items()}

    def _measure_speed(self, phases: Iterable[PhaseProgress]) -> float:
        """Images per second of all jobs together, lately, with those that are only evaluated."""
        now = time.time()
        since, effort = now, 0.0
        for phase in phases:
            before = 0.0
            for ended, processed, seconds in phase.epochs:
                if ended > now - _WINDOW:
                    effort += (processed - before) * self._effort.get(phase.key, 1.0)
                    since = min(since, ended - seconds)
                before = processed
        return effort / max(now - since, 1e-3)

    def _query_mlflow(self) -> None:
        """Failures of jobs without a run, and folders of resumed runs: they may be anywhere."""
        if self._tracker is None:
            return
        started = time.monotonic()
        try:
            run_id = self._outline.run_id
            parent = self._tracker.runs.get(run_id)
            self._failed = {n: each.error for n, each in load_failures(parent).items()}
            for run in self._tracker.runs.running():
                if run.tags.get(Tag.PARENT_RUN_ID) == run_id:
                    folder = Path(run.tags[Tag.FOLDER])
                    self._phases.setdefault(folder, PhaseReader(folder))
        except TrackingError:  # it may be back for the next one
            pass
        ended = time.monotonic()
        self._next_query = ended + max(_MLFLOW_SECONDS, 10 * (ended - started))


def _weigh(images: int, evaluated: int) -> float:
    """The effort for each image trained on, if the phase evaluates others beside them."""
    return 1.0 + _EVALUATION * evaluated / max(1, images)
