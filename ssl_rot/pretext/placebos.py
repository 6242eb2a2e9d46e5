"""Placebos: pre-training that can teach nothing about the images, or that trains nothing.

What they gain is what a pretext task gains for reasons other than the task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_rot.models import Backbone, linear_head
from ssl_rot.pretext.pretext import Pretext


@dataclass(frozen=True, kw_only=True)
class RandomTargets(Pretext):
    """Each image has a class drawn at random, which can only be learned by heart.

    Zhang, Bengio, Hardt, Recht and Vinyals, "Understanding Deep Learning Requires Rethinking
    Generalization", ICLR 2017.

    Args:
        classes: number of classes; on held-out images the accuracy is one in that many.
    """

    classes: Annotated[int, Field(ge=2, le=100_000)]

    def head(self, backbone: Backbone) -> nn.Module:
        return linear_head(backbone.out_channels, self.classes)

    def fixed_targets(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(self.classes, (count,), generator=generator)


@dataclass(frozen=True, kw_only=True)
class Statistics(Pretext):
    """Measures BatchNorm's statistics and trains no weight of the backbone.

    The head has one class to choose from and sends no gradient back: the loss is 0 and the
    accuracy 1.
    """

    one_process: ClassVar[bool] = True  # torch's DistributedDataParallel wants gradients

    def head(self, backbone: Backbone) -> nn.Module:
        return nn.Sequential(Detached(), linear_head(backbone.out_channels, 1))

    def batch(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return images, torch.zeros(len(images), dtype=torch.int64, device=images.device)

    def figure(self, inputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return {"": inputs}


class Detached(nn.Module):
    """Passes values on, and no gradient back. Optimizers skip parameters without a gradient."""

    def forward(self, features: Tensor) -> Tensor:
        return features.detach()
