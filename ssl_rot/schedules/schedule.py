"""How long, how fast and with what optimizer a phase trains, and when it stops."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ssl_rot.errors import ConfigError
from ssl_rot.option_types import Count, Fraction, NonNegative, Positive


@dataclass(frozen=True)
class EarlyStop:
    """Ends a phase once ``metric`` is as good as ``threshold``.

    Args:
        metric: a metric of the history, such as ``val_acc``; ``None`` never stops. Metrics whose
            name ends in ``_loss`` stop at or below the threshold, others at or above it.
        threshold: accuracy as a fraction, or loss.
        allow_test: accept a metric of the test set, against the rules of a fair comparison.
    """

    metric: str | None = None
    threshold: NonNegative | None = None
    allow_test: bool = False

    def reached(self, record: Mapping[str, float]) -> bool:
        """Whether an epoch's record is good enough to stop after it."""
        if self.metric is None or self.threshold is None:
            return False
        value = record[self.metric]
        return value <= self.threshold if self.metric.endswith("_loss") else value >= self.threshold


@dataclass(frozen=True)
class Schedule:
    """The keys of ``conf/schedule/*.yaml``.

    Args:
        epochs: passes over the training images.
        batch_size: images per step; a pretext step uses all rotations of each.
        lr: the learning rate that the optimizer and the scheduler refer to.
        optimizer: a partial of a torch optimizer; called with the trainable parameters.
        scheduler: a partial of a torch LR scheduler; called with the optimizer, and with
            ``steps_per_epoch`` if it has such an argument. ``None`` keeps ``lr`` constant.
        interval: whether the scheduler steps after each ``epoch`` or each ``step``.
        match_images: downstream, without a pretext: the epochs are as much longer as it takes to
            process the images of a pretext too.
        momentum, weight_decay: the values that the optimizer refers to.
    """

    epochs: Count
    batch_size: Count
    lr: Positive
    optimizer: Callable[..., Optimizer]
    early_stop: EarlyStop
    scheduler: Callable[..., LRScheduler] | None = None
    interval: Literal["epoch", "step"] = "epoch"
    momentum: Fraction = 0.0
    weight_decay: NonNegative = 0.0
    match_images: bool = False

    def build(
        self, parameters: Iterable[Parameter], steps_per_epoch: int
    ) -> tuple[Optimizer, LRScheduler | None]:
        """The optimizer of ``parameters`` and its scheduler.

        Raises:
            ConfigError: there are too few steps for the scheduler, or it follows a metric.
        """
        optimizer = self.optimizer(list(parameters))
        if self.scheduler is None:
            return optimizer, None
        # Of torch's schedulers, only OneCycleLR needs the number of steps.
        needs_steps = "steps_per_epoch" in inspect.signature(self.scheduler).parameters
        extra = {"steps_per_epoch": steps_per_epoch} if needs_steps else {}
        try:
            scheduler = self.scheduler(optimizer, **extra)
        except ZeroDivisionError as error:
            fault = f"scheduler.pct_start of a schedule of {self.epochs * steps_per_epoch} steps"
            reason = "OneCycleLR cannot climb in a single one; take another pct_start, or epochs"
            raise ConfigError([f"{fault}: {reason}"]) from error
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ConfigError(
                ["scheduler=ReduceLROnPlateau follows a metric, which no schedule here does"]
            )
        return optimizer, scheduler
