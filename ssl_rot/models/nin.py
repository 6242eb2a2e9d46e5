"""The Network-in-Network of RotNet (Gidaris et al. 2018, https://arxiv.org/abs/1803.07728)."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import nn

from ssl_rot.models.backbone import StagedBackbone


def nin_block(in_channels: int, widths: Sequence[int], kernel_size: int) -> nn.Sequential:
    """Convolutions without bias, each with BatchNorm and ReLU; all but the first are 1x1."""
    block = nn.Sequential()
    for position, width in enumerate(widths):
        kernel = kernel_size if position == 0 else 1
        conv = nn.Conv2d(in_channels, width, kernel, padding=kernel // 2, bias=False)
        # As the authors do: with torch's default, the signal fades over nine 1x1 layers.
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        block.extend([conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)])
        in_channels = width
    return block


def nin(
    in_channels: int,
    *,
    num_blocks: Annotated[int, Field(ge=3, le=5)],
    width: Annotated[float, Field(gt=0, le=4)] = 1.0,
) -> StagedBackbone:
    """RotNet's network for 32x32 images, with the stages ``block1``, ``block2``, ...

    The first two blocks end in a pool, and each halves height and width.

    Args:
        width: channels of every layer, relative to RotNet's.
    """
    first, second, last, full = (max(1, round(width * n)) for n in (192, 160, 96, 192))
    stages = {
        "block1": nin_block(in_channels, (first, second, last), 5).append(
            nn.MaxPool2d(3, 2, padding=1)
        ),
        "block2": nin_block(last, (full, full, full), 5).append(nn.AvgPool2d(3, 2, padding=1)),
    }
    for number in range(3, num_blocks + 1):
        stages[f"block{number}"] = nin_block(full, (full, full, full), 3)
    return StagedBackbone(stages, [last] + [full] * (num_blocks - 1))
