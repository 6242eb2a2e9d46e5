"""The settings of a pretext phase."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from ssl_rot.option_types import Angles
from ssl_rot.pretext.rotation import Rotate
from ssl_rot.schedules import Schedule


@dataclass(frozen=True)
class Pretext:
    """The keys of ``conf/pretext/*.yaml``.

    Args:
        angles: rotations in degrees, counter-clockwise; empty for no pretext task.
        schedule: of the pretext phase; the downstream phase has its own.
        loss: of the pretext phase.
        reuse: take the weights of a finished run of the same pretext task from MLflow.
    """

    angles: Angles
    schedule: Schedule
    loss: nn.Module
    reuse: bool = True
    rotate: Rotate = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotate", Rotate(self.angles))
