"""``hydra/launcher=parallel``: Hydra finds a launcher only below ``hydra_plugins``.

Hydra imports this for every command, ``--help`` among them, so nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ParallelLauncher(Launcher):
    """Runs the jobs of a sweep side by side on this machine, each in a process of its own.

    Args:
        slots: jobs at once; ``auto``: one for each core, or ``per_gpu`` for each GPU.
        gpus: how many of the visible GPUs to use; ``auto``: all.
        per_gpu: jobs at once on a GPU.
    """

    def __init__(self, slots: int | str, gpus: int | str, per_gpu: int) -> None:
        """The sweep reads and checks the settings in its config, before it opens its run."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Called by Hydra once, before the first batch of jobs."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Called by Hydra with each batch of jobs; returns when all have ended."""
        from ssl_rot.sweep.launch import launch_batch

        return launch_batch(self._context, self._task, self._config, job_overrides, initial_job_idx)
