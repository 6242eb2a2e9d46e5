"""Which stages of the backbone are frozen.

A frozen stage keeps its parameters *and* its BatchNorm statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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
