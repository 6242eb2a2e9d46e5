"""When a phase stops before its last epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ssl_rot.option_types import NonNegative


@dataclass(frozen=True)
class EarlyStop:
    """Ends a phase once ``metric`` is as good as ``threshold``.

    Args:
        metric: a name of the history, such as ``val_acc``; ``None`` never stops. A name that ends
            in ``_loss`` stops at or below the threshold, any other at or above it.
        threshold: accuracy as a fraction, or loss.
        allow_test: accept a metric of the test set. See the rules of a fair comparison.
    """

    metric: str | None = None
    threshold: NonNegative | None = None
    allow_test: bool = False

    def reached(self, record: Mapping[str, float]) -> bool:
        """Whether an epoch's record is good enough to stop after it."""
        if self.metric is None or self.threshold is None:
            return False
        value = record[self.metric]
        return value <= self.threshold if self.metric.endswith("_loss") else value >= self.threshold
