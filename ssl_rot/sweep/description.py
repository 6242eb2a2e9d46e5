"""What a plan comes to: in words for the terminal, and job by job for those who follow it."""

from __future__ import annotations

from collections import defaultdict

import pandas as pd

from ssl_rot.errors import without_password
from ssl_rot.sweep.outline import OutlinedJob, name_pretext
from ssl_rot.sweep.plan import Plan, PlannedJob
from ssl_rot.sweep.wording import shorten_number


class PlanDescription:
    """A plan, and what follows from it.

    Attributes:
        same_as: the jobs that repeat an earlier one, and which.
        to_train: the jobs whose downstream phase is trained.
        pretexts: the pre-training runs that these need, by name, with the jobs that use each.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        first: dict[str, int] = {}
        for job in plan.jobs:
            first.setdefault(job.keys.config, job.number)
        self.same_as = {
            job.number: first[job.keys.config]
            for job in plan.jobs
            if first[job.keys.config] != job.number
        }
        self.to_train = [
            job for job in plan.jobs if job.finished is None and job.number not in self.same_as
        ]
        self.pretexts: dict[str, list[PlannedJob]] = defaultdict(list)
        for job in self.to_train:
            if (name := _pretext_of(job)) is not None:
                self.pretexts[name].append(job)

    def summarize(self) -> str:
        """How many jobs, pre-training runs beside those stored, labels, and images."""
        distinct = len(self.plan.jobs) - len(self.same_as)
        total = len(self.plan.jobs)
        jobs = f"Sweep of {total} job{'' if total == 1 else 's'}"
        if self.same_as:
            jobs += f", {len(self.same_as)} of them duplicates that are not trained again"
        if finished := distinct - len(self.to_train):
            jobs += f"; {finished} finished earlier, {len(self.to_train)} to train"

        unshared = sum(not users[0].reuses_pretext for users in self.pretexts.values())
        existing = sum(map(self._is_stored, self.pretexts))
        backbones = f"Pre-trained backbones needed: {len(self.pretexts)}"
        if unshared:
            backbones += f", {unshared} of them for one job each (pretext.reuse=false)"
        if existing:
            backbones += f", {existing} of them already in MLflow"

        pretext = sum(users[0].pretext_images for users in self.to_pretrain)
        total = pretext + sum(job.images for job in self.to_train)
        images = f"Images to process: {shorten_number(total)}"
        if pretext:
            images += f", {shorten_number(pretext)} of them in pre-training"
        labels = ", ".join(dict.fromkeys(job.labels for job in self.plan.jobs))
        return f"{jobs}.\n{backbones}.\nLabeled images: {labels}.\n{images}."

    @property
    def to_pretrain(self) -> list[list[PlannedJob]]:
        """For each pre-training that is not stored, the jobs that use it."""
        return [users for name, users in self.pretexts.items() if not self._is_stored(name)]

    def list_jobs(self) -> str:
        """A table with a line for each job."""
        common = _common_overrides(self.plan)
        names = {name: f"#{number}" for number, name in enumerate(self.pretexts)}
        rows = [
            {
                "job": job.number,
                "overrides": _describe_overrides(job, common),
                "labels": job.labels,
                "images": shorten_number(job.images),
                "pre-training": names.get(str(_pretext_of(job)), "-"),
                "state": self._describe_state(job),
            }
            for job in self.plan.jobs
        ]
        lines = [pd.DataFrame(rows).to_string(index=False), ""]
        for name, users in self.pretexts.items():
            state = "in MLflow already" if self._is_stored(name) else "to train"
            images = shorten_number(users[0].pretext_images)
            numbers = ", ".join(str(job.number) for job in users)
            lines.append(f"Pre-training {names[name]}: {images} images, {state}, jobs {numbers}")
        return "\n".join(lines)

    def outline_jobs(self) -> list[OutlinedJob]:
        """The jobs as an :class:`Outline` keeps them."""
        common = _common_overrides(self.plan)
        return [
            OutlinedJob(
                job.number,
                _describe_overrides(job, common),
                job.images,
                None if (name := _pretext_of(job)) is None or self._is_stored(name) else name,
                job.pretext_images,
                job.finished is not None,
                self.same_as.get(job.number),
                job.evaluated,
                job.pretext_evaluated,
            )
            for job in self.plan.jobs
        ]

    def _describe_state(self, job: PlannedJob) -> str:
        if job.finished is not None:
            return f"finished, run {job.finished.run_id}"
        same = self.same_as.get(job.number)
        return "to train" if same is None else f"same as job {same}"

    def _is_stored(self, name: str) -> bool:
        return name in self.plan.stored_pretexts


def _pretext_of(job: PlannedJob) -> str | None:
    if not job.pretrains:
        return None
    return name_pretext(str(job.keys.pretext), job.number, shared=job.reuses_pretext)


def _common_overrides(plan: Plan) -> set[str]:
    return set.intersection(*(set(job.overrides) for job in plan.jobs))


def _describe_overrides(job: PlannedJob, common: set[str]) -> str:
    return without_password(" ".join(item for item in job.overrides if item not in common))
