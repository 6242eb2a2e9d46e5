"""Which job of a sweep starts next: seed by seed, pre-training runs first, then the longest job.

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
        seed: that it belongs to.
    """

    number: int
    key: str
    pretext: str | None
    pretext_images: int
    images: int
    floor: str | None = None
    seed: int = 0


class Scheduler:
    """Hands out jobs one at a time, so that none waits for another while it runs.

    Seeds come one after the other, in the order of the command line: a sweep that is interrupted
    after hours leaves seeds that can be compared. As many seeds as there are slots are pre-trained
    ahead, side by side. Toward the end, which in a sweep of few jobs is its start, the longest
    comes first whatever its seed: a slot that is left alone with it would keep the others waiting.

    The first job that needs a pre-training trains it. The others that need it are held back until
    it is done; if the job that trains it ends before that, the next one takes over.

    Args:
        slots: how many jobs run at once.
    """

    def __init__(self, jobs: Iterable[Work], slots: int) -> None:
        self._waiting = sorted(jobs, key=lambda job: job.number)
        self._slots = slots
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
        seeds = dict.fromkeys(job.seed for job in self._waiting)
        in_turn = not self._is_near_the_end()
        turns = {seed: turn if in_turn else 0 for turn, seed in enumerate(seeds)}
        running = {job.key for job in self._running.values()}
        ready = [job for job in self._waiting if job.key not in running]
        untrained = [
            job for job in ready if self._must_pretrain(job) and job.pretext not in self._training
        ]
        first = min(untrained, key=lambda j: (turns[j.seed], -self._length(j)), default=None)
        if first is not None and turns[first.seed] < self._slots:
            return self._start(first)
        floors = {job.floor for job in self._running.values()}
        # Of equally long ones, those that end together had better have different floors.
        other = min(
            (job for job in ready if not self._must_pretrain(job)),
            key=lambda j: (turns[j.seed], -self._length(j), j.floor in floors),
            default=first,
        )
        return None if other is None else self._start(other)

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

    def _is_near_the_end(self) -> bool:
        """Whether less is left for each slot than twice the longest job that is waiting."""
        if self._slots == 1:
            return False  # any order takes as long
        shared = {j.pretext: j.pretext_images for j in self._waiting if self._must_pretrain(j)}
        own = (j.images + j.pretext_images * (j.pretext is None) for j in self._waiting)
        left = sum(shared.values()) + sum(own)
        return left < 2 * self._slots * max(map(self._length, self._waiting), default=0)

    def _length(self, job: Work) -> int:
        is_pretrained = job.pretext in self._pretrained
        return job.images + (0 if is_pretrained else job.pretext_images)

    def _must_pretrain(self, job: Work) -> bool:
        return job.pretext is not None and job.pretext not in self._pretrained

    def _start(self, job: Work) -> Work:
        if self._must_pretrain(job):
            self._training[str(job.pretext)] = job.number
        self._waiting.remove(job)
        self._running[job.number] = job
        return job
