"""The Network-in-Network of RotNet (Gidaris et al. 2018, https://arxiv.org/abs/1803.07728)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import nn

from ssl_rot.errors import ConfigError
from ssl_rot.models.backbone import StagedBackbone


def nin_block(in_channels: int, widths: Sequence[int], kernel_size: int) -> nn.Sequential:
    """Convolutions without bias, each with BatchNorm and ReLU; all but the first are 1x1."""
    block = nn.Sequential()
    for position, width in enumerate(widths):
        kernel = kernel_size if position == 0 else 1
        conv = nn.Conv2d(in_channels, width, kernel, padding=kernel // 2, bias=False)
        # The authors' init: nine 1x1 layers deep, torch's own lets the signal fade.
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        block.extend([conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)])
        in_channels = width
    return block


def nin(in_channels: int, *, num_blocks: Annotated[int, Field(ge=3, le=5)]) -> StagedBackbone:
    """RotNet's network for 32x32 images, with the stages ``block1``, ``block2``, ...

    The first two blocks end in a pool and so divide height and width by four in all.

    Args:
        in_channels: of the images.
        num_blocks: 3 to 5.

    Raises:
        ConfigError: ``num_blocks`` is out of range.
    """
    if num_blocks not in (3, 4, 5):
        raise ConfigError([f"model.num_blocks={num_blocks}: 3, 4 or 5"])
    stages = {
        "block1": nin_block(in_channels, (192, 160, 96), 5).append(nn.MaxPool2d(3, 2, padding=1)),
        "block2": nin_block(96, (192, 192, 192), 5).append(nn.AvgPool2d(3, 2, padding=1)),
    }
    for number in range(3, num_blocks + 1):
        stages[f"block{number}"] = nin_block(192, (192, 192, 192), 3)
    return StagedBackbone(stages, [96] + [192] * (num_blocks - 1))
