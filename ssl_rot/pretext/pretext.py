"""The settings of a pretext phase."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
    def rotate(self) -> Rotate:
        """The transform that makes the inputs and targets of the task."""
        return Rotate(self.angles)
