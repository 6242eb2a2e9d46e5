"""Which launchers and sweepers can be used, checked before a sweep starts."""

from __future__ import annotations

import importlib.util
import os
import shutil

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from omegaconf import DictConfig

from ssl_rot.errors import ConfigError
from ssl_rot.sweep.slots import find_setting_faults

_UNDER_TORCHRUN = "TORCHELASTIC_RUN_ID"  # a variable that torchrun sets


def is_basic(node: DictConfig) -> bool:
    """Whether a launcher or sweeper is Hydra's own: one job after the other, all known ahead."""
    name: str = node._target_
    return name.endswith((".BasicLauncher", ".BasicSweeper"))


def is_parallel(node: DictConfig) -> bool:
    """Whether a launcher is ``hydra/launcher=parallel``."""
    name: str = node._target_
    return name.endswith(".ParallelLauncher")


def is_slurm(node: DictConfig) -> bool:
    """Whether a launcher is ``hydra/launcher=slurm``."""
    name: str = node._target_
    return name.endswith(".SlurmLauncher")


def choose_basic_under_torchrun(config: DictConfig) -> None:
    """Replaces the default launcher, which hands jobs to other processes than torchrun's."""
    is_chosen = any(item.startswith("hydra/launcher=") for item in config.hydra.overrides.hydra)
    if _UNDER_TORCHRUN in os.environ and not is_chosen:
        config.hydra.launcher = {"_target_": f"{BasicLauncher.__module__}.{BasicLauncher.__name__}"}


def check_launcher_and_sweeper(config: DictConfig) -> None:
    """Refuses a launcher or sweeper that is not installed or would train a job more than once.

    Raises:
        ConfigError: names the option and what to do about it.
    """
    faults = []
    options = config.hydra.runtime.choices
    for kind in ("launcher", "sweeper"):
        package = ".".join(config.hydra[kind]._target_.split(".")[:2])
        if importlib.util.find_spec(package) is None:
            name = package.rpartition(".")[2].replace("_", "-")
            option = options[f"hydra/{kind}"]
            faults.append(f"hydra/{kind}={option} is not installed; run: pip install {name}")
    launcher = config.hydra.launcher
    if is_parallel(launcher):
        faults += find_setting_faults(launcher)
    if _UNDER_TORCHRUN in os.environ and not is_basic(launcher):
        faults.append(
            "under torchrun all processes work on one job at a time, but hydra/launcher="
            f"{options['hydra/launcher']} hands jobs to other processes; leave out the launcher, "
            "or start without torchrun"
        )
    if is_slurm(launcher):
        faults += _check_slurm(launcher, config.hydra.sweeper)
    if launcher.get("nodes", 1) * launcher.get("tasks_per_node", 1) != 1:
        faults.append(
            "hydra.launcher.nodes and tasks_per_node must be 1: each task would train the whole "
            "job. For several GPUs per job, use torchrun in a batch script of your own, without "
            "a launcher"
        )
    if faults:
        raise ConfigError(faults)


def _check_slurm(launcher: DictConfig, sweeper: DictConfig) -> list[str]:
    faults = []
    if importlib.util.find_spec("submitit") is None:
        faults.append("hydra/launcher=slurm needs submitit; run: pip install submitit")
    if shutil.which("sbatch") is None:
        faults.append("hydra/launcher=slurm needs SLURM's sbatch, which is not on the PATH here")
    if not (isinstance(launcher.jobs_per_task, int) and launcher.jobs_per_task > 0):
        faults.append(
            f"hydra.launcher.jobs_per_task={launcher.jobs_per_task} is not allowed; it must be a "
            "whole number of at least 1"
        )
    if not launcher.wait and (not is_basic(sweeper) or sweeper.max_batch_size is not None):
        faults.append(
            "hydra.launcher.wait=false needs all jobs at once: use the basic sweeper, and leave "
            "out hydra.sweeper.max_batch_size"
        )
    return faults
