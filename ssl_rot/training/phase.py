"""A phase that is ready to be trained: the pretext task, or the downstream task."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ssl_rot.data import Batches
from ssl_rot.freeze import FreezePolicy
from ssl_rot.models import Classifier
from ssl_rot.schedules import Schedule
from ssl_rot.training.monitors import Monitors

EpochMetrics = dict[str, float]
"""The metrics of one epoch, by name."""


@dataclass(frozen=True)
class Phase:
    """What a phase trains, on what, and how.

    Args:
        name: ``pretext`` or ``downstream``.
        evaluations: splits to evaluate after every epoch, by prefix (``test``, ``val``).
        loss_fn: of logits ``[B, K]`` and targets ``[B]``; the mean over the batch.
        seed: with ``name`` and the epoch it determines everything random.
        monitors: what else is measured, which does not change the training.
    """

    name: str
    model: Classifier
    train: Batches
    evaluations: Mapping[str, Batches]
    loss_fn: nn.Module
    schedule: Schedule
    freeze: FreezePolicy
    seed: int
    monitors: Monitors | None = None

    @property
    def lr_key(self) -> str:
        """The config key that sets the learning rate."""
        return "schedule.lr" if self.name == "downstream" else f"{self.name}.schedule.lr"

    def frozen(self, epoch: int) -> frozenset[str]:
        """The stages that are frozen in ``epoch`` (from 1)."""
        return self.freeze.frozen(self.model.backbone.stage_names, epoch)
