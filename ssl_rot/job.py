"""What one run is, before it does anything: its data, its device, its keys, its place in MLflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from ssl_rot.compute import Compute, resolve
from ssl_rot.config import flatten
from ssl_rot.data import Dataset, Source
from ssl_rot.errors import UserError, WeightsError, as_text
from ssl_rot.keys import Keys, compute_keys
from ssl_rot.pretext import Pretext
from ssl_rot.tracking import WEIGHTS, Tracker


@dataclass(frozen=True)
class Setting:
    """What training needs to know.

    Args:
        config: valid and resolved.
    """

    config: dict[str, Any]
    compute: Compute
    data: Dataset
    pretext: Pretext

    @property
    def seed(self) -> int:
        return int(self.config["seed"])


@dataclass(frozen=True)
class Job(Setting):
    """What the stages of one run share.

    Args:
        params: the config, flat, as MLflow takes it, with the chosen option of each group.
        folder: for what the run writes to the disk.
        weights: the file that ``model.weights`` came to.
    """

    params: dict[str, str]
    folder: Path
    keys: Keys
    tracker: Tracker
    weights: Path | None

    @property
    def resume(self) -> bool:
        return bool(self.config["resume"])

    @property
    def arm(self) -> str:
        return "rotation" if self.pretext.angles else "supervised"

    @property
    def sweep(self) -> str | None:
        """The MLflow run of the sweep that the job belongs to."""
        parent: str | None = self.config["tracking"]["parent_run_id"]
        return parent


def open_tracker(config: Mapping[str, Any]) -> Tracker:
    """The tracking store of a config, with what a crash left RUNNING there closed."""
    tracking = config["tracking"]
    tracker = Tracker(tracking["experiment_name"], tracking["uri"])
    tracker.close_dead()
    return tracker


def set_up(
    config: dict[str, Any], choices: Mapping[str, str], folder: Path, tracker: Tracker
) -> Job:
    """Loads the data and computes the keys.

    Args:
        config: valid and resolved.
        choices: the chosen option of each group.
        folder: for what the run writes to the disk.
        tracker: of ``config["tracking"]``.

    Raises:
        UserError: data or weights are missing, or not what the config says.
    """
    setting = settle(config)
    weights = _starting_weights(config["model"].get("weights"), tracker, folder)
    keys = compute_keys(
        config,
        data=setting.data.fingerprint,
        arithmetic=setting.compute.arithmetic,
        weights=None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest(),
    )
    params = {key: as_text(value) for key, value in flatten(config).items()}
    # The option's name beside its keys: what people group and filter by.
    params |= {group: name for group, name in choices.items() if group in config}
    return Job(
        **vars(setting), params=params, folder=folder, keys=keys, tracker=tracker, weights=weights
    )


def settle(config: dict[str, Any]) -> Setting:
    """Loads the data, and finds out what to compute with.

    Args:
        config: valid and resolved.

    Raises:
        UserError: data is missing, or not what the config says.
    """
    compute = resolve(
        config["device"],
        config["precision"],
        compiled=config["compile"],
        sync_batchnorm=config["sync_batchnorm"],
    )
    data = _load(config["dataset"], config["seed"])
    return Setting(config, compute, data, build(config["pretext"]))


def build(node: Mapping[str, Any], **extra: Any) -> Any:
    """Hydra's ``instantiate``, with the user's message taken out of Hydra's wrapping."""
    try:
        return instantiate(dict(node), **extra)
    except Exception as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def _load(node: Mapping[str, Any], seed: int) -> Dataset:
    source = _source(json.dumps(node["source"]))
    rest = {key: value for key, value in node.items() if key != "source"}
    # A partial, since Hydra would take a Source among its arguments for a config.
    dataset: Dataset = build(rest | {"_partial_": True})(source=source, seed=seed)
    return dataset


@lru_cache(maxsize=2)
def _source(node: str) -> Source:
    """The jobs of a sweep mostly share their data: read it once a process."""
    source: Source = build(json.loads(node))
    return source


def _starting_weights(name: str | None, tracker: Tracker, folder: Path) -> Path | None:
    if name is None or Path(name).is_file():
        return None if name is None else Path(name)
    if len(name) == 32 and set(name) <= set("0123456789abcdef"):
        return tracker.artifact(name, WEIGHTS, folder / "start")
    raise WeightsError(f"model.weights={name} is neither a file nor the id of an MLflow run")
