"""Losses that torch does not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_rot.errors import ConfigError
from ssl_rot.option_types import NonNegative, Positive


class FocalLoss(nn.Module):
    """Cross-entropy that weighs down what is already right: ``alpha (1 - p)^gamma CE``.

    ``p = exp(-CE)`` is the probability given to the right class. The mean is over the batch.
    Lin et al. 2017, https://arxiv.org/abs/1708.02002.

    Args:
        alpha: a factor on the whole loss, above 0; with plain SGD it scales the learning rate.
        gamma: 0 or more; 0 is cross-entropy times ``alpha``, more forgets easy samples sooner.

    Raises:
        ConfigError: ``alpha`` or ``gamma`` is out of range.
    """

    def __init__(self, alpha: Positive = 0.5, gamma: NonNegative = 2.0) -> None:
        super().__init__()
        faults = []
        if not 0 < alpha < float("inf"):
            faults.append(f"focal loss, alpha={alpha}: a number above 0")
        if not 0 <= gamma < float("inf"):
            faults.append(f"focal loss, gamma={gamma}: a number, 0 or more")
        if faults:
            raise ConfigError(faults)
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits ``[B, C]`` for class indices ``[B]``, a scalar."""
        cross_entropy = functional.cross_entropy(logits, targets, reduction="none")
        # expm1 keeps small 1 - p exact; above zero, a gamma below 1 has a finite gradient.
        tiny = torch.finfo(cross_entropy.dtype).tiny
        miss = (-torch.expm1(-cross_entropy)).clamp_min(tiny)
        return (self.alpha * miss**self.gamma * cross_entropy).mean()
