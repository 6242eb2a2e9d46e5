"""Which job of a sweep starts next: pre-trainings first and side by side, then the longest job.

Knows neither processes nor MLflow: whoever runs the jobs reports what happened.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """What a job needs and costs.

    Args:
        number: of the job.
        key: jobs with the same key give the same result, so only one of them is trained.
        pretext: the key of pre-trained weights that the job shares and that do not exist yet;
            ``None`` if it starts from weights that exist, or from none.
        pretext_images: that pre-training processes, if the job has to pre-train.
        images: that the job processes after that.
        floor: the key of the floors that it measures at its end, unless another one has; if two do
            so at once, one waits.
    """

    number: int
    key: str
    pretext: str | None
    pretext_images: int
    images: int
    floor: str | None = None


class Scheduler:
    """Hands out jobs one at a time, so that none waits for another while it runs.

    The first job that needs a pre-training trains it. The others that need it are held back until
    it is done; if the job that trains it ends before that, the next one takes over.
    """

    def __init__(self, jobs: Iterable[Work]) -> None:
        # The longest first; of equal ones, in the order of the command line.
        self._waiting = sorted(jobs, key=lambda job: (-job.pretext_images - job.images, job.number))
        self._running: dict[int, Work] = {}
        self._training: dict[str, int] = {}  # which job trains a pretext
        self._pretrained: set[str] = set()

    @property
    def is_done(self) -> bool:
        """Whether no job is running or waiting."""
        return not self._waiting and not self._running

    @property
    def has_started_all(self) -> bool:
        """Whether no job is waiting."""
        return not self._waiting

    def next(self) -> Work | None:
        """The job to start now; ``None`` if each one left must wait for one that is running."""
        running = {job.key for job in self._running.values()}
        ready = [job for job in self._waiting if job.key not in running]
        for job in ready:
            if self._must_pretrain(job) and job.pretext not in self._training:
                self._training[str(job.pretext)] = job.number
                return self._start(job)
        ready = [job for job in ready if not self._must_pretrain(job)]
        floors = {job.floor for job in self._running.values()}
        # Of equally long ones, those that end together had better have different floors.
        longest = max(ready, key=lambda job: (job.images, job.floor not in floors), default=None)
        return None if longest is None else self._start(longest)

    def pretrained(self, number: int) -> None:
        """Job ``number`` has the pre-trained weights that it needs."""
        key = self._running[number].pretext
        if key is not None:
            self._pretrained.add(key)
            self._training.pop(key, None)

    def ended(self, number: int, *, finished: bool) -> list[Work]:
        """Job ``number`` has ended. Returns the jobs that its result makes superfluous."""
        job = self._running.pop(number)
        if job.pretext is not None and self._training.get(job.pretext) == number:
            del self._training[job.pretext]
        if not finished:
            return []
        same = [other for other in self._waiting if other.key == job.key]
        self._waiting = [other for other in self._waiting if other.key != job.key]
        return same

    def _must_pretrain(self, job: Work) -> bool:
        return job.pretext is not None and job.pretext not in self._pretrained

    def _start(self, job: Work) -> Work:
        self._waiting.remove(job)
        self._running[job.number] = job
        return job
