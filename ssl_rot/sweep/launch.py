"""The jobs of ``hydra/launcher=parallel``: what is planned is run, and nothing is done twice."""

from __future__ import annotations

import logging
import os
import pickle
import signal
from collections.abc import Sequence
from contextlib import suppress

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write

from ssl_rot.errors import SweepFailed, TrackingError, UserError, describe_error
from ssl_rot.sweep.callback import open_sweep
from ssl_rot.sweep.failures import JobFailure, tag_failure
from ssl_rot.sweep.job_process import JobOrder, JobOutcome
from ssl_rot.sweep.parent_run import ParentRun
from ssl_rot.sweep.plan import PlannedJob
from ssl_rot.sweep.plugin_checks import is_basic
from ssl_rot.sweep.scheduler import Scheduler, Work
from ssl_rot.sweep.slots import Slot
from ssl_rot.sweep.verdict import import_report
from ssl_rot.sweep.worker_pool import WorkerPool
from ssl_rot.training.signals import SIGNALS

log = logging.getLogger(__name__)


def launch_batch(
    context: HydraContext,
    task: TaskFunction,
    config: DictConfig,
    batch: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Runs a batch of jobs and returns when all have ended.

    Args:
        config: of the sweep.
        batch: the overrides of each job.
        first: the number of the first one.
    """
    sweep = open_sweep()
    reports: dict[int, JobOutcome] = {}
    if sweep.plan is None:
        jobs, reports = _plan_batch(sweep, batch, first)
        stored = sweep.planner.find_stored_pretexts(jobs)
    else:
        jobs = list(sweep.plan.jobs[first : first + len(batch)])
        stored = sweep.plan.stored_pretexts
        reports = {job.number: _report_finished(job) for job in jobs if job.finished is not None}
    todo = {job.number: job for job in jobs if job.finished is None}
    # What an earlier batch has trained is looked up, and not trained again.
    before = () if sweep.plan is None else sweep.plan.jobs[:first]
    known = {job.keys.config for job in before}

    def ended(number: int, report: JobOutcome) -> None:
        reports[number] = report
        if report.problem is not None:
            _record_failure(sweep, number, todo[number].overrides, report.problem)

    def idle() -> None:
        if sweep.plan is not None and sweep.plan.compares_arms:
            with suppress(Exception):  # the verdict reports it
                import_report()  # on the core that is free now

    WorkerPool(
        sweep.slots,
        Scheduler((_describe_work(job, stored) for job in todo.values()), len(sweep.slots)),
        lambda number, slot: _make_order(
            todo[number], slot, sweep, context, task, is_new=todo[number].keys.config not in known
        ),
        ended,
        idle,
    ).run()
    chooses_by_results = not is_basic(config.hydra.sweeper)
    return [
        _to_return(overrides, reports[first + index], chooses_by_results)
        for index, overrides in enumerate(batch)
    ]


def _plan_batch(
    sweep: ParentRun, batch: Sequence[Sequence[str]], first: int
) -> tuple[list[PlannedJob], dict[int, JobOutcome]]:
    """The jobs that a sweeper has just chosen, and reports of those that have a fault."""
    jobs, reports = [], {}
    for number, overrides in enumerate(batch, first):
        own = [item for item in overrides if not item.startswith("tracking.parent_run_id=")]
        try:
            jobs.append(sweep.planner.plan(number, own))
        except UserError as error:
            problem = describe_error(error)
            reports[number] = JobOutcome(problem=problem)
            _record_failure(sweep, number, own, problem)
    return jobs, reports


def _record_failure(sweep: ParentRun, number: int, overrides: Sequence[str], problem: str) -> None:
    failure = JobFailure(problem, list(overrides))
    try:
        tag_failure(sweep.tracker, str(sweep.log.run_id), number, failure)
    except TrackingError as error:
        log.warning("The failure of job %d could not be recorded: %s", number, error)


def _report_finished(job: PlannedJob) -> JobOutcome:
    assert job.finished is not None
    metrics = job.finished.metrics
    return JobOutcome(metrics.get("val_acc", metrics.get("test_acc")))


def _describe_work(job: PlannedJob, stored: frozenset[str]) -> Work:
    must_pretrain = job.pretrains and job.keys.pretext not in stored
    return Work(
        job.number,
        job.keys.config,
        job.keys.pretext if must_pretrain and job.reuses_pretext else None,
        job.pretext_images if must_pretrain else 0,
        job.images,
        job.keys.floor if job.config["floors"] else None,
        job.config["seed"],
    )


def _make_order(
    job: PlannedJob,
    slot: Slot,
    sweep: ParentRun,
    context: HydraContext,
    task: TaskFunction,
    *,
    is_new: bool,
) -> JobOrder:
    parent = str(sweep.log.run_id)
    composed: DictConfig = pickle.loads(job.composed)
    with read_write(composed.hydra), open_dict(composed):
        composed.tracking.parent_run_id = parent
        composed.hydra.overrides.task.append(f"tracking.parent_run_id={parent}")
    tracking = {**job.config["tracking"], "parent_run_id": parent}
    return JobOrder(
        pickle.dumps(composed),
        {**job.config, "tracking": tracking},
        sweep.plan is not None and is_new,
        sweep.folder / _subfolder(composed),
        (task.__module__, task.__name__),
        context,
        slot,
        dict(os.environ),
        frozenset(signum for signum in SIGNALS if signal.getsignal(signum) == signal.SIG_IGN),
    )


def _subfolder(job: DictConfig) -> str:
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(job)  # ${hydra:job.num} is looked up there
    try:
        return str(job.hydra.sweep.subdir)
    finally:
        HydraConfig.instance().cfg = before


def _to_return(overrides: Sequence[str], report: JobOutcome, chooses_by_results: bool) -> JobReturn:
    """What Hydra wants to know of a job.

    A sweeper that does not choose by results would stop at the first failure; the table of jobs
    reports them all.
    """
    if report.problem is not None and chooses_by_results:
        status, value = JobStatus.FAILED, SweepFailed(f"The job failed: {report.problem}")
    else:
        status, value = JobStatus.COMPLETED, report.value
    return JobReturn(overrides=overrides, status=status, _return_value=value)
