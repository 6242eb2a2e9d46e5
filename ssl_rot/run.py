"""``python -m ssl_rot.run +experiment=rotation``: one run; with ``--multirun`` a sweep of them."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ssl_rot.building import TRUST, VERSION_BASE
from ssl_rot.config.command_line import quote_name, starts_a_sweep
from ssl_rot.config.paths import conf_dir
from ssl_rot.errors import EXIT_STATUS, StorageError, SweepFailed, UserError
from ssl_rot.imports import importing_much
from ssl_rot.streams import outliving_readers
from ssl_rot.sweep.callback import close_open_sweep, stop_open_sweep
from ssl_rot.sweep.failures import record_failure
from ssl_rot.sweep.job_process import announce_pretrained, current_order
from ssl_rot.sweep.plugin_checks import is_basic
from ssl_rot.sweep.redirection import JOB_OUTPUT, redirected_to
from ssl_rot.sweep.worker_locks import register_worker
from ssl_rot.training.signals import Interrupts

log = logging.getLogger(__name__)


def run(cfg: DictConfig, choices: dict[str, str], folder: Path) -> float:
    """One run: pretext → transfer → downstream.

    Args:
        choices: the chosen option of each config group.
        folder: where the run writes.

    Returns:
        The last epoch's accuracy: on the validation split if there is one, else on the test set.

    Raises:
        UserError: something that the user can fix.
    """
    # Torch and MLflow take seconds to import, and --help needs neither.
    with importing_much():
        from ssl_rot.config.validation import validate
        from ssl_rot.experiment import pipeline  # noqa: F401

    return run_valid(validate(cfg), choices, folder)


def run_valid(
    config: dict[str, Any], choices: dict[str, str], folder: Path, *, is_planned: bool = False
) -> float:
    """:func:`run` with a config that is resolved and valid.

    Args:
        is_planned: it is known that the run is not finished and that nobody else trains it now.
    """
    from ssl_rot.experiment import pipeline
    from ssl_rot.experiment.context import open_run_context, open_tracker
    from ssl_rot.experiment.floors import find_or_measure_floors
    from ssl_rot.experiment.resume import check_resumable

    tracker = open_tracker(config, close_dead=not is_planned)
    parent = config["tracking"]["parent_run_id"]
    sweep = None if parent is None else tracker.runs.get(parent)
    if sweep is not None and sweep.status != "RUNNING":
        raise SweepFailed("The sweep that this job belongs to has been stopped")
    context = open_run_context(config, choices, folder, tracker, sweep)
    may_be_finished = not is_planned and (sweep is not None or context.resume)
    if context.resume and sweep is None:
        check_resumable([context], folder, tracker)
    lock = tracker.store.lock(f"config-{context.keys.config}")
    with lock if may_be_finished else nullcontext():
        found = pipeline.find_finished_run(context) if may_be_finished else None
        if found is None:
            pretrained = pipeline.run_pretext(context)
            announce_pretrained()
            downstream = pipeline.run_downstream(context, pretrained)
            floors = find_or_measure_floors(context)
            pipeline.print_summary(context, pretrained, downstream, floors)
            last, run_id = downstream.history[-1], downstream.run_id
        else:
            pipeline.summarize_finished(context, found)
            find_or_measure_floors(context)
            last, run_id = found.metrics, found.run_id
        tracker.flush()
        whose = config["log_model"]
        if run_id is not None and (whose == "all" or (whose == "best" and sweep is None)):
            from ssl_rot.deploy.logged_model import try_to_log

            try_to_log(tracker.store, run_id)
    return last.get("val_acc", last["test_acc"])


@hydra.main(config_path=conf_dir(), config_name="config", **VERSION_BASE, **TRUST)
def _task(cfg: DictConfig) -> float | None:
    log.disabled = False  # hydra/job_logging=disabled: a refusal still reaches stderr
    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode == RunMode.MULTIRUN:
        # A process that was started for the job has done so from its start.
        output = Path(hydra_cfg.runtime.output_dir).absolute() / JOB_OUTPUT
        with redirected_to(output) if current_order() is None else nullcontext():
            return _run_job(cfg, hydra_cfg)
    try:
        with Interrupts().installed():
            return run(cfg, *_choices_and_folder(hydra_cfg))
    except Exception as raised:
        error = _as_user_error(raised)
        if not isinstance(error, UserError):
            raise
        log.error("%s", error)
        sys.exit(EXIT_STATUS)


def _run_job(cfg: DictConfig, hydra_cfg: HydraConf) -> float | None:
    """One job of a sweep; a failure is recorded and leaves the other jobs alone."""
    try:
        with (
            outliving_readers(),  # a launcher's process does not come through main
            Interrupts().installed(),
            register_worker(Path(hydra_cfg.sweep.dir).absolute()),
        ):
            where = _choices_and_folder(hydra_cfg)
            if not is_basic(hydra_cfg.sweeper):
                return _run_trial(cfg, *where)
            order = current_order()
            if order is None:
                return run(cfg, *where)
            return run_valid(order.config, *where, is_planned=order.is_planned)
    except KeyboardInterrupt:
        if hydra_cfg.launcher._target_.endswith(".RayLauncher"):
            return None  # if a worker ended, ray would run the job again
        raise
    except Exception as raised:
        error = _as_user_error(raised)
        # Logged now, in the job's own log too; Hydra reports only the first failure, at the end.
        log.error(
            "Job %s failed: %s",
            hydra_cfg.job.num,
            error,
            exc_info=not isinstance(error, UserError),
        )
        if current_order() is not None:  # this process reports to the sweep
            raise error from None
        record_failure(cfg, hydra_cfg, error)
        if is_basic(hydra_cfg.sweeper):
            return None  # the table of jobs reports it
        # A sweeper that chooses by results has to know. Not every exception can be sent from one
        # process to another; this one can.
        raise SweepFailed(f"Job {hydra_cfg.job.num} failed: {error}") from None


def _run_trial(cfg: DictConfig, choices: dict[str, str], folder: Path) -> float:
    """The mean of :func:`run` over ``tune_seeds`` seeds, one after the other."""
    from ssl_rot.config.validation import validate

    config = validate(cfg)
    seeds = range(config["seed"], config["seed"] + config["tune_seeds"])
    trials = [(OmegaConf.merge(cfg, {"seed": seed}), folder / f"seed{seed}") for seed in seeds]
    return fmean(run(cast(DictConfig, trial), choices, place) for trial, place in trials)


def _choices_and_folder(hydra_cfg: HydraConf) -> tuple[dict[str, str], Path]:
    choices = {str(group): str(option) for group, option in hydra_cfg.runtime.choices.items()}
    return choices, Path(hydra_cfg.runtime.output_dir).absolute()


def _as_user_error(error: Exception) -> Exception:
    """The error, or one that says what to do if Python's or torch's own does not."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(error.filename or Path.cwd(), error)
    if isinstance(error, ValueError) and "more than 1 value per channel" in str(error):
        return UserError(
            "BatchNorm cannot be trained on a batch of one image. Choose a schedule.batch_size "
            "(pretext.schedule.batch_size) that does not leave one image for the last batch."
        )
    return error


def main() -> None:
    """The console script ``ssl-rot``."""
    arguments = [quote_name(argument, "tracking.experiment_name") for argument in sys.argv[1:]]
    sys.argv[1:] = ["--multirun"] * starts_a_sweep(arguments) + arguments
    with outliving_readers():
        if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun started this process, and maybe others
            _run_distributed()
        else:
            _run_hydra()


def _run_distributed() -> None:
    from ssl_rot.training.distributed import current_group, dismiss_workers

    if current_group().rank > 0:
        from ssl_rot.experiment.follower import follow

        follow(current_group())
        return
    try:
        _run_hydra()
    finally:
        dismiss_workers()


def _run_hydra() -> None:
    try:
        # Workers are asked to stop before the launcher learns of the signal: it would end them in
        # the middle of their epoch.
        with Interrupts(before_exit=stop_open_sweep).installed():
            try:
                _task()
            except BaseException as error:
                close_open_sweep(error)
                raise
    except KeyboardInterrupt as error:
        log.disabled = False
        log.error("Interrupted. Run the same command with resume=true to continue.")
        sys.exit(128 + getattr(error, "signum", signal.SIGINT))


if __name__ == "__main__":
    main()
