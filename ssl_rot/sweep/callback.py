"""Where Hydra calls in: before the first job of a sweep and after the last one.

Hydra builds the callback for single runs too, so nothing heavy is imported before a sweep starts.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from ssl_rot.errors import EXIT_STATUS, TrackingError, UserError
from ssl_rot.imports import importing_much
from ssl_rot.sweep import worker_locks
from ssl_rot.sweep.composition import Composer, split_overrides
from ssl_rot.sweep.fork_server import start_fork_server
from ssl_rot.sweep.plugin_checks import (
    check_launcher_and_sweeper,
    choose_basic_under_torchrun,
    is_parallel,
)

if TYPE_CHECKING:
    from ssl_rot.sweep.parent_run import ParentRun

log = logging.getLogger(__name__)

# The sweep that this process runs. Hydra keeps its callbacks to itself, and does not call them
# when a sweep is interrupted.
_open_run: ParentRun | None = None


class Sweep(Callback):
    """Plans a sweep, opens its run in MLflow, and closes it with a table of the jobs.

    Hydra's callback; see ``hydra.callbacks`` in ``conf/config.yaml``.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends the program if a single run has nowhere to write to."""
        folder = Path(config.hydra.run.dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            log.disabled = False
            log.error(
                "hydra.run.dir=%s cannot be written to in %s (%s). Choose another folder, or "
                "change to a directory of your own.",
                *(folder, Path.cwd(), error.strerror),
            )
            sys.exit(EXIT_STATUS)
        if config.dry_run is True:  # anything else is checked with the other keys
            try:
                _print_dry_run(config, [list(config.hydra.overrides.task)], is_sweep=False)
            except UserError as error:
                log.error("%s", error)
                sys.exit(EXIT_STATUS)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Checks all jobs and opens the sweep's run. Ends the program if that fails."""
        global _open_run
        log.disabled = False  # hydra/hydra_logging=disabled: an error still reaches stderr
        try:
            choose_basic_under_torchrun(config)
            check_launcher_and_sweeper(config)
            jobs, composer = split_overrides(config), Composer(config)
            if config.dry_run is True:  # anything else is checked with the other keys
                _print_dry_run(config, jobs, is_sweep=True)
            if is_parallel(config.hydra.launcher):
                start_fork_server(composer.sources(jobs))

            with importing_much():
                from ssl_rot.sweep.parent_run import ParentRun

            _open_run = ParentRun.open(config, jobs, composer)
            _open_run.adopt_jobs(config)
            _open_run.view.start()
        except UserError as error:
            log.error("%s", error)
            sys.exit(EXIT_STATUS)
        except Exception:
            # Hydra would turn it into a warning and start the jobs.
            log.exception("The sweep could not be prepared")
            sys.exit(1)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Prints and records the table of jobs. Ends the program with 1 if a job failed."""
        if sys.exception() is not None:  # Hydra 1.4; :mod:`ssl_rot.run` closes the sweep with it
            return
        if not close_open_sweep():
            sys.exit(1)


def _print_dry_run(config: DictConfig, jobs: list[list[str]] | None, *, is_sweep: bool) -> NoReturn:
    from ssl_rot.sweep.dry_run import print_dry_run

    print_dry_run(config, jobs, is_sweep=is_sweep)
    sys.exit(0)


def open_sweep() -> ParentRun:
    """The sweep that this process runs."""
    assert _open_run is not None
    return _open_run


def stop_open_sweep() -> None:
    """Asks the workers of the sweep, if one is open, to stop after the epoch that they are in."""
    if _open_run is not None:
        worker_locks.stop_workers(_open_run.folder)


def close_open_sweep(error: BaseException | None = None) -> bool:
    """Closes the sweep, if one is open. Returns whether all its jobs finished.

    Args:
        error: what ended it early.
    """
    global _open_run
    log.disabled = False  # the jobs' logging may have disabled it
    run = _open_run
    if run is None:  # handed over, or never opened
        return True
    try:
        return run.close(error)
    except UserError as failure:
        log.error("The table of jobs could not be recorded: %s", failure)
        if isinstance(failure, TrackingError):
            log.error("Once MLflow answers, run: %s", run.log.sync_command(run.folder))
    except Exception as failure:  # Hydra would turn it into a warning and exit with 0
        log.exception("The table of jobs could not be recorded: %s", failure)
    finally:
        _open_run = None  # until here, a signal stops its workers
    return False


def hand_over_open_sweep(submit: Callable[[Callable[[], None]], str]) -> None:
    """Leaves the open sweep to a later SLURM job; see :meth:`ParentRun.hand_over`."""
    global _open_run
    run, _open_run = open_sweep(), None
    run.hand_over(submit)
