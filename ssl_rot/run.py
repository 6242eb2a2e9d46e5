"""``python -m ssl_rot.run +experiment=rotation``: one run; with ``--multirun`` a sweep of them."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ssl_rot.config.paths import conf_dir
from ssl_rot.errors import EXIT_STATUS, StorageError, SweepFailed, UserError
from ssl_rot.sweep.callback import close_stopped, note_failure, stop_workers
from ssl_rot.sweep.workers import at_work
from ssl_rot.training.signals import Interrupts

if TYPE_CHECKING:
    from ssl_rot.experiment.context import RunContext

log = logging.getLogger(__name__)


def run(cfg: DictConfig, choices: dict[str, str], folder: Path) -> float:
    """One run: pretext → transfer → downstream.

    Args:
        cfg: the composed config.
        choices: the chosen option of each group.
        folder: where the run writes.

    Returns:
        The last epoch's accuracy: on the validation split if there is one, else on the test set.

    Raises:
        UserError: something the user can fix.
    """
    return _execute(_prepare(cfg, choices, folder))


def _prepare(cfg: DictConfig, choices: dict[str, str], folder: Path) -> RunContext:
    # Torch and MLflow take seconds to import, and --help needs neither.
    from ssl_rot.config.validation import validate
    from ssl_rot.experiment.context import open_run_context, open_tracker

    config = validate(cfg)
    tracker = open_tracker(config)
    parent = config["tracking"]["parent_run_id"]
    if parent is not None and tracker.runs.get(parent).status != "RUNNING":
        raise SweepFailed("The sweep that this job belongs to has been stopped")
    return open_run_context(config, choices, folder, tracker)


def _execute(context: RunContext) -> float:
    from ssl_rot.experiment import pipeline
    from ssl_rot.experiment.resume import check_resumable
    from ssl_rot.experiment.summary import print_summary

    tracker, in_sweep = context.tracker, context.sweep_run_id is not None
    may_be_finished = in_sweep or context.resume
    if context.resume and not in_sweep:
        check_resumable(context)
    lock = tracker.store.lock(f"config-{context.keys.config}")
    with lock if may_be_finished else nullcontext():
        last = pipeline.find_finished(context) if may_be_finished else None
        if last is None:
            pretrained = pipeline.run_pretext(context)
            downstream = pipeline.run_downstream(context, pretrained)
            print_summary(context, pretrained, downstream)
            last = downstream.history[-1]
    tracker.flush()
    return last.get("val_acc", last["test_acc"])


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")
def _task(cfg: DictConfig) -> float | None:
    hydra_cfg = HydraConfig.get()
    choices = {str(group): str(option) for group, option in hydra_cfg.runtime.choices.items()}
    sweeping = hydra_cfg.mode == RunMode.MULTIRUN
    worker = at_work(Path(hydra_cfg.sweep.dir).absolute()) if sweeping else nullcontext()
    context = None
    try:
        with Interrupts().installed(), worker:
            context = _prepare(cfg, choices, Path(hydra_cfg.runtime.output_dir).absolute())
            return _execute(context)
    except KeyboardInterrupt:
        launcher = hydra_cfg.launcher._target_
        if not sweeping or launcher.endswith(".BasicLauncher"):
            raise
        if "submitit" not in launcher:
            # A pool whose worker ends kills the others (joblib) or runs the job again (ray).
            return None
        # A library's thread that the signal met while it was started would be waited for at the
        # end of this process, for ever. All that is to be kept is on the disk by now.
        logging.shutdown()
        os._exit(128 + signal.SIGINT)
    except Exception as raised:
        error = _as_user_error(raised)
        if sweeping:
            # Reported now and in the job's own log; Hydra reports only the first one, at the end.
            log.error(
                "Job %s failed: %s",
                hydra_cfg.job.num,
                error,
                exc_info=not isinstance(error, UserError),
            )
            note_failure(cfg, hydra_cfg, context, error)
            if hydra_cfg.sweeper._target_.endswith(".BasicSweeper"):
                return None  # the sweep's table has it from MLflow
            # A sweeper that chooses has to know; not every exception survives the way between
            # processes.
            raise SweepFailed(f"Job {hydra_cfg.job.num} failed: {error}") from None
        if not isinstance(error, UserError):
            raise
        log.error("%s", error)
        sys.exit(EXIT_STATUS)


def _as_user_error(error: Exception) -> Exception:
    """The error, or one that says what to do if Python's or torch's own does not."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(error.filename or Path.cwd(), error)
    if isinstance(error, ValueError) and "more than 1 value per channel" in str(error):
        return UserError(
            "A training batch of one image gives BatchNorm nothing to measure. Take another "
            "schedule.batch_size (pretext.schedule.batch_size), that leaves no rest of one."
        )
    return error


def main() -> None:
    """The console script ``ssl-rot``."""
    try:
        with tempfile.TemporaryFile(dir="."):
            pass
    except OSError as error:
        print(
            f"The working directory {Path.cwd()} cannot be written ({error.strerror}). Runs leave "
            "outputs/, mlruns/ and mlflow.db there: change into a folder of your own.",
            file=sys.stderr,
        )
        sys.exit(EXIT_STATUS)
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun started this process, and maybe others
        _run_distributed()
    else:
        _run_first()


def _run_distributed() -> None:
    from ssl_rot.training.distributed import current_group, dismiss_workers

    if current_group().rank > 0:
        from ssl_rot.experiment.follower import follow

        follow(current_group())
        return
    try:
        _run_first()
    finally:
        dismiss_workers()


def _run_first() -> None:
    try:
        # What a launcher does with its workers when it is interrupted would cost them their epoch.
        with Interrupts(before_exit=stop_workers).installed():
            _task()
    except BaseException as error:
        close_stopped(error)
        if not isinstance(error, KeyboardInterrupt):
            raise
        log.error("Stopped. The same command with resume=true goes on where it was.")
        sys.exit(128 + getattr(error, "signum", signal.SIGINT))


if __name__ == "__main__":
    main()
