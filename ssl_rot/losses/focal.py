"""The focal loss."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_rot.option_types import NonNegative, Positive


class FocalLoss(nn.Module):
    """Cross-entropy with less weight on easy samples: ``alpha (1 - p)^gamma CE``, batch mean.

    ``p = exp(-CE)`` is the predicted probability of the target class.
    Lin et al. 2017, https://arxiv.org/abs/1708.02002.

    Args:
        alpha: a factor on the whole loss; with plain SGD it scales the learning rate.
        gamma: 0 is cross-entropy times ``alpha``; the larger, the less weight on easy samples.
    """

    def __init__(self, alpha: Positive = 0.5, gamma: NonNegative = 2.0) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits ``[B, C]`` for class indices ``[B]``, a scalar."""
        cross_entropy = functional.cross_entropy(logits, targets, reduction="none")
        # expm1 keeps small 1 - p exact; above zero, a gamma below 1 has a finite gradient.
        tiny = torch.finfo(cross_entropy.dtype).tiny
        miss = (-torch.expm1(-cross_entropy)).clamp_min(tiny)
        return (self.alpha * miss**self.gamma * cross_entropy).mean()
