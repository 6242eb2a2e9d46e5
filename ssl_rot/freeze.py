"""Which stages of the backbone stand still, and what standing still means.

A frozen stage keeps its parameters *and* its BatchNorm statistics: its parameters ask for no
gradient and are not given to the optimizer, its modules run in eval mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch.nn import Parameter

from ssl_rot.models import Classifier


class Policy(Protocol):
    """The contract of ``conf/freeze/*.yaml``."""

    def frozen(self, stages: Sequence[str], epoch: int) -> frozenset[str]:
        """What stands still in ``epoch`` (from 1): the stages of the epoch before, or fewer."""


@dataclass(frozen=True)
class Nothing:
    """Everything is trained."""

    def frozen(self, stages: Sequence[str], epoch: int) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class Backbone:
    """The head alone is trained."""

    def frozen(self, stages: Sequence[str], epoch: int) -> frozenset[str]:
        return frozenset(stages)


@dataclass(frozen=True)
class Through:
    """The stages from the input up to and including ``stage`` stand still."""

    stage: str

    def frozen(self, stages: Sequence[str], epoch: int) -> frozenset[str]:
        return frozenset(stages[: stages.index(self.stage) + 1])


@dataclass(frozen=True)
class Gradual:
    """The head first, then a stage more every ``every`` epochs, from the head downwards.

    As in ULMFiT (Howard and Ruder, ACL 2018, section 3.3), which releases one layer an epoch.
    """

    every: int

    def frozen(self, stages: Sequence[str], epoch: int) -> frozenset[str]:
        released = (epoch - 1) // self.every
        return frozenset(stages[: max(0, len(stages) - released)])


def trainable(model: Classifier, frozen: frozenset[str]) -> list[Parameter]:
    """Switches gradients off in the frozen stages and on elsewhere.

    Returns:
        The parameters to train, in the model's own order.
    """
    for name, parameter in model.backbone.named_parameters():
        parameter.requires_grad_(model.backbone.stage_of(name) not in frozen)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def train_mode(model: Classifier, frozen: frozenset[str]) -> None:
    """Puts the model into train mode, and its frozen stages into eval mode."""
    model.train()
    for name, module in model.backbone.named_modules():
        if not name:  # the backbone itself owns no tensors and may hold several stages
            continue
        if frozen and model.backbone.stage_of(name) in frozen:
            module.training = False
