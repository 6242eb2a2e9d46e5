"""What every option of the group ``pretext`` has in common: an arm of a comparison."""

# Without `from __future__ import annotations`: the validation reads the types of the fields from
# subclasses in other modules, where the names in a postponed annotation mean nothing.
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssl_rot.models import Backbone
from ssl_rot.option_types import Seed
from ssl_rot.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The keys of every option, so that one sweep can override them for all arms.

    Args:
        name: the arm's name in tags, tables and figures.
        schedule: of the pretext phase; the downstream phase has its own.
        loss: of the pretext phase.
        seed: of the pretext phase; ``None`` for the run's.
        reuse: take the weights of a finished run of the same pretext task from MLflow.
    """

    name: str
    schedule: Schedule
    loss: nn.Module
    seed: Seed | None = None
    reuse: bool = True

    @property
    def tag(self) -> str:
        """The value of the tag ``ssl_rot.arm``."""
        return self.name

    @property
    def views(self) -> int:
        """Samples that the pretext phase makes of each image."""
        return 1


@dataclass(frozen=True, kw_only=True)
class NoPretext(Arm):
    """Supervised-only, the reference: the other keys have no effect.

    But with ``schedule.match_images=true`` the schedule says how many images the reference is to
    process too.
    """

    @property
    def views(self) -> int:
        return 4  # of the default task

    @property
    def tag(self) -> str:
        return "supervised"


@dataclass(frozen=True, kw_only=True)
class Pretext(Arm, ABC):
    """A pretext task. It sees every training image and no label.

    A task of your own is a subclass with :meth:`head` and :meth:`batch`, and a YAML file.

    Attributes:
        own_augmentation: :meth:`batch` gets pixels in [0, 1] without the augmentation of the data
            set, and what it returns is normalized.
        compares_batch: the loss of a sample depends on the others of its batch, so that evaluation
            too takes batches of the schedule's size.
        one_process: several processes, each with its part of a batch, would train another task or
            fail, so that torchrun is refused.
    """

    own_augmentation: ClassVar[bool] = False
    compares_batch: ClassVar[bool] = False
    one_process: ClassVar[bool] = False

    @abstractmethod
    def head(self, backbone: Backbone) -> nn.Module:
        """A new head: from feature maps ``[B, backbone.out_channels, H, W]`` to logits ``[B, K]``.

        Its random weights come from torch's global generator, which is seeded for the call.
        """

    def batch(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The inputs of the network, and what it shall predict.

        Args:
            images: float ``[B, C, H, W]`` on the device, augmented and normalized, unless
                ``own_augmentation``.
            generator: on the CPU, for everything random; a new one for each step, the same for a
                resumed run. Evaluation gets the same draws after every epoch.

        Returns:
            Inputs ``[M, C, H', W']`` and targets, int64 ``[M]``; ``M`` may differ from ``B``. The
            loss gets the head's logits and these targets.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither batch nor fixed_targets")

    def fixed_targets(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Targets that the images of a split keep in every epoch, instead of :meth:`batch`.

        Args:
            count: images in the split.
            generator: on the CPU, another one for each split.

        Returns:
            int64 ``[count]``; ``None`` if :meth:`batch` makes the targets.
        """
        return None

    def figure(self, inputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """The rows of the figure of a batch, by title; by default one for each target."""
        first = sorted(set(targets.tolist()))[:8]
        return {str(target): inputs[targets == target] for target in first}
