"""What a sweep is going to do, found out before its first job: jobs, twins, pretexts, faults."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from ssl_rot.config.run_keys import RunKeys
from ssl_rot.config.validation import validate
from ssl_rot.errors import ConfigError, UserError
from ssl_rot.experiment.context import open_run_context
from ssl_rot.tracking import Tag, Tracker


@dataclass(frozen=True)
class PlannedJob:
    """A job.

    Args:
        number: Hydra's.
        overrides: what was overridden for it.
        keys: by which it is recognised.
        reuse: whether it takes pretext weights that are there.
        finished: whether it need not run.
    """

    number: int
    overrides: tuple[str, ...]
    keys: RunKeys
    reuse: bool
    finished: bool


@dataclass(frozen=True)
class Plan:
    """All jobs of a sweep."""

    jobs: tuple[PlannedJob, ...]

    def describe(self, tracker: Tracker) -> str:
        """The plan in two lines."""
        different = {job.keys.config: job for job in self.jobs}
        left = [job for job in different.values() if not job.finished]
        shared = {job.keys.pretext for job in left if job.keys.pretext and job.reuse}
        known = sum(
            tracker.runs.find("pretext", Tag.PRETEXT_KEY, key, everywhere=True) is not None
            for key in shared
        )
        own = sum(job.keys.pretext is not None and not job.reuse for job in left)
        text = f"Sweep of {len(self.jobs)} jobs"
        if twins := len(self.jobs) - len(different):
            text += f", {twins} of them the same as another and not trained again"
        if done := len(different) - len(left):
            text += f"; {done} finished before, {len(left)} to train"
        text += f".\nPre-training: {len(shared)} different"
        if own:
            text += f" to share, {own} not shared (pretext.reuse=false)"
        return text + (f", {known} of them in MLflow already." if known else ".")


def make_plan(
    config: DictConfig, loader: ConfigLoader, tracker: Tracker, folder: Path
) -> Plan | None:
    """Composes and validates every job, loads its data, and computes its keys.

    Args:
        config: of the sweep.
        loader: of the running Hydra.
        tracker: of the sweep.
        folder: of the sweep.

    Returns:
        ``None`` for a sweeper that chooses its jobs as it goes.

    Raises:
        ConfigError: every fault of every job, each told once with the jobs that have it.
    """
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    arguments = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        _check_choosing(config, overrides)
        return None
    jobs = BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]
    planned = []
    finished: dict[str, bool] = {}
    faults: dict[str, list[int]] = defaultdict(list)
    for number, job_overrides in enumerate(jobs):
        job_config = loader.load_sweep_config(config, list(job_overrides))
        choices: dict[str, Any] = OmegaConf.to_container(job_config.hydra.runtime.choices)  # type: ignore[assignment]
        OmegaConf.set_struct(job_config, False)
        del job_config["hydra"]
        try:
            if job_config.tracking != config.tracking:
                raise ConfigError(["tracking.* is the sweep's, and the same for all of its jobs"])
            job = open_run_context(validate(job_config), choices, folder, tracker)
        except UserError as error:
            for fault in error.faults if isinstance(error, ConfigError) else [str(error)]:
                faults[fault].append(number)
            continue
        key = job.keys.config
        if key not in finished:
            found = tracker.runs.find("downstream", Tag.CONFIG_KEY, key) if job.resume else None
            finished[key] = found is not None
        planned.append(
            PlannedJob(number, tuple(job_overrides), job.keys, job.pretext.reuse, finished[key])
        )
    if faults:
        raise ConfigError([f"{fault}  [{_jobs(at, len(jobs))}]" for fault, at in faults.items()])
    return Plan(tuple(planned))


def _check_choosing(config: DictConfig, overrides: Sequence[Override]) -> None:
    """A sweeper that chooses must neither see the test set nor pick the seed that was luckiest."""
    faults = []
    if config.dataset.val_fraction == 0:
        faults.append(
            "dataset.val_fraction=0 leaves the sweeper nothing but the test set to choose by; "
            "set dataset.val_fraction=0.2, say"
        )
    faults += [
        f"{override.input_line} would be tuned, and the luckiest "
        "taken; give one seed, and repeat the best trial with seed=range(5)"
        for override in overrides
        if override.key_or_group == "seed" and override.is_sweep_override()
    ]
    if faults:
        raise ConfigError(faults)


def _jobs(numbers: Sequence[int], total: int) -> str:
    if len(numbers) == total:
        return "in every job"
    shown = ", ".join(str(number) for number in numbers[:8])
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"job {shown}{more}" if len(numbers) == 1 else f"jobs {shown}{more}"
