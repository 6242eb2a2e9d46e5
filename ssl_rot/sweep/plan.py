"""What a sweep will do, known before its first job: its jobs, duplicates, pre-trainings, faults."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from ssl_rot.config.run_keys import RunKeys
from ssl_rot.config.validation import validate
from ssl_rot.errors import ConfigError, UserError
from ssl_rot.experiment.context import RunContext, open_run_context
from ssl_rot.experiment.pipeline import find_finished_run
from ssl_rot.sweep.plugin_checks import is_basic
from ssl_rot.tracking import StoredRun, Tag, Tracker


@dataclass(frozen=True)
class PlannedJob:
    """A job of a sweep, by Hydra's number; ``keys`` identify its runs.

    Args:
        request_key: see :class:`RunContext`.
        reuses_pretext: whether it takes pretext weights that exist already.
        labels: how many labels it uses, in words.
        finished: the run of an earlier sweep, or a single one, that ``resume=true`` found.
    """

    number: int
    overrides: tuple[str, ...]
    keys: RunKeys
    request_key: str
    reuses_pretext: bool
    labels: str
    finished: StoredRun | None


@dataclass(frozen=True)
class Plan:
    """All jobs of a sweep."""

    jobs: tuple[PlannedJob, ...]

    def describe(self, tracker: Tracker) -> str:
        """How many jobs, how many pre-trainings beside those stored, and how many labels."""
        distinct = {job.keys.config: job for job in self.jobs}
        to_train = [job for job in distinct.values() if job.finished is None]
        jobs = f"Sweep of {len(self.jobs)} jobs"
        if duplicates := len(self.jobs) - len(distinct):
            jobs += f", {duplicates} of them duplicates that are not trained again"
        if finished := len(distinct) - len(to_train):
            jobs += f"; {finished} finished earlier, {len(to_train)} to train"

        pretrained = [job for job in to_train if job.keys.pretext is not None]
        shared = {str(job.keys.pretext) for job in pretrained if job.reuses_pretext}
        unshared = sum(not job.reuses_pretext for job in pretrained)
        existing = sum(
            tracker.runs.find("pretext", Tag.PRETEXT_KEY, key, everywhere=True) is not None
            for key in shared
        )
        backbones = f"Pre-trained backbones needed: {len(shared) + unshared}"
        if unshared:
            backbones += f", {unshared} of them for one job each (pretext.reuse=false)"
        if existing:
            backbones += f", {existing} of them already in MLflow"
        labels = ", ".join(dict.fromkeys(job.labels for job in self.jobs))
        return f"{jobs}.\n{backbones}.\nLabeled images: {labels}."


def make_plan(config: DictConfig, tracker: Tracker, folder: Path) -> Plan | None:
    """Composes and validates every job, loads its data, and computes its keys.

    Returns:
        ``None`` if the sweeper chooses its jobs as it goes.

    Raises:
        ConfigError: all faults together, with the jobs they affect.
    """
    loader = GlobalHydra.instance().config_loader()
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    arguments = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    if not is_basic(config.hydra.sweeper):
        _check_search(config, overrides)
        return None
    jobs = BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]
    planned = []
    finished: dict[str, StoredRun | None] = {}
    faults: dict[str, list[int]] = defaultdict(list)
    for number, job_overrides in enumerate(jobs):
        try:
            job = loader.load_sweep_config(config, job_overrides)
            context = _open_job(job, config.tracking, tracker, folder)
        except UserError as error:
            for fault in error.faults if isinstance(error, ConfigError) else [str(error)]:
                faults[fault].append(number)
            continue
        key = context.keys.config
        if key not in finished:
            finished[key] = find_finished_run(context) if context.resume else None
        planned.append(
            PlannedJob(
                number,
                tuple(job_overrides),
                context.keys,
                context.request_key,
                context.pretext.reuse,
                context.data.count_labels(),
                finished[key],
            )
        )
    if faults:
        raise ConfigError([f"{text}  [{_list_jobs(at, len(jobs))}]" for text, at in faults.items()])
    return Plan(tuple(planned))


def _open_job(job: DictConfig, tracking: Any, tracker: Tracker, folder: Path) -> RunContext:
    choices: dict[str, Any] = OmegaConf.to_container(job.hydra.runtime.choices)  # type: ignore[assignment]
    OmegaConf.set_struct(job, False)
    del job["hydra"]
    if job.tracking != tracking:
        raise ConfigError(["tracking.* cannot be swept: it must be the same for all jobs"])
    return open_run_context(validate(job), choices, folder, tracker)


def _check_search(config: DictConfig, overrides: Sequence[Override]) -> None:
    """A sweeper that chooses by results must not see the test set, nor pick the luckiest seed."""
    faults = []
    if config.dataset.val_fraction == 0 and config.dataset.get("val_per_class") is None:
        faults.append(
            "dataset.val_fraction=0 leaves the sweeper only the test set to choose by; "
            "set dataset.val_per_class=2 or dataset.val_fraction=0.2, for example"
        )
    faults += [
        f"{override.input_line} would be tuned, and the luckiest seed chosen; "
        "set a single seed, and repeat the best trial with seed=range(5)"
        for override in overrides
        if override.key_or_group == "seed" and override.is_sweep_override()
    ]
    faults += [
        f"{override.input_line} would be tuned, and one arm get more trials than the other; "
        "tune each arm in a sweep of its own"
        for override in overrides
        if override.key_or_group in ("pretext", "experiment") and override.is_sweep_override()
    ]
    if faults:
        raise ConfigError(faults)


def _list_jobs(numbers: Sequence[int], total: int) -> str:
    if len(numbers) == total:
        return "all jobs"
    shown = ", ".join(str(number) for number in numbers[:8])
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"{'job' if len(numbers) == 1 else 'jobs'} {shown}{more}"
