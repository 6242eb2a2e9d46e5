"""The jobs of a sweep as the tasks of one SLURM array.

submitit writes the batch script and carries the jobs to the tasks. It is not asked how they are
doing: it would ask ``sacct``, which needs SLURM's accounting, and warn every few seconds where that
is missing.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from ssl_rot.errors import EXIT_STATUS, SweepFailed, describe_error
from ssl_rot.sweep.callback import hand_over_open_sweep
from ssl_rot.sweep.plugin_checks import is_basic

if TYPE_CHECKING:
    from submitit import Job

log = logging.getLogger("hydra_plugins.ssl_rot_launcher.slurm")  # one of Hydra's

_POLL_SECONDS = 5.0

_CLOSING = {"cpus_per_task": 1, "gpus_per_node": None, "timeout_min": 60}
"""What the job that closes a sweep needs instead of what the sweep's own jobs do."""

_SHARED = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node")
"""Parameters that submitit has under the same name for every kind of cluster."""

NumberedJob = tuple[int, list[str]]
"""Hydra's number of a job, and its overrides."""


class ArrayLauncher(Launcher):
    """Submits the jobs of a sweep as one array.

    Args:
        submitit_folder: for batch scripts, and for what the tasks print.
        wait: whether to wait until the jobs have ended. If not, one more SLURM job closes the
            sweep, once all others have ended in whatever way.
        jobs_per_task: how many jobs share an allocation, one after the other.
        resources: submitit's parameters of a task.
    """

    def __init__(
        self, submitit_folder: str, wait: bool, jobs_per_task: int, **resources: Any
    ) -> None:
        self.folder, self.wait, self.jobs_per_task = submitit_folder, wait, jobs_per_task
        self.resources = {
            name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for name, value in resources.items()
        }

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra's call before :meth:`launch`."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Submits the jobs, and waits for them if it should."""
        jobs = list(enumerate(map(list, job_overrides), initial_job_idx))
        for number, overrides in jobs:
            log.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))
        chunks = [
            jobs[start : start + self.jobs_per_task]
            for start in range(0, len(jobs), self.jobs_per_task)
        ]
        state = Singleton.get_state()
        tasks = self._submit([partial(self._run_jobs, chunk, state) for chunk in chunks])
        array = tasks[0].job_id.partition("_")[0]
        print(f"Submitted to SLURM as job {array}: {len(jobs)} jobs in {len(tasks)} tasks.")
        if self.wait:
            _wait_for_array(array)
            return [each for pair in zip(tasks, chunks, strict=True) for each in self._read(*pair)]

        after = {**_CLOSING, "dependency": f"afterany:{array}"}
        hand_over_open_sweep(lambda close: str(self._submit([close], **after)[0].job_id))
        return []

    def _submit(self, functions: list[Callable[[], object]], **resources: Any) -> list[Job[Any]]:
        """Submits functions as one array; ends the program if SLURM refuses it."""
        import submitit

        executor = submitit.AutoExecutor(self.folder, cluster="slurm")
        parameters = {
            name if name in _SHARED else f"slurm_{name}": value
            for name, value in {**self.resources, **resources}.items()
        }
        try:
            executor.update_parameters(**parameters)
            return executor.map_array(lambda function: function(), functions)
        except (submitit.core.utils.FailedJobError, NameError, AssertionError) as error:
            log.error("SLURM did not take the jobs: %s", error)
            sys.exit(EXIT_STATUS)

    def _run_jobs(self, jobs: list[NumberedJob], state: Any) -> list[JobReturn]:
        """A task: its jobs, one after the other."""
        # submitit would answer SLURM's warning by queueing the task again, even between two jobs.
        for signum in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(signum, signal.SIG_DFL)
        Singleton.set_state(state)
        setup_globals()
        try:
            return [self._run_job(*job) for job in jobs]
        except KeyboardInterrupt as error:
            # The end of this process could wait forever for a library's thread that the signal
            # met while it started. All that must be kept is on the disk by now.
            print(describe_error(error), file=sys.stderr, flush=True)
            logging.shutdown()
            os._exit(128 + signal.SIGINT)

    def _run_job(self, number: int, overrides: list[str]) -> JobReturn:
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = os.environ["SLURM_JOB_ID"]
            config.hydra.job.num = number
        return run_job(
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=self.context,
        )

    def _read(self, task: Job[Any], jobs: list[NumberedJob]) -> list[JobReturn]:
        """What the jobs of a task returned, or that it was lost."""
        from submitit.core.utils import pickle_load

        path = task.paths.result_pickle
        outcome, returns = pickle_load(path) if path.exists() else ("lost", [])
        if outcome == "success":
            return list(returns)
        # MLflow has what became of each job, for the table; only a sweeper that chooses by the
        # results must not take a lost job for a result.
        if is_basic(self.config.hydra.sweeper):
            return [JobReturn(status=JobStatus.COMPLETED) for _ in jobs]
        lost = SweepFailed(f"SLURM job {task.job_id} ended without a result")
        return [JobReturn(status=JobStatus.FAILED, _return_value=lost) for _ in jobs]


def _wait_for_array(array: str) -> None:
    """Waits until all tasks have ended; Ctrl-C stops them as it would on this machine."""
    from ssl_rot.tracking.slurm import is_queued

    try:
        while is_queued(array):
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        subprocess.run(["scancel", "--state=PENDING", array], check=False)
        subprocess.run(["scancel", f"--signal={signal.SIGUSR1.name}", array], check=False)
        while is_queued(array):
            time.sleep(_POLL_SECONDS)
        raise
