"""What a sweep is going to do, found out before its first job: jobs, twins, pretexts, faults."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ssl_rot.config import validate
from ssl_rot.errors import ConfigError, UserError
from ssl_rot.job import set_up
from ssl_rot.keys import Keys
from ssl_rot.tracking import Tag, Tracker


@dataclass(frozen=True)
class Planned:
    """A job: its number, what was overridden for it, and its keys."""

    number: int
    overrides: tuple[str, ...]
    keys: Keys
    finished: bool


@dataclass(frozen=True)
class Plan:
    """All jobs of a sweep."""

    jobs: tuple[Planned, ...]

    def describe(self, tracker: Tracker) -> str:
        """The plan in two lines."""
        different = {job.keys.config for job in self.jobs}
        done = {job.keys.config for job in self.jobs if job.finished}
        pretexts = {job.keys.pretext for job in self.jobs if job.keys.pretext and not job.finished}
        known = sum(tracker.find("pretext", Tag.PRETEXT_KEY, key) is not None for key in pretexts)
        twins = len(self.jobs) - len(different)
        text = f"Sweep of {len(self.jobs)} jobs"
        if twins:
            text += f", {twins} of them the same as another and not trained again"
        if done:
            text += f"; {len(done)} finished before, {len(different) - len(done)} to train"
        text += f".\nPre-training: {len(pretexts)} different"
        return text + (f", {known} of them in MLflow already." if known else ".")


def jobs_of(config: DictConfig, loader: ConfigLoader) -> list[list[str]] | None:
    """Each job's overrides, as Hydra's own sweeper makes them; ``None`` for a sweeper that chooses.

    Args:
        config: of the sweep.
        loader: of the running Hydra.
    """
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(".BasicSweeper"):
        return None
    params = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    arguments = [*params, *config.hydra.overrides.task]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    return BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]


def make_plan(
    jobs: Sequence[Sequence[str]],
    config: DictConfig,
    loader: ConfigLoader,
    tracker: Tracker,
    folder: Path,
) -> Plan:
    """Composes and validates every job, loads its data, and computes its keys.

    Raises:
        ConfigError: every fault of every job, each told once with the jobs that have it.
    """
    planned = []
    faults: dict[str, list[int]] = defaultdict(list)
    for number, overrides in enumerate(jobs):
        job_config = loader.load_sweep_config(config, list(overrides))
        choices = OmegaConf.to_container(job_config.hydra.runtime.choices)
        assert isinstance(choices, dict)
        OmegaConf.set_struct(job_config, False)
        del job_config["hydra"]
        try:
            valid = validate(job_config)
            job = set_up(valid, {str(k): str(v) for k, v in choices.items()}, folder, tracker)
        except ConfigError as error:
            for fault in error.faults:
                faults[fault].append(number)
            continue
        except UserError as error:
            faults[str(error)].append(number)
            continue
        done = job.resume and tracker.find("downstream", Tag.CONFIG_KEY, job.keys.config)
        planned.append(Planned(number, tuple(overrides), job.keys, bool(done)))
    if faults:
        raise ConfigError([f"{fault}  [{_jobs(at, len(jobs))}]" for fault, at in faults.items()])
    return Plan(tuple(planned))


def _jobs(numbers: Sequence[int], total: int) -> str:
    if len(numbers) == total:
        return "in every job"
    shown = ", ".join(str(number) for number in numbers[:8])
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"job {shown}{more}" if len(numbers) == 1 else f"jobs {shown}{more}"
