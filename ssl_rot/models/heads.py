"""Heads: from a feature map ``[B, in_channels, H, W]`` to logits ``[B, num_classes]``."""

from torch import nn

from ssl_rot.models.nin import nin_block
from ssl_rot.option_types import Count


def linear_head(in_channels: int, num_classes: int) -> nn.Sequential:
    """Global average pool and one linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, num_classes))


def mlp_head(in_channels: int, num_classes: int, *, hidden: Count, pool: Count) -> nn.Sequential:
    """RotNet's non-linear probe: two hidden layers with BatchNorm and ReLU on the flattened map.

    The map is pooled to ``pool x pool`` before it is flattened, so that the head fits a map of any
    size. A map of exactly this size is unchanged.
    """
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(pool),
        nn.Flatten(),
        nn.Linear(in_channels * pool**2, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, num_classes),
    )


def conv_head(in_channels: int, num_classes: int, *, width: Count) -> nn.Sequential:
    """RotNet's convolutional classifier: a block (3x3, 1x1, 1x1) of ``width``, pool and linear."""
    block = nin_block(in_channels, (width, width, width), 3)
    return nn.Sequential(*block, *linear_head(width, num_classes))
