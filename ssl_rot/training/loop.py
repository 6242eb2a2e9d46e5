"""The training loop."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn
from torch.profiler import record_function

from ssl_rot.data import Batches
from ssl_rot.errors import NonFiniteLoss
from ssl_rot.freeze import set_train_mode, trainable_parameters
from ssl_rot.seeding import seeded
from ssl_rot.training.compute import Compute
from ssl_rot.training.evaluation import Meter, evaluate, progress
from ssl_rot.training.features import Features, precompute
from ssl_rot.training.phase import EpochMetrics, Phase

CHECK_EVERY = 50
"""Steps between two checks of the loss: reading it makes the CPU wait for the GPU."""

State = dict[str, Any]
"""The state of a phase, as a checkpoint stores it."""


def fit(
    phase: Phase,
    compute: Compute,
    *,
    log: Callable[[int, EpochMetrics], None],
    state: State | None = None,
    save: Callable[[int, Callable[[], State]], None] = lambda epoch, snapshot: None,
    after_step: Callable[[], None] = lambda: None,
) -> list[EpochMetrics]:
    """Trains the model of a phase in place.

    Args:
        log: called with the epoch (from 1) and its metrics as soon as the epoch ends.
        state: from the checkpoint of an interrupted phase; training continues after its epoch.
        save: called after each epoch with a function that returns the state at that point.

    Returns:
        The metrics of each epoch: ``train_loss``, ``train_acc`` (running means while training), the
        same for each evaluation split, ``lr`` at the epoch's start, ``epoch_seconds`` (training,
        evaluation and monitors), ``images_per_second`` (samples trained on), ``images_processed``
        (samples trained on so far in this phase), and what the phase's monitors measured.

    Raises:
        NonFiniteLoss: a loss is NaN or infinite.
    """
    training = _Training(phase, compute, after_step)
    if state is not None:
        training.restore(state)
    history, early_stop = training.history, phase.schedule.early_stop
    if history and early_stop.reached(history[-1]):
        return history
    compute.group.broadcast_state(phase.model)
    started = time.perf_counter()
    plan = _plan_epochs(phase, compute)
    precomputing = time.perf_counter() - started  # counted in the first epoch
    for epoch in range(len(history) + 1, phase.schedule.epochs + 1):
        metrics = training.run_epoch(epoch, plan)
        metrics["epoch_seconds"] += precomputing
        precomputing = 0.0
        with compute.group.ending_epoch():
            log(epoch, metrics)
            save(epoch, training.state)
        if early_stop.reached(metrics):
            break
    return history


class _EpochPlan(NamedTuple):
    network: nn.Module
    train: Batches | Features
    evaluations: Mapping[str, Batches | Features]


def _plan_epochs(phase: Phase, compute: Compute) -> _EpochPlan:
    """The head on stored features if the backbone stays frozen; else the whole model on images."""
    model, features = phase.model, {}
    if phase.frozen(phase.schedule.epochs) == frozenset(model.backbone.stage_names):
        for name, batches in {"train": phase.train, **phase.evaluations}.items():
            if (precomputed := precompute(batches, model.backbone, compute)) is None:
                break
            features[name] = precomputed
        else:
            return _EpochPlan(model.head, features.pop("train"), features)
    return _EpochPlan(model, phase.train, phase.evaluations)


class _Training:
    """The mutable state of a phase: model, optimizer, scheduler and metrics so far."""

    def __init__(self, phase: Phase, compute: Compute, after_step: Callable[[], None]) -> None:
        self.phase, self.compute, self.after_step = phase, compute, after_step
        self.history: list[EpochMetrics] = []
        compute.place(phase.model)
        phase.loss_fn.to(compute.device)
        self.optimizer, self.scheduler = phase.schedule.build(
            trainable_parameters(phase.model, phase.frozen(1)), len(phase.train)
        )
        self._network: nn.Module | None = None  # wrapped for data-parallel training
        self._frozen: frozenset[str] | None = None

    def state(self) -> State:
        """A snapshot for :meth:`restore`."""
        return {
            "epoch": len(self.history),
            "model": self.phase.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "history": list(self.history),
        }

    def restore(self, state: State) -> None:
        """Continues from a checkpoint."""
        for epoch in range(2, state["epoch"] + 1):  # restores the order of the parameters
            self._unfreeze(self.phase.frozen(epoch))
        self.phase.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.history[:] = state["history"]

    def run_epoch(self, epoch: int, plan: _EpochPlan) -> EpochMetrics:
        """Trains and evaluates for one epoch, and appends its metrics to the history."""
        phase, compute = self.phase, self.compute
        started = time.perf_counter()
        frozen = phase.frozen(epoch)
        self._unfreeze(frozen)
        lr = float(self.optimizer.param_groups[0]["lr"])
        if self._network is None or frozen != self._frozen:  # DDP fixes its parameters
            self._network, self._frozen = compute.group.wrap(plan.network), frozen
        # For random numbers that the network itself draws, such as dropout masks. Each process has
        # a stream of its own; the first one's is that of a single process.
        names = (compute.group.rank,) if compute.group.rank else ()
        with seeded(phase.seed, phase.name, "noise", epoch, *names):
            set_train_mode(phase.model, frozen)
            meter = self._train(epoch, self._network, plan.train)
        compute.group.broadcast_state(phase.model, buffers_only=True)
        train_loss, train_acc, samples = meter.means(compute.group)
        metrics: EpochMetrics = {"train_loss": train_loss, "train_acc": train_acc}
        train_seconds = time.perf_counter() - started
        for name, split in plan.evaluations.items():
            label = f"{phase.name} {epoch} {name}"
            loss, accuracy = evaluate(plan.network, split, phase.loss_fn, compute, label)
            if not math.isfinite(loss):  # the last step broke the weights
                raise NonFiniteLoss(phase.name, epoch, len(plan.train), lr, phase.lr_key)
            metrics |= {f"{name}_loss": loss, f"{name}_acc": accuracy}
        if phase.monitors is not None and compute.group.rank == 0:
            last = phase.schedule.epochs
            metrics |= phase.monitors.measure(phase.model.backbone, compute, epoch, last)
        before = self.history[-1]["images_processed"] if self.history else 0.0
        metrics["lr"] = lr
        metrics["epoch_seconds"] = time.perf_counter() - started
        metrics["images_per_second"] = samples / train_seconds
        metrics["images_processed"] = before + samples
        self.history.append(metrics)
        return metrics

    def _train(self, epoch: int, network: nn.Module, train: Batches | Features) -> Meter:
        phase, compute, schedule = self.phase, self.compute, self.phase.schedule
        meter = Meter()
        rates: list[float] = []
        label = f"{phase.name} {epoch}/{schedule.epochs} train"
        silent = compute.group.rank > 0
        steps = progress(train.epoch(epoch), len(train), label, meter, silent=silent)
        for weight, (inputs, targets) in zip(train.weights, steps, strict=True):
            with record_function("forward"):
                logits = compute.logits(network, inputs)
                loss = phase.loss_fn(logits, targets)
            with record_function("backward"):
                self.optimizer.zero_grad(set_to_none=True)
                (loss * weight).backward()
            with record_function("optimizer"):
                self.optimizer.step()
            rates.append(float(self.optimizer.param_groups[0]["lr"]))
            if self.scheduler is not None and schedule.interval == "step":
                self.scheduler.step()
            meter.add(loss, logits, targets)
            if len(rates) % CHECK_EVERY == 0 or len(rates) == len(train):
                self._check_finite(epoch, meter, rates)
            self.after_step()
        if self.scheduler is not None and schedule.interval == "epoch":
            self.scheduler.step()
        return meter

    def _check_finite(self, epoch: int, meter: Meter, rates: list[float]) -> None:
        checked = (len(rates) - 1) // CHECK_EVERY * CHECK_EVERY
        bad = meter.first_non_finite(self.compute.group, checked)
        if bad is not None:
            raise NonFiniteLoss(self.phase.name, epoch, bad + 1, rates[bad], self.phase.lr_key)

    def _unfreeze(self, frozen: frozenset[str]) -> None:
        """Adds parameters that are no longer frozen to the optimizer's only parameter group."""
        group = self.optimizer.param_groups[0]["params"]
        known = {id(parameter) for parameter in group}
        trainable = trainable_parameters(self.phase.model, frozen)
        group.extend(parameter for parameter in trainable if id(parameter) not in known)
