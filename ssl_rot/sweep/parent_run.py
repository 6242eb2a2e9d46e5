"""A sweep's own run in MLflow, the parent of its jobs' runs: from the plan to the table of jobs.

The table is built from MLflow, the one place that the jobs of every launcher write to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ssl_rot.config.params import flatten
from ssl_rot.errors import SweepFailed, UserError, as_text
from ssl_rot.experiment.context import open_tracker, typed_command
from ssl_rot.sweep.best_model import log_best_model
from ssl_rot.sweep.composition import Composer
from ssl_rot.sweep.description import PlanDescription
from ssl_rot.sweep.failures import forget_failures
from ssl_rot.sweep.hand_over import check_not_queued, close_handed_over
from ssl_rot.sweep.job_table import record_job_table
from ssl_rot.sweep.markdown import describe_plan
from ssl_rot.sweep.orphans import wait_for_orphans
from ssl_rot.sweep.outline import Outline
from ssl_rot.sweep.plan import Plan, Planner, make_plan
from ssl_rot.sweep.plugin_checks import is_parallel
from ssl_rot.sweep.progress import ProgressReader
from ssl_rot.sweep.redirection import hydras_log_in
from ssl_rot.sweep.screen import SweepView
from ssl_rot.sweep.slots import Slot, open_slots
from ssl_rot.sweep.verdict import record_verdict
from ssl_rot.sweep.worker_locks import claim_folder, stop_workers, wait_for_workers
from ssl_rot.tracking import RunLog, StoredRun, Tag, Tracker
from ssl_rot.tracking.history import now
from ssl_rot.tracking.slurm import is_requeued
from ssl_rot.training.compute import describe_gpus


@dataclass(frozen=True)
class ParentRun:
    """The run of a sweep, which stays open while its jobs run.

    Args:
        plan: ``None`` if the sweeper chooses its jobs as it goes.
        slots: of ``hydra/launcher=parallel``; none with other launchers.
        unfinished: the interrupted or failed sweep that it resumes.
        view: what the terminal shows while jobs run.
        stack: ends the run in MLflow when it is closed.
    """

    folder: Path
    tracker: Tracker
    planner: Planner
    plan: Plan | None
    slots: tuple[Slot, ...]
    log: RunLog
    unfinished: StoredRun | None
    view: SweepView
    stack: ExitStack

    @classmethod
    def open(
        cls, config: DictConfig, jobs: Sequence[Sequence[str]] | None, composer: Composer
    ) -> ParentRun:
        """Plans the sweep, prints the plan, and starts or resumes the run.

        Args:
            jobs: the overrides of each; ``None`` if the sweeper chooses them as it goes.

        Raises:
            UserError: a job has a fault, data is missing, or MLflow does not answer.
        """
        config.resume = config.resume or is_requeued()  # a batch job with the whole sweep
        folder = Path(config.hydra.sweep.dir).absolute()
        tracker = open_tracker(config)
        planner = Planner(composer, tracker, folder)
        slots = open_slots(config) if is_parallel(config.hydra.launcher) else ()
        plan, summary = _make_and_print_plan(planner, jobs)
        overrides = list(config.hydra.overrides.task)
        grid = _flatten_sweeper(config)
        # The same command gives the same key, with or without resume=true, while it means the same
        # jobs in the same order: in a resumed sweep, they are known by their numbers.
        command = sorted(item for item in overrides if not item.startswith("resume="))
        means = None if plan is None else [job.request_key for job in plan.jobs]
        key = hashlib.sha256(f"{command} {grid} {means}".encode()).hexdigest()[:16]
        gpus = {Tag.GPUS: describe_gpus()} if torch.cuda.device_count() else {}
        with ExitStack() as stack:
            stack.enter_context(claim_folder(folder))
            stack.enter_context(hydras_log_in(folder))
            unfinished = None
            if config.resume:
                check_not_queued(tracker, key)
                plan = plan and wait_for_orphans(planner, plan)
                unfinished = stack.enter_context(tracker.claim_resumable("sweep", key))
            log = stack.enter_context(
                tracker.start(
                    "sweep " + " ".join(command)[:100],
                    # A resumed run keeps its folder: its tag says where the lock is that shows the
                    # jobs that the sweep is alive.
                    folder if unfinished is None else Path(unfinished.tags[Tag.FOLDER]),
                    {
                        Tag.PHASE: "sweep",
                        Tag.CONFIG_KEY: key,
                        Tag.COMMAND: typed_command(),
                        Tag.SOURCE: typed_command(),
                        Tag.NOTE: describe_plan(typed_command(), summary),
                        **gpus,
                    },
                    {"overrides": " ".join(overrides), **grid},
                    unfinished=unfinished,
                )
            )
            outline = _save_outline(log, folder, plan)
            view = SweepView(ProgressReader(outline, tracker))
            stack.callback(view.stop)  # however the sweep ends
            return cls(
                folder, tracker, planner, plan, slots, log, unfinished, view, stack.pop_all()
            )

    def adopt_jobs(self, config: DictConfig) -> None:
        """Makes the jobs children of this run; jobs that failed before are tried again."""
        if self.unfinished is not None:
            forget_failures(self.tracker, self.unfinished)
        # Hydra composes every job with these overrides; its version 1.4 protects them.
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.overrides.task.append(f"tracking.parent_run_id={self.log.run_id}")

    def close(self, error: BaseException | None = None) -> bool:
        """Records the table of jobs and ends the run, once no job on this machine is running.

        Returns whether all jobs finished; if not, ``error`` is what ended the sweep early. An error
        or a signal meanwhile ends the run, too.
        """
        try:
            failure = self._conclude(interrupted=isinstance(error, KeyboardInterrupt))
        except BaseException as broken:
            with suppress(UserError):  # a full disk again
                self._end(broken)
            raise
        if failure is not None and not isinstance(error, KeyboardInterrupt):
            error = failure
        elif isinstance(error, SystemExit):  # Hydra's, for whatever a launcher raised
            error = SweepFailed("The launcher or the sweeper failed")
        self._end(error)
        return failure is None

    def _conclude(self, *, interrupted: bool) -> SweepFailed | None:
        if interrupted:
            stop_workers(self.folder)
        else:
            # A launcher that lost one job may stop waiting for the others.
            wait_for_workers(self.folder)
        self.tracker.close_dead()
        self.view.stop()
        failure = record_job_table(self.tracker, self.log, self.plan)
        if not interrupted:
            record_verdict(self.log, self.tracker.store.uri, self.plan)
            if self._wants_best_model:
                log_best_model(self.tracker, str(self.log.run_id), self.plan)
        return failure

    @property
    def _wants_best_model(self) -> bool:
        """Not without validation images: a test accuracy chooses nothing."""
        data = [] if self.plan is None else [job.config["dataset"] for job in self.plan.jobs]
        can_choose = all(
            each.get("val_per_class") is not None or each.get("val_fraction") for each in data
        )
        return can_choose and bool(self.planner.composer.config.log_model == "best")

    def hand_over(self, submit: Callable[[Callable[[], None]], str]) -> None:
        """Leaves the run open, to be closed by a SLURM job.

        Args:
            submit: submits the function that the job has to call, and returns the job's id.
        """
        self.view.stop()
        store, folder = self.tracker.store, self.log.record.folder
        closer = submit(
            partial(
                close_handed_over,
                store.experiment_name,
                store.uri,
                self.plan,
                folder,
                with_best_model=self._wants_best_model,
            )
        )
        self.tracker.runs.tag(str(self.log.run_id), Tag.CLOSER, closer)
        self.log.hand_over()
        self.stack.close()
        print(
            f"SLURM job {closer} closes the sweep once all jobs have ended. Its table will be in "
            f"{folder}/jobs.csv and in MLflow, run {self.log.run_id}. Until then: "
            "python -m ssl_rot.sweep status"
        )

    def _end(self, error: BaseException | None) -> None:
        details = (None, None, None) if error is None else (type(error), error, error.__traceback__)
        self.stack.__exit__(*details)


def _save_outline(log: RunLog, folder: Path, plan: Plan | None) -> Outline:
    record = log.record
    outline = Outline(
        run_id=str(log.run_id),
        uri=record.uri,
        experiment=record.experiment,
        folders=sorted({str(folder), str(record.folder)}),
        record=str(record.folder),
        jobs=None if plan is None else PlanDescription(plan).outline_jobs(),
        started=now(),
    )
    outline.save()
    return outline


def _make_and_print_plan(
    planner: Planner, jobs: Sequence[Sequence[str]] | None
) -> tuple[Plan | None, str]:
    """The plan, if there is one, and what it says."""
    if jobs is None:
        config = planner.composer.config
        seeds = f"{config.tune_seeds} seeds" if config.tune_seeds != 1 else f"seed {config.seed}"
        arm = f"one arm, pretext={config.hydra.runtime.choices.pretext}"
        summary = f"Tunes {arm}, by its accuracy on the validation split ({seeds}).\n"
        summary += "The sweeper chooses the jobs as it goes; each is checked when it starts."
        print(summary)
        return None, summary
    plan = make_plan(planner, jobs)
    summary = PlanDescription(plan).summarize()
    print(summary, flush=True)
    # Hydra would compose every job once more only to check that it can, which takes a tenth of
    # the time of a sweep of short jobs. The plan has composed them all.
    setattr(Sweeper, "validate_batch_is_legal", lambda sweeper, batch: None)  # noqa: B010
    return plan, summary


def _flatten_sweeper(config: DictConfig) -> dict[str, str]:
    """The sweeper's settings as MLflow's params: flat, and without a plus, which MLflow refuses."""
    settings: dict[str, Any] = OmegaConf.to_container(config.hydra.sweeper, resolve=True)  # type: ignore[assignment]
    return {
        "sweeper." + key.replace("+", ""): as_text(value)
        for key, value in flatten(settings).items()
        if value is not None
    }
