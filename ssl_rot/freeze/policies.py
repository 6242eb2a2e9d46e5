"""Which stages of the backbone are frozen, and how a model's stages are.

A frozen stage keeps its parameters *and* its BatchNorm statistics: no gradients, not in the
optimizer, and modules in eval mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch.nn import Parameter

from ssl_rot.models import Classifier
from ssl_rot.option_types import Count, Text


class FreezePolicy(Protocol):
    """The contract of ``conf/freeze/*.yaml``."""

    def frozen(self, stages: Sequence[str], epoch: int) -> frozenset[str]:
        """The frozen stages in ``epoch`` (from 1): those of the previous epoch, or fewer."""


@dataclass(frozen=True)
class FreezeNothing:
    """Everything is trained."""

    def frozen(self, stages: Sequence[str], epoch: int) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class FreezeBackbone:
    """Only the head is trained."""

    def frozen(self, stages: Sequence[str], epoch: int) -> frozenset[str]:
        return frozenset(stages)


@dataclass(frozen=True)
class FreezeThrough:
    """The stages from the input up to and including ``stage`` are frozen."""

    stage: Text

    def frozen(self, stages: Sequence[str], epoch: int) -> frozenset[str]:
        return frozenset(stages[: stages.index(self.stage) + 1])


@dataclass(frozen=True)
class GradualUnfreezing:
    """Trains the head first, then one more stage every ``every`` epochs, the last stage first.

    As in ULMFiT (Howard and Ruder, ACL 2018, section 3.3), which unfreezes one layer an epoch.
    """

    every: Count

    def frozen(self, stages: Sequence[str], epoch: int) -> frozenset[str]:
        trained = (epoch - 1) // self.every
        return frozenset(stages[: max(0, len(stages) - trained)])


def trainable_parameters(model: Classifier, frozen: frozenset[str]) -> list[Parameter]:
    """Freezes the parameters of the frozen stages alone, and returns the others in order."""
    for name, parameter in model.backbone.named_parameters():
        parameter.requires_grad_(model.backbone.stage_of(name) not in frozen)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def set_train_mode(model: Classifier, frozen: frozenset[str]) -> None:
    """Puts the model into train mode, and its frozen stages into eval mode."""
    model.train()
    for name, module in model.backbone.named_modules():
        # The backbone itself, without a name, has no tensors and may contain several stages.
        if frozen and name and model.backbone.stage_of(name) in frozen:
            module.training = False
