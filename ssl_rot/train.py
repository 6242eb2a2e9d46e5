"""Fit: tensors and a log callable, nothing of Hydra or MLflow."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.profiler import record_function

from ssl_rot import freeze
from ssl_rot.compute import Compute
from ssl_rot.data import Batches
from ssl_rot.errors import NonFiniteLoss
from ssl_rot.evaluate import evaluate, progress
from ssl_rot.features import Features, precompute
from ssl_rot.meter import Meter
from ssl_rot.models import Classifier
from ssl_rot.schedules import Schedule
from ssl_rot.seeding import seeded

Record = dict[str, float]
"""One epoch's numbers by metric name."""


def fit(
    model: Classifier,
    train: Batches,
    evaluations: Mapping[str, Batches],
    *,
    loss_fn: nn.Module,
    schedule: Schedule,
    policy: freeze.Policy,
    compute: Compute,
    seed: int,
    phase: str,
    log: Callable[[int, Record], None],
    state: dict[str, Any] | None = None,
    save: Callable[[int, Callable[[], dict[str, Any]]], None] = lambda epoch, snapshot: None,
    stepped: Callable[[], None] = lambda: None,
) -> list[Record]:
    """Trains ``model`` in place.

    Args:
        train: training batches, shuffled.
        evaluations: splits to evaluate after every epoch, by prefix (``test``, ``val``).
        policy: which stages stand still, epoch by epoch.
        seed: with ``phase`` and the epoch it determines everything random.
        phase: ``pretext`` or ``downstream``.
        log: called with the epoch (from 1) and its record as soon as the epoch ends.
        state: what ``save`` kept of an interrupted phase; training goes on after its epoch.
        save: called after each epoch with a function that takes the state at that point.
        stepped: called after each training step.

    Returns:
        One record an epoch: ``train_loss``, ``train_acc`` (running means while training), the
        same for each evaluation, ``lr`` at the epoch's start, ``epoch_seconds`` (training and
        evaluation), ``images_per_second`` (samples trained on), ``images_processed`` (samples
        trained on so far in this phase).

    Raises:
        NonFiniteLoss: a loss is NaN or infinite.
    """
    compute.place(model)
    loss_fn.to(compute.device)
    stages = model.backbone.stage_names
    optimizer, scheduler = schedule.build(
        freeze.trainable(model, policy.frozen(stages, 1)), len(train)
    )
    history: list[Record] = []
    if state is not None:
        for epoch in range(2, state["epoch"] + 1):  # so that the parameters come in the same order
            _release(optimizer, model, policy.frozen(stages, epoch))
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if scheduler is not None:
            scheduler.load_state_dict(state["scheduler"])
        history = list(state["history"])
        if history and schedule.early_stop.reached(history[-1]):
            return history
    compute.group.align(model)
    began = time.perf_counter()
    network, batches, splits = _without_backbone(
        model, train, evaluations, policy, compute, schedule.epochs
    )
    ahead = time.perf_counter() - began  # what was computed for all epochs counts to the first
    trained, held = network, None
    for epoch in range(len(history) + 1, schedule.epochs + 1):
        started = time.perf_counter()
        frozen = policy.frozen(stages, epoch)
        _release(optimizer, model, frozen)
        lr = float(optimizer.param_groups[0]["lr"])
        if frozen != held:  # gradients are exchanged of what is trained
            trained, held = compute.group.parallel(network), frozen
        # What the network itself draws, such as dropout.
        with seeded(seed, phase, "noise", epoch, *compute.group.own_name):
            freeze.train_mode(model, frozen)
            meter = _train_epoch(
                trained,
                batches,
                loss_fn,
                optimizer,
                scheduler,
                schedule,
                compute,
                epoch,
                phase,
                stepped,
            )
        compute.group.align(model, buffers_only=True)
        train_loss, train_acc, samples = meter.means(compute.group)
        record: Record = {"train_loss": train_loss, "train_acc": train_acc}
        train_seconds = time.perf_counter() - started
        for prefix, split in splits.items():
            loss, accuracy = evaluate(network, split, loss_fn, compute, f"{phase} {epoch} {prefix}")
            if not math.isfinite(loss):  # the last step broke the weights after its own loss
                raise NonFiniteLoss(phase, epoch, len(train), lr, _lr_key(phase))
            record |= {f"{prefix}_loss": loss, f"{prefix}_acc": accuracy}
        before = history[-1]["images_processed"] if history else 0.0
        record |= {
            "lr": lr,
            "epoch_seconds": ahead + time.perf_counter() - started,
            "images_per_second": samples / train_seconds,
            "images_processed": before + samples,
        }
        ahead = 0.0
        history.append(record)
        with compute.group.agreed():
            log(epoch, record)
            save(epoch, partial(_snapshot, epoch, model, optimizer, scheduler, history))
        if schedule.early_stop.reached(record):
            break
    return history


def _without_backbone(
    model: Classifier,
    train: Batches,
    evaluations: Mapping[str, Batches],
    policy: freeze.Policy,
    compute: Compute,
    epochs: int,
) -> tuple[nn.Module, Batches | Features, Mapping[str, Batches | Features]]:
    """The head and its features, if the backbone stands still to the end; else what was given."""
    stages = model.backbone.stage_names
    given: dict[str, Batches] = {"train": train, **evaluations}
    ready: dict[str, Features] = {}
    if policy.frozen(stages, epochs) == frozenset(stages):
        for name, batches in given.items():
            features = precompute(batches, model.backbone, compute)
            if features is None:
                break
            ready[name] = features
        else:
            return model.head, ready.pop("train"), ready
    return model, train, evaluations


def _train_epoch(
    model: nn.Module,
    train: Batches | Features,
    loss_fn: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    schedule: Schedule,
    compute: Compute,
    epoch: int,
    phase: str,
    stepped: Callable[[], None],
) -> Meter:
    meter = Meter()
    rates: list[float] = []
    label = f"{phase} {epoch}/{schedule.epochs} train"
    steps = progress(train.epoch(epoch), len(train), label, meter, silent=compute.group.rank > 0)
    for weight, (inputs, targets) in zip(train.weights, steps, strict=True):
        with record_function("forward"):
            logits = compute.logits(model, inputs)
            loss = loss_fn(logits, targets)
        with record_function("backward"):
            optimizer.zero_grad(set_to_none=True)
            (loss * weight).backward()
        with record_function("optimizer"):
            optimizer.step()
        rates.append(float(optimizer.param_groups[0]["lr"]))
        if scheduler is not None and schedule.interval == "step":
            scheduler.step()
        meter.add(loss, logits, targets)
        if len(rates) % 50 == 0 or len(rates) == len(train):  # reading the loss makes a GPU wait
            bad = meter.first_non_finite(compute.group, len(rates) - ((len(rates) - 1) % 50 + 1))
            if bad is not None:
                raise NonFiniteLoss(phase, epoch, bad + 1, rates[bad], _lr_key(phase))
        stepped()
    if scheduler is not None and schedule.interval == "epoch":
        scheduler.step()
    return meter


def _lr_key(phase: str) -> str:
    return "schedule.lr" if phase == "downstream" else f"{phase}.schedule.lr"


def _release(optimizer: Optimizer, model: Classifier, frozen: frozenset[str]) -> None:
    """Gives the optimizer the parameters that are no longer frozen, in the group of the others."""
    group = optimizer.param_groups[0]["params"]
    known = {id(parameter) for parameter in group}
    group.extend(p for p in freeze.trainable(model, frozen) if id(p) not in known)


def _snapshot(
    epoch: int,
    model: Classifier,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    history: Sequence[Record],
) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "history": list(history),
    }
