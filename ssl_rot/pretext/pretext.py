"""What every option of the group ``pretext`` has in common: an arm of a comparison."""

# Without `from __future__ import annotations`: the validation reads the types of the fields from
# subclasses in other modules, where the names in a postponed annotation mean nothing.
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssl_rot.models import Backbone
from ssl_rot.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The keys of every option, so that one sweep can override them for all arms.

    Args:
        name: the arm's name in tags, tables and figures.
        schedule: of the pretext phase; the downstream phase has its own.
        loss: of the pretext phase.
        reuse: take the weights of a finished run of the same pretext task from MLflow.
    """

    name: str
    schedule: Schedule
    loss: nn.Module
    reuse: bool = True

    @property
    def tag(self) -> str:
        """The value of the tag ``ssl_rot.arm``."""
        return self.name


@dataclass(frozen=True, kw_only=True)
class NoPretext(Arm):
    """Supervised-only, the reference: the other keys have no effect."""

    @property
    def tag(self) -> str:
        return "supervised"


@dataclass(frozen=True, kw_only=True)
class Pretext(Arm, ABC):
    """A pretext task. It sees every training image and no label.

    A task of your own is a subclass with :meth:`head` and :meth:`batch`, and a YAML file.
    """

    @abstractmethod
    def head(self, backbone: Backbone) -> nn.Module:
        """A new head: from feature maps ``[B, backbone.out_channels, H, W]`` to logits ``[B, K]``.

        Its random weights come from torch's global generator, which is seeded for the call.
        """

    @abstractmethod
    def batch(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The inputs of the network, and what it shall predict.

        Args:
            images: float ``[B, C, H, W]`` on the device, augmented and normalized.
            generator: on the CPU, for everything random; a new one for each step, the same for a
                resumed run. Evaluation gets the same draws after every epoch.

        Returns:
            Inputs ``[M, C, H', W']`` and targets, int64 ``[M]``; ``M`` may differ from ``B``. The
            loss gets the head's logits and these targets.
        """

    def figure(self, inputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """The rows of the figure of a batch, by title; by default one for each target."""
        first = sorted(set(targets.tolist()))[:8]
        return {str(target): inputs[targets == target] for target in first}
