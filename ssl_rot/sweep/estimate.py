"""How long a sweep will train and how much it will write, from a few steps of its phases."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch

from ssl_rot.data import Batches
from ssl_rot.experiment.context import load_training_context
from ssl_rot.experiment.phases import PHASES
from ssl_rot.freeze import set_train_mode, trainable_parameters
from ssl_rot.sweep.description import PlanDescription
from ssl_rot.sweep.plan import PlannedJob
from ssl_rot.training.compute import Compute
from ssl_rot.training.phase import Phase

_STEPS = 3
_COPIES = 2
"""Of the weights of each run: in its folder, and in MLflow."""


@dataclass(frozen=True)
class Estimate:
    """What all phases of a sweep take.

    Args:
        seconds: of training and evaluation, one phase after the other.
        disk: bytes of weights that stay.
    """

    seconds: float
    disk: float


@dataclass(frozen=True)
class _Cost:
    """Of a kind of phase: seconds per image trained on, seconds per epoch besides, bytes."""

    image: float
    epoch: float
    disk: float


def estimate_costs(description: PlanDescription) -> Estimate:
    """Trains each kind of phase in the plan for a few steps."""
    phases = [("pretext", users[0]) for users in description.to_pretrain]
    phases += [("downstream", job) for job in description.to_train]
    costs: dict[str, _Cost] = {}
    seconds = disk = 0.0
    for name, job in phases:
        kind = _describe_kind(name, job)
        if kind not in costs:
            context = load_training_context(job.config)
            costs[kind] = _measure(PHASES[name](context, None), context.compute)
        images = job.pretext_images if name == "pretext" else job.images
        cost = costs[kind]
        seconds += images * cost.image + _epochs(name, job) * cost.epoch
        disk += cost.disk
    return Estimate(seconds, disk)


def _epochs(name: str, job: PlannedJob) -> int:
    config = job.config["pretext"] if name == "pretext" else job.config
    return int(config["schedule"]["epochs"])


def _describe_kind(name: str, job: PlannedJob) -> str:
    """Phases of the same kind take the same time per image."""
    config = deepcopy(job.config)
    for key in ("seed", "tracking", "resume", "checkpoint", "dry_run", "loss"):
        config.pop(key, None)
    pretext = config.pop("pretext")
    schedule = config.pop("schedule")
    labels = [config["dataset"].pop(key, None) for key in ("labels_per_class", "label_fraction")]
    if name == "pretext":
        schedule = pretext.pop("schedule")
        config["pretext"] = pretext
    elif job.train_images < schedule["batch_size"]:  # the batches are smaller
        config["labels"] = labels
    return json.dumps([name, config, schedule["batch_size"]], sort_keys=True, default=str)


def _measure(phase: Phase, compute: Compute) -> _Cost:
    model, epochs = phase.model, phase.schedule.epochs
    compute.place(model)
    phase.loss_fn.to(compute.device)
    frozen = phase.frozen(1)
    optimizer, _ = phase.schedule.build(trainable_parameters(model, frozen), len(phase.train))

    def train() -> int:
        inputs, targets = next(phase.train.epoch(1))
        optimizer.zero_grad(set_to_none=True)
        phase.loss_fn(compute.logits(model, inputs), targets).backward()
        optimizer.step()
        return len(inputs)

    def evaluate(batches: Batches) -> int:
        with torch.inference_mode():
            inputs, _ = next(batches.epoch(0))
            compute.logits(model, inputs)
        return len(inputs)

    set_train_mode(model, frozen)
    image = _seconds_per_image(train, compute)
    model.eval()
    evaluations = 0.0
    for split in phase.evaluations.values():
        per_image = _seconds_per_image(lambda split=split: evaluate(split), compute)  # type: ignore[misc]
        evaluations += per_image * _count_images(split)
    disk = _COPIES * sum(t.numel() * t.element_size() for t in model.state_dict().values())
    stays_frozen = phase.frozen(epochs) == frozenset(model.backbone.stage_names)
    if stays_frozen and phase.train.same_every_epoch and phase.train.task is None:
        # Its features are computed once; the head on top of them takes next to no time.
        return _Cost(image / epochs, evaluations / epochs, disk)
    return _Cost(image, evaluations, disk)


def _count_images(batches: Batches) -> int:
    first, _ = next(batches.epoch(0))
    return len(first) * len(batches.images) // batches.sizes[0]


def _seconds_per_image(step: Callable[[], int], compute: Compute) -> float:
    step()
    _synchronize(compute)
    seconds = []
    for _ in range(_STEPS):
        started = time.perf_counter()
        images = step()
        _synchronize(compute)
        seconds.append((time.perf_counter() - started) / images)
    # Beside other work a step may wait for a core; the median leaves such steps out.
    return statistics.median(seconds)


def _synchronize(compute: Compute) -> None:
    if compute.device.type == "cuda":
        torch.cuda.synchronize()
