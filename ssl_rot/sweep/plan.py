"""What a sweep will do, known before its first job: its jobs, duplicates, pre-trainings, faults."""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict, read_write

from ssl_rot.config.run_keys import RunKeys
from ssl_rot.config.validation import validate
from ssl_rot.data import Split
from ssl_rot.errors import ConfigError, UserError
from ssl_rot.experiment.context import RunContext, open_run_context
from ssl_rot.experiment.pipeline import find_finished_runs
from ssl_rot.experiment.resume import check_resumable
from ssl_rot.pretext import Pretext
from ssl_rot.sweep.composition import Composer
from ssl_rot.tracking import StoredRun, Tag, Tracker


@dataclass(frozen=True)
class PlannedJob:
    """A job of a sweep, by Hydra's number; ``keys`` identify its runs.

    Args:
        composed: its config with the ``hydra`` node, pickled: a thousand of them take little room.
        config: the same resolved and validated.
        params: the same as MLflow takes it.
        request_key: see :class:`RunContext`.
        pretrains: whether it has a pretext phase.
        reuses_pretext: whether it takes pretext weights that exist already.
        pretext_images: that its pre-training processes, 0 without one.
        images: that its downstream phase processes.
        pretext_evaluated: images that its pre-training evaluates, in all epochs together.
        evaluated: that its downstream phase evaluates.
        labels: how many labels it uses, in words.
        arm: ``supervised``, or the name of its pretext.
        finished: the run of an earlier sweep, or a single one, that ``resume=true`` found.
    """

    number: int
    overrides: tuple[str, ...]
    composed: bytes
    config: dict[str, Any]
    params: dict[str, str]
    keys: RunKeys
    request_key: str
    pretrains: bool
    reuses_pretext: bool
    pretext_images: int
    images: int
    pretext_evaluated: int
    evaluated: int
    labels: str
    arm: str
    finished: StoredRun | None = None

    @property
    def train_images(self) -> int:
        """Images that its downstream phase trains on in each epoch."""
        return self.images // int(self.config["schedule"]["epochs"])


@dataclass(frozen=True)
class Plan:
    """All jobs of a sweep.

    Args:
        stored_pretexts: the keys of the pre-trained weights that MLflow has already.
    """

    jobs: tuple[PlannedJob, ...]
    stored_pretexts: frozenset[str]

    @property
    def compares_arms(self) -> bool:
        """Whether the sweep can end with a verdict."""
        arms = {job.arm for job in self.jobs}
        return "supervised" in arms and len(arms) > 1


class Planner:
    """Plans jobs, one at a time.

    Args:
        folder: of the sweep.
    """

    def __init__(self, composer: Composer, tracker: Tracker, folder: Path) -> None:
        self.composer, self.tracker, self.folder = composer, tracker, folder

    def plan(self, number: int, overrides: Sequence[str]) -> PlannedJob:
        """Composes and validates a job, loads its data, and computes its keys.

        Raises:
            UserError: the job has a fault.
        """
        job = self.composer.compose(overrides)
        with read_write(job.hydra), open_dict(job.hydra.job):
            job.hydra.job.id, job.hydra.job.num = str(number), number
        composed = pickle.dumps(job)
        choices: dict[str, Any] = OmegaConf.to_container(job.hydra.runtime.choices)  # type: ignore[assignment]
        OmegaConf.set_struct(job, False)
        del job["hydra"]
        if job.tracking != self.composer.config.tracking:
            raise ConfigError(["tracking.* cannot be swept: it must be the same for all jobs"])
        context = open_run_context(validate(job), choices, self.folder, self.tracker)
        return PlannedJob(
            number,
            tuple(overrides),
            composed,
            context.config,
            context.params,
            context.keys,
            context.request_key,
            isinstance(context.pretext, Pretext),
            context.pretext.reuse,
            pretext_images=_count_pretext_images(context),
            images=context.downstream_samples * context.config["schedule"]["epochs"],
            pretext_evaluated=_count_pretext_evaluated(context),
            evaluated=_count(context.data.held_out) * context.config["schedule"]["epochs"],
            labels=context.data.count_labels(),
            arm=context.arm,
        )

    def find_stored_pretexts(self, jobs: Iterable[PlannedJob]) -> frozenset[str]:
        """The keys of the pre-trained weights that the jobs share and MLflow has already."""
        keys = {
            str(job.keys.pretext)
            for job in jobs
            if job.pretrains and job.reuses_pretext and job.finished is None
        }
        find = partial(self.tracker.runs.find, "pretext", Tag.PRETEXT_KEY, everywhere=True)
        return frozenset(key for key in keys if find(key) is not None)


def _count_pretext_images(context: RunContext) -> int:
    """The samples that the pre-training of a run processes."""
    task, images = context.pretext, context.data.pretext_images
    if not isinstance(task, Pretext):
        return 0
    return len(images) * task.views * task.schedule.epochs


def _count_pretext_evaluated(context: RunContext) -> int:
    task = context.pretext
    if not isinstance(task, Pretext):
        return 0
    return _count(context.data.held_out_from_pretext) * task.views * task.schedule.epochs


def _count(splits: Mapping[str, Split]) -> int:
    return sum(len(split) for split in splits.values())


def make_plan(planner: Planner, jobs: Sequence[Sequence[str]]) -> Plan:
    """Plans all jobs, and looks up what is finished already.

    Raises:
        ConfigError: all faults together, with the jobs they affect.
        ResumeError: the folder has an interrupted sweep of other configs.
    """
    planned = []
    faults: dict[str, list[int]] = defaultdict(list)
    for number, overrides in enumerate(jobs):
        try:
            planned.append(planner.plan(number, overrides))
        except UserError as error:
            for fault in error.faults if isinstance(error, ConfigError) else [str(error)]:
                faults[fault].append(number)
    if faults:
        raise ConfigError([f"{text}  [{_list_jobs(at, len(jobs))}]" for text, at in faults.items()])
    if planner.composer.config.resume:
        check_resumable(planned, planner.folder, planner.tracker)
    return look_up_results(planner, planned)


def look_up_results(planner: Planner, jobs: Sequence[PlannedJob]) -> Plan:
    """The plan of these jobs, with what MLflow has of their results."""
    if planner.composer.config.resume:
        finished = find_finished_runs(planner.tracker)
        jobs = [
            replace(job, finished=finished.get(job.keys.config) or finished.get(job.request_key))
            for job in jobs
        ]
    return Plan(tuple(jobs), planner.find_stored_pretexts(jobs))


def earlier_runs(plan: Plan | None) -> list[str]:
    """The ids of runs that a sweep need not repeat, perhaps of other sweeps."""
    jobs = () if plan is None else plan.jobs
    return [job.finished.run_id for job in jobs if job.finished is not None]


def _list_jobs(numbers: Sequence[int], total: int) -> str:
    if len(numbers) == total:
        return "all jobs"
    shown = ", ".join(str(number) for number in numbers[:8])
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"{'job' if len(numbers) == 1 else 'jobs'} {shown}{more}"
