"""How long, how fast and with what optimizer a phase trains."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ssl_rot.errors import ConfigError
from ssl_rot.option_types import Count, Fraction, NonNegative, Positive
from ssl_rot.schedules.early_stop import EarlyStop


@dataclass(frozen=True)
class Schedule:
    """The keys of ``conf/schedule/*.yaml``.

    Args:
        epochs: passes over the training images.
        batch_size: images a step; a pretext step sees all rotations of each.
        lr: the learning rate the optimizer and the scheduler refer to.
        optimizer: a partial of a torch optimizer; called with the trainable parameters.
        scheduler: a partial of a torch LR scheduler; called with the optimizer, and with
            ``steps_per_epoch`` if it has such an argument. ``None`` keeps ``lr``.
        interval: whether the scheduler moves after each ``epoch`` or each ``step``.
        early_stop: when to stop before the last epoch.
        momentum, weight_decay: the values the optimizer's partial refers to.
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

    def build(
        self, parameters: Iterable[Parameter], steps_per_epoch: int
    ) -> tuple[Optimizer, LRScheduler | None]:
        """The optimizer over ``parameters`` and its scheduler.

        Raises:
            ConfigError: the schedule is too short for its scheduler, or that follows a metric.
        """
        optimizer = self.optimizer(list(parameters))
        if self.scheduler is None:
            return optimizer, None
        # OneCycleLR alone of torch's schedulers has to know the number of steps.
        extra: dict[str, Any] = (
            {"steps_per_epoch": steps_per_epoch}
            if "steps_per_epoch" in inspect.signature(self.scheduler).parameters
            else {}
        )
        try:
            scheduler = self.scheduler(optimizer, **extra)
        except ZeroDivisionError as error:
            raise ConfigError(
                [
                    f"scheduler.pct_start of a schedule of {self.epochs * steps_per_epoch} steps: "
                    "OneCycleLR cannot climb in a single one; take another pct_start, or epochs"
                ]
            ) from error
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ConfigError(
                ["scheduler=ReduceLROnPlateau follows a metric, which no schedule here does"]
            )
        return optimizer, scheduler
