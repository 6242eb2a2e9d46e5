"""The context of a run: its data, its device, its keys, its place in MLflow."""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from ssl_rot.building import build
from ssl_rot.config.params import to_params
from ssl_rot.config.run_keys import RunKeys, compute_run_keys
from ssl_rot.config.schema import has_pretext, pretext_seed
from ssl_rot.data import Dataset, Source
from ssl_rot.errors import ConfigError
from ssl_rot.experiment.starting_weights import find_given_weights, find_weights
from ssl_rot.pretext import Arm, GivenWeights, NoPretext, Pretext
from ssl_rot.tracking import StoredRun, Tag, Tracker
from ssl_rot.tracking.slurm import is_requeued
from ssl_rot.training.compute import Compute, describe_gpus, resolve_compute

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingContext:
    """What a process needs to train; the config is valid and resolved."""

    config: dict[str, Any]
    compute: Compute
    data: Dataset
    pretext: Arm

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def pretext_seed(self) -> int:
        return pretext_seed(self.config)

    @property
    def matched_samples(self) -> int | None:
        """With ``schedule.match_images``, the samples of the pretext phase of this config."""
        if not self.config["schedule"].get("match_images"):
            return None
        images = len(self.data.pretext_images)
        return images * self.pretext.views * self.pretext.schedule.epochs

    @property
    def downstream_samples(self) -> int:
        """In an epoch: the training images, and in a matched reference those of the pretext."""
        samples, matched = len(self.data.train), self.matched_samples
        if matched is not None and isinstance(self.pretext, NoPretext):
            samples += round(matched / self.config["schedule"]["epochs"])
        return samples


@dataclass(frozen=True)
class RunContext(TrainingContext):
    """What the phases of one run share.

    Args:
        params: the config as MLflow takes it, flat, with the chosen option of each group.
        request_key: the config key with a precision of ``auto`` left as it is: a sweep may be
            planned, run and resumed on different hardware.
        sweep: the run of the sweep that this run belongs to.
        initial_weights: the file that ``model.weights`` resolved to.
        given_weights: the file that ``pretext.source`` resolved to, in an arm that has one.
    """

    params: dict[str, str]
    folder: Path
    keys: RunKeys
    request_key: str
    tracker: Tracker
    sweep: StoredRun | None
    initial_weights: Path | None
    given_weights: Path | None

    @property
    def resume(self) -> bool:
        """Whether to continue what was interrupted; a job that SLURM started again always does."""
        return bool(self.config["resume"]) or is_requeued()

    @property
    def arm(self) -> str:
        return self.pretext.tag

    @property
    def command(self) -> str:
        """What the user typed; a job of a sweep may be in a process that something else started."""
        return typed_command() if self.sweep is None else self.sweep.tags[Tag.COMMAND]


def typed_command() -> str:
    """The command that started this process."""
    return shlex.join(["python", "-m", "ssl_rot.run", *sys.argv[1:]])


def open_tracker(config: Mapping[str, Any], *, close_dead: bool = True) -> Tracker:
    """Opens the tracking store of a config.

    Args:
        close_dead: ends the runs that a crash left RUNNING there.
    """
    tracking = config["tracking"]
    # hydra.job.chdir=true moves each job into a folder of its own.
    started_in = Path(HydraConfig.get().runtime.cwd) if HydraConfig.initialized() else None
    tracker = Tracker(tracking["experiment_name"], tracking["uri"], started_in)
    if close_dead:
        tracker.close_dead()
    return tracker


def open_run_context(
    config: dict[str, Any],
    choices: Mapping[str, str],
    folder: Path,
    tracker: Tracker,
    sweep: StoredRun | None = None,
) -> RunContext:
    """Loads the data and computes the keys.

    Args:
        choices: the chosen option of each config group.

    Raises:
        UserError: data or weights are missing, or do not match the config.
    """
    training = load_training_context(config)
    gpus = None if sweep is None else sweep.tags.get(Tag.GPUS)
    if gpus is not None and config["device"] == "auto" and training.compute.device.type == "cpu":
        log.warning(
            "device=auto trains on the CPU: the sweep was started in a process that sees %s, but "
            "this job sees %s",
            gpus,
            describe_gpus(),
            extra={"urgent": True},  # a sweep shows it, beside the job's own log
        )
    name, arm = config["model"].get("weights"), training.pretext
    weights = given = None
    if name is not None:
        weights = find_weights("model.weights", name, tracker, folder / "start")
    if isinstance(arm, GivenWeights):
        channels = int(training.data.test.images.shape[1])
        given = find_given_weights(arm.source, config["model"], channels, tracker, folder / "given")
    keys_for = partial(
        compute_run_keys,
        config,
        data=training.data.fingerprint,
        weights=_hash(weights),
        given=_hash(given),
        matched_samples=training.matched_samples,
    )
    requested = replace(training.compute, precision=config["precision"])
    # The names of the options, beside their keys: people group and filter by them.
    options = {group: name for group, name in choices.items() if group in config}
    params = to_params(config) | options
    if has_pretext(config):
        params["pretext.seed"] = str(training.pretext_seed)
    if training.matched_samples is not None:  # it says why runs are no partners
        params["schedule.matched_samples"] = str(training.matched_samples)
    return RunContext(
        **vars(training),
        params=params,
        folder=folder,
        keys=keys_for(arithmetic=training.compute.arithmetic),
        request_key=keys_for(arithmetic=requested.arithmetic).config,
        tracker=tracker,
        sweep=sweep,
        initial_weights=weights,
        given_weights=given,
    )


def load_training_context(config: dict[str, Any]) -> TrainingContext:
    """Loads the data, and resolves the device and precision of a valid config.

    Raises:
        UserError: data is missing, or does not match the config.
    """
    compute = resolve_compute(
        config["device"],
        config["precision"],
        compiled=config["compile"],
        sync_batchnorm=config["sync_batchnorm"],
    )
    node = dict(config["dataset"])
    source = load_source(json.dumps(node.pop("source")))
    # A partial: Hydra would take a Source among the arguments for a config.
    data: Dataset = build(node | {"_partial_": True})(source=source, seed=config["seed"])
    pretext = build(config["pretext"])
    if not isinstance(pretext, Arm):
        fault = (
            f"pretext._target_={config['pretext']['_target_']}: makes a {type(pretext).__name__}"
        )
        raise ConfigError([f"{fault}, which is not an ssl_rot.pretext.Pretext"])
    if isinstance(pretext, Pretext) and pretext.one_process and not compute.group.is_single:
        raise ConfigError(
            [
                f"pretext={pretext.name} cannot be trained by {compute.group.size} processes; "
                "start without torchrun, or choose another pretext"
            ]
        )
    return TrainingContext(config, compute, data, pretext)


@lru_cache(maxsize=4)
def load_source(node: str) -> Source:
    """Reads the data once per process: most jobs of a sweep share it."""
    source: Source = build(json.loads(node))
    return source


def _hash(weights: Path | None) -> str | None:
    return None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest()
