"""A sweep's frame: a plan before its first job, a parent run around it, a table at its end.

The table is made from MLflow, the one place that every launcher's jobs write to, wherever they run.
Nothing heavy is imported before a sweep starts: Hydra builds the callback for single runs too.
"""

from __future__ import annotations

import hashlib
import logging
import shlex
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from ssl_rot.errors import EXIT_STATUS, SweepFailed, UserError

if TYPE_CHECKING:
    from ssl_rot.plan import Plan
    from ssl_rot.tracking import RunLog, Tracker

log = logging.getLogger(__name__)

_opened: list[Sweep] = []


class Sweep(Callback):
    """Hydra's callback; see ``hydra.callbacks`` in ``conf/config.yaml``."""

    tracker: Tracker
    parent: RunLog
    plan: Plan | None
    _run: AbstractContextManager[RunLog]

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Makes the store, the plan and the parent run, and tells the jobs of the parent."""
        try:
            self._start(config)
        except UserError as error:
            log.error("%s", error)
            sys.exit(EXIT_STATUS)  # an ordinary exception in a callback would be a mere warning

    def _start(self, config: DictConfig) -> None:
        from ssl_rot.config import flatten
        from ssl_rot.errors import as_text
        from ssl_rot.job import open_tracker
        from ssl_rot.plan import jobs_of, make_plan
        from ssl_rot.tracking import Tag

        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        folder = Path(config.hydra.sweep.dir).absolute()
        self.tracker = open_tracker(config)
        grid = list(config.hydra.overrides.task)
        params: dict[str, Any] = OmegaConf.to_container(config.hydra.sweeper, resolve=True)  # type: ignore[assignment]
        jobs = jobs_of(config, hydra.config_loader)
        self.plan = None
        if jobs is None:
            print("The sweeper chooses its jobs as it goes; each is checked when it starts.")
        else:
            self.plan = make_plan(jobs, config, hydra.config_loader, self.tracker, folder)
            print(self.plan.describe(self.tracker), flush=True)
        # The same command again: what resume=true looks for.
        same = sorted(item for item in grid if not item.startswith("resume="))
        key = hashlib.sha256(f"{same} {params}".encode()).hexdigest()[:16]
        unfinished = (
            self.tracker.unfinished("sweep", Tag.CONFIG_KEY, key) if config.resume else None
        )
        self._run = self.tracker.start(
            "sweep " + " ".join(same)[:100],
            folder,
            {Tag.PHASE: "sweep", Tag.CONFIG_KEY: key, Tag.COMMAND: shlex.join(sys.argv)},
            {"overrides": " ".join(grid)}
            | {f"sweeper.{k}": as_text(v) for k, v in flatten(params).items() if v is not None},
            unfinished=unfinished,
        )
        self.parent = self._run.__enter__()
        _opened.append(self)
        with open_dict(config):
            config.hydra.overrides.task.append(f"tracking.parent_run_id={self.parent.run_id}")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Prints and records the table of jobs; ends the program with 1 if any failed."""
        failed = self._close(None)
        if failed:
            sys.exit(1)

    def _close(self, error: BaseException | None) -> int:
        """Ends the parent run.

        Args:
            error: what stopped the sweep before its end.

        Returns:
            How many jobs did not finish.
        """
        from ssl_rot.outcome import outcomes, print_table

        _opened.remove(self)
        table = outcomes(self.tracker, self.parent.run_id, self.plan)
        failed = int((table["status"] != "FINISHED").sum())
        print_table(table)
        self.parent.table(table, "jobs")
        if error is None and failed:
            error = SweepFailed(f"{failed} of {len(table)} jobs did not finish")
        try:
            self._run.__exit__(type(error) if error else None, error, None)
        except BaseException as raised:
            if raised is not error:
                raise
        return failed


def close_stopped(error: BaseException) -> None:
    """Ends the sweep that ``error`` stopped, if there is one: Hydra calls no callback then."""
    for sweep in tuple(_opened):
        sweep._close(error)
