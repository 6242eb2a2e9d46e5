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

from ssl_rot.confdir import conf_dir
from ssl_rot.errors import EXIT_STATUS, StorageError, SweepFailed, UserError
from ssl_rot.interrupt import Interrupts
from ssl_rot.sweep import close_stopped, note_failure, stop_workers
from ssl_rot.workers import at_work

if TYPE_CHECKING:
    from ssl_rot.job import Job

log = logging.getLogger(__name__)


def run(cfg: DictConfig, choices: dict[str, str], folder: Path) -> float:
    """One run, stage by stage.

    Args:
        cfg: the composed config.
        choices: the chosen option of each group.
        folder: where what the run writes to the disk goes.

    Returns:
        The last epoch's accuracy: on the validation split if there is one, else on the test set.

    Raises:
        UserError: something the user can mend.
    """
    return _work(_prepare(cfg, choices, folder))


def _prepare(cfg: DictConfig, choices: dict[str, str], folder: Path) -> Job:
    # Torch and MLflow take seconds to import, and --help needs neither.
    from ssl_rot.config import validate
    from ssl_rot.job import open_tracker, set_up

    config = validate(cfg)
    tracker = open_tracker(config)
    parent = config["tracking"]["parent_run_id"]
    if parent is not None and tracker.status(parent) != "RUNNING":
        raise SweepFailed("The sweep that this job belongs to has been stopped")
    return set_up(config, choices, folder, tracker)


def _work(job: Job) -> float:
    from ssl_rot import resume, stages

    may_be_done = job.sweep is not None or job.resume
    if job.resume and job.sweep is None:
        resume.check(job)
    with job.tracker.lock(f"config-{job.keys.config}") if may_be_done else nullcontext():
        last = stages.finished(job) if may_be_done else None
        if last is None:
            pretrained = stages.pretext(job)
            downstream = stages.downstream(job, pretrained)
            stages.summarise(job, pretrained, downstream)
            last = downstream.history[-1]
    job.tracker.settle()
    return last.get("val_acc", last["test_acc"])


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")
def _task(cfg: DictConfig) -> float | None:
    hydra_cfg = HydraConfig.get()
    choices = {str(group): str(option) for group, option in hydra_cfg.runtime.choices.items()}
    sweeping = hydra_cfg.mode == RunMode.MULTIRUN
    worker = at_work(Path(hydra_cfg.sweep.dir).absolute()) if sweeping else nullcontext()
    job = None
    try:
        with Interrupts().installed(), worker:
            job = _prepare(cfg, choices, Path(hydra_cfg.runtime.output_dir).absolute())
            return _work(job)
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
        error = _told(raised)
        if sweeping:
            # Told now and in the job's own log; Hydra would tell of the first one only, at the end.
            log.error("Job %s failed: %s", hydra_cfg.job.num, error, exc_info=not _ours(error))
            note_failure(cfg, hydra_cfg, job, error)
            if hydra_cfg.sweeper._target_.endswith(".BasicSweeper"):
                return None  # the sweep's table has it from MLflow
            # A sweeper that chooses has to know; not every exception survives the way between
            # processes.
            raise SweepFailed(f"Job {hydra_cfg.job.num} failed: {error}") from None
        if not _ours(error):
            raise
        log.error("%s", error)
        sys.exit(EXIT_STATUS)


def _told(error: Exception) -> Exception:
    """The error, or what a user can do about it where Python's or torch's says no such thing."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(error.filename or Path.cwd(), error)
    if isinstance(error, ValueError) and "more than 1 value per channel" in str(error):
        return UserError(
            "A training batch of one image gives BatchNorm nothing to measure. Take another "
            "schedule.batch_size (pretext.schedule.batch_size), that leaves no rest of one."
        )
    return error


def _ours(error: Exception) -> bool:
    return isinstance(error, UserError)


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
        _with_others()
    else:
        _lead()


def _with_others() -> None:
    from ssl_rot.distributed import dismiss, group

    if group().rank > 0:
        from ssl_rot.followers import follow

        follow(group())
        return
    try:
        _lead()
    finally:
        dismiss()


def _lead() -> None:
    try:
        # What a launcher does with its workers when it is interrupted would cost them their epoch.
        with Interrupts(before=stop_workers).installed():
            _task()
    except BaseException as error:
        close_stopped(error)
        if not isinstance(error, KeyboardInterrupt):
            raise
        log.error("Stopped. The same command with resume=true goes on where it was.")
        sys.exit(128 + getattr(error, "signum", signal.SIGINT))


if __name__ == "__main__":
    main()
