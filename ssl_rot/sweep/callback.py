"""A sweep's frame: a plan before its first job, a parent run around it, a table at its end.

The table is made from MLflow, the one place that every launcher's jobs write to, wherever they run.
Nothing heavy is imported before a sweep starts: Hydra builds the callback for single runs too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shlex
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf, open_dict

from ssl_rot.errors import EXIT_STATUS, ConfigError, SweepFailed, UserError, describe_error
from ssl_rot.sweep import workers

if TYPE_CHECKING:
    from ssl_rot.experiment.context import RunContext
    from ssl_rot.sweep.plan import Plan
    from ssl_rot.tracking import RunLog, Tracker

log = logging.getLogger(__name__)

_opened: list[Sweep] = []


class Sweep(Callback):
    """Hydra's callback; see ``hydra.callbacks`` in ``conf/config.yaml``."""

    folder: Path
    tracker: Tracker
    parent: RunLog
    plan: Plan | None
    _run: AbstractContextManager[RunLog]

    def __getstate__(self) -> dict[str, Any]:
        # Launchers send the callbacks along with each job, which needs nothing of this; an open run
        # could not travel, and what it imports would load torch before the job's environment holds.
        return {}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Makes the store, the plan and the parent run, and tells the jobs of the parent."""
        try:
            self._start(config)
        except UserError as error:
            log.error("%s", error)
            sys.exit(EXIT_STATUS)
        except Exception:
            # Hydra would make a warning of it, and start the jobs.
            log.exception("The sweep could not be prepared")
            sys.exit(1)

    def _start(self, config: DictConfig) -> None:
        _check_launcher_and_sweeper(config)

        from ssl_rot.experiment.context import open_tracker
        from ssl_rot.sweep.plan import make_plan
        from ssl_rot.tracking import Tag

        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.tracker = open_tracker(config)
        self.plan = make_plan(config, hydra.config_loader, self.tracker, self.folder)
        if self.plan is None:
            print("The sweeper chooses its jobs as it goes; each is checked when it starts.")
        else:
            print(self.plan.describe(self.tracker), flush=True)
            # The plan has composed every job; Hydra would do so once more only to see that it can,
            # which is a tenth of the time of a sweep of short jobs.
            setattr(Sweeper, "validate_batch_is_legal", lambda sweeper, batch: None)  # noqa: B010
        overrides = list(config.hydra.overrides.task)
        grid = _grid(config)
        # The same command again: what resume=true looks for.
        same = sorted(item for item in overrides if not item.startswith("resume="))
        key = hashlib.sha256(f"{same} {grid}".encode()).hexdigest()[:16]
        unfinished = self.tracker.resumable("sweep", Tag.CONFIG_KEY, key) if config.resume else None
        # The run's lock stays where its tag says: elsewhere the jobs would take it for dead.
        folder = self.folder if unfinished is None else Path(unfinished.tags[Tag.FOLDER])
        command = shlex.join(["python", "-m", "ssl_rot.run", *sys.argv[1:]])
        workers.allow(self.folder)
        self._run = self.tracker.start(
            "sweep " + " ".join(same)[:100],
            folder,
            {Tag.PHASE: "sweep", Tag.CONFIG_KEY: key, Tag.COMMAND: command},
            {"overrides": " ".join(overrides), **grid},
            unfinished=unfinished,
        )
        self.parent = self._run.__enter__()
        _opened.append(self)
        if unfinished is not None:  # what failed the last time is tried again
            for tag in (Tag.JOB_ERROR, Tag.JOB_KEY, Tag.JOB_OVERRIDES):
                self.tracker.runs.remove_tags(unfinished, f"{tag}.")
        with open_dict(config):
            config.hydra.overrides.task.append(f"tracking.parent_run_id={self.parent.run_id}")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Prints and records the table of jobs; ends the program with 1 if any failed."""
        try:
            failed = self._close(None)
        except UserError as error:
            log.error("The sweep's table could not be made: %s", error)
            log.error("python -m ssl_rot.sync %s sends what MLflow missed.", self.folder)
            with suppress(UserError):
                self._run.__exit__(type(error), error, None)
            sys.exit(1)
        except Exception as error:  # a mere warning for Hydra, and an exit status of 0
            log.exception("The sweep's table could not be made: %s", error)
            sys.exit(1)
        if failed:
            sys.exit(1)

    def _close(self, error: BaseException | None) -> int:
        """Ends the parent run, once no job of the sweep is at work on this machine any more.

        Args:
            error: what ended the sweep before all its jobs did.

        Returns:
            How many jobs did not finish.
        """
        from ssl_rot.sweep.job_table import job_table, mark_best, print_table

        _opened.remove(self)
        if isinstance(error, KeyboardInterrupt):
            workers.stop(self.folder)
        else:
            # A launcher that lost one job may give up waiting for the others.
            workers.wait(self.folder)
        self.tracker.close_dead()
        table = job_table(self.tracker, str(self.parent.run_id), self.plan)
        failed = int((table["status"] != "FINISHED").sum())
        print_table(table)
        if self.plan is None:
            mark_best(self.tracker, table)
        self.parent.table(table, "jobs")
        if failed and not isinstance(error, KeyboardInterrupt):
            error = SweepFailed(f"{failed} of {len(table)} jobs did not finish")
        elif isinstance(error, SystemExit):  # what Hydra makes of what a launcher raised
            error = SweepFailed("The launcher or the sweeper failed")
        try:
            self._run.__exit__(type(error) if error else None, error, None)
        except BaseException as raised:
            if raised is not error:
                raise
        return failed


def stop_workers() -> None:
    """Lets the workers of the sweep, if there is one, finish their epoch."""
    for sweep in _opened:
        workers.stop(sweep.folder)


def close_stopped(error: BaseException) -> None:
    """Ends the sweep that ``error`` stopped, if there is one: Hydra calls no callback then."""
    for sweep in tuple(_opened):
        sweep._close(error)


def note_failure(
    config: DictConfig, hydra: HydraConf, context: RunContext | None, error: Exception
) -> None:
    """Leaves with the sweep's run why a job failed, for jobs that fail before they have a run.

    Args:
        config: of the job.
        hydra: Hydra's own config of it.
        context: of the job, if it came that far.
        error: why it failed.
    """
    from ssl_rot.experiment.context import open_tracker
    from ssl_rot.tracking import Tag

    parent = config.tracking.parent_run_id
    own = [item for item in hydra.overrides.task if not item.startswith("tracking.parent_run_id=")]
    notes = {Tag.JOB_OVERRIDES: " ".join(own), Tag.JOB_ERROR: describe_error(error)}
    if context is not None:
        notes[Tag.JOB_KEY] = context.keys.config
    try:
        tracker = open_tracker(config)
        for tag, value in notes.items():
            tracker.runs.tag(parent, f"{tag}.{hydra.job.num}", value)
    except Exception as failure:  # the job's own failure is the one to tell
        log.warning("MLflow was not told of it: %s", failure)


def _grid(config: DictConfig) -> dict[str, str]:
    """The sweeper's settings, flat, as MLflow's params take them."""
    from ssl_rot.config.params import flatten
    from ssl_rot.errors import as_text

    settings: dict[str, Any] = OmegaConf.to_container(config.hydra.sweeper, resolve=True)  # type: ignore[assignment]
    return {
        "sweeper." + key.replace("+", ""): as_text(value)  # MLflow takes no plus in a name
        for key, value in flatten(settings).items()
        if value is not None
    }


def _check_launcher_and_sweeper(config: DictConfig) -> None:
    """Refuses a launcher or a sweeper that is not installed, or that would train more than once."""
    faults = []
    for kind in ("launcher", "sweeper"):
        package = ".".join(config.hydra[kind]._target_.split(".")[:2])
        if importlib.util.find_spec(package) is None:
            name = package.rpartition(".")[2].replace("_", "-")
            option = config.hydra.runtime.choices[f"hydra/{kind}"]
            faults.append(f"hydra/{kind}={option} is not installed here: pip install {name}")
    launcher = config.hydra.launcher
    if "TORCHELASTIC_RUN_ID" in os.environ and not launcher._target_.endswith(".BasicLauncher"):
        option = config.hydra.runtime.choices["hydra/launcher"]
        faults.append(
            "torchrun's processes work on one job after the other, and "
            f"hydra/launcher={option} gives jobs to others; leave the launcher away, or start "
            "without torchrun"
        )
    if launcher.get("nodes", 1) * launcher.get("tasks_per_node", 1) != 1:
        faults.append(
            "hydra.launcher.nodes and tasks_per_node must be 1: each task would train the whole "
            "job. Several GPUs a job: torchrun in a batch script of your own, without a launcher"
        )
    if faults:
        raise ConfigError(faults)
