"""Keys that identify runs: with the same result, the same partner, or the same pre-training."""

import hashlib
import inspect
import json
import sysconfig
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from ssl_rot.config.params import flatten
from ssl_rot.config.schema import has_pretext, pretext_seed

# Part of every key: raise it when the same config gives another result, or names have changed.
RESULTS = 2

# Part of the keys of floors: raise it when the same images give other floors.
FLOORS = 1

# Keys that do not change a run's result, or do so as a part of the arithmetic (`compile` and
# `sync_batchnorm`).
WITHOUT_EFFECT = (
    "tracking",
    "device",
    "resume",
    "dry_run",
    "checkpoint",
    "tune_seeds",
    "profile",
    "figures",
    "log_model",
    "floors",
    "system_metrics",
    "monitor",
    "monitoring",
    "compile",
    "sync_batchnorm",
)

# The keys of `dataset` that choose labeled images among those that the pretext task sees.
BUDGET = ("labels_per_class", "label_fraction", "val_per_class")

# The keys of `dataset` and its source for where the data lies, which its fingerprint replaces.
LOCATIONS = ("root", "labels", "path")


@dataclass(frozen=True)
class RunKeys:
    """Hashes of parts of a resolved config.

    Args:
        config: of everything that can change the result, including the seed and the source files
            of targets that are not installed.
        pair: the same without the pretext task. Equal for the two arms of a comparison.
        pretext: of all that the pretext weights depend on; ``None`` without a pretext task.
        content: of what the config refers to: data, starting weights, source files, arithmetic and
            ``RESULTS``. With the config's values, it identifies runs that differ in a few of them.
        floor: of the labeled images to train on and the test images.
    """

    config: str
    pair: str
    pretext: str | None
    content: str
    floor: str


def compute_run_keys(
    config: Mapping[str, Any],
    *,
    data: str,
    arithmetic: str,
    weights: str | None,
    given: str | None = None,
    matched_samples: int | None = None,
) -> RunKeys:
    """The keys of one run with a resolved config.

    Args:
        data: the data set's fingerprint, used instead of its name and ``LOCATIONS``.
        arithmetic: the precision in effect, with all else that changes rounding.
        weights: the hash of the file in ``model.weights``, used instead of its name.
        given: the hash of the weights in ``pretext.source``, likewise; ``None`` for other arms.
        matched_samples: with ``schedule.match_images``, the samples of the pretext phase: only runs
            with the same number are partners.
    """
    common = {k: _hash_sources(v) for k, v in config.items() if k not in WITHOUT_EFFECT}
    content = {"precision": arithmetic, "data": data, "results": RESULTS}
    common |= content
    if matched_samples is not None:
        common["matched_samples"] = matched_samples
    common["model"]["weights"] = weights
    common["dataset"].pop("name", None)
    if common["dataset"].get("label_fraction") is None:  # as in runs of before there was the key
        common["dataset"].pop("label_fraction", None)
    for node in (common["dataset"], common["dataset"]["source"]):
        for key in LOCATIONS:
            node.pop(key, None)
    pretext = common.pop("pretext")
    pretext.pop("reuse")
    pretext["seed"] = pretext_seed(config)
    if given is not None:
        pretext = {"name": pretext["name"], "source": given}
    arm = {"pretext": pretext if has_pretext(config) else None}

    # Pre-training depends on neither the labels, those for validation included, nor the cut,
    # nor a policy of augmentation.
    names = ("dataset", "model", "seed", "precision", "data", "results")
    before_transfer = {k: deepcopy(common[k]) for k in names}
    for key in BUDGET:
        before_transfer["dataset"].pop(key, None)
    before_transfer["model"].pop("cut", None)
    before_transfer["dataset"].get("augment", {}).pop("policy", None)
    before_transfer["seed"] = pretext_seed(config)
    if before_transfer["seed"] != common["seed"] and _draws_images(common["dataset"]):
        before_transfer["images"] = common["seed"]
    task = {"pretext": {k: v for k, v in pretext.items() if k not in ("name", "seed")}}
    if given is None:
        task |= before_transfer
    values = flatten(common | arm).items()
    hashed = {v for key, v in values if key.endswith("._target_") and "#" in v}
    return RunKeys(
        config=_digest(common | arm),
        pair=_digest(common),
        pretext=_digest(task) if has_pretext(config) else None,
        content=_digest(content | {"weights": weights, "code": sorted(hashed)}),
        floor=_floor_key(common),
    )


def _draws_images(dataset: Mapping[str, Any], *more: str) -> bool:
    """Whether the seed chooses the training images; the names in ``more`` choose labeled ones."""
    return any(dataset.get(name) for name in ("val_fraction", "train_size", *more))


def _floor_key(common: Mapping[str, Any]) -> str:
    data = {k: v for k, v in common["dataset"].items() if k not in ("mean", "std", "augment")}
    is_drawn = _draws_images(data, *BUDGET)
    return _digest([FLOORS, common["data"], data, common["seed"] if is_drawn else None])


def _hash_sources(value: Any) -> Any:
    """A copy in which targets that are not installed are followed by a hash of their source file.

    Their authors may still be changing them.
    """
    if not isinstance(value, Mapping):
        return deepcopy(value)
    node = {key: _hash_sources(each) for key, each in value.items()}
    if "_target_" in node and (source := _find_user_source(node["_target_"])) is not None:
        node["_target_"] += "#" + hashlib.sha256(source.read_bytes()).hexdigest()
    return node


@cache  # a sweep asks for the same few targets in each job
def _find_user_source(target: str) -> Path | None:
    try:
        source = inspect.getsourcefile(get_object(target))
    except (TypeError, ImportError):  # built in, or refused by the validation
        return None
    path = Path(source or "").resolve()
    in_package = path.is_relative_to(Path(__file__).resolve().parents[1])
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    standard = path.is_relative_to(sysconfig.get_path("stdlib"))
    return path if path.is_file() and not (in_package or installed or standard) else None


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
