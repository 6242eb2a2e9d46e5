"""Residual networks (He et al. 2016, https://arxiv.org/abs/1512.03385), with basic blocks."""

from collections.abc import Sequence

from torch import Tensor, nn

from ssl_rot.errors import ConfigError
from ssl_rot.models.backbone import StagedBackbone
from ssl_rot.option_types import Count


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, the first of the given stride, and a shortcut around them."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, bias: bool, shortcut_norm: bool
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut.append(nn.Conv2d(in_channels, out_channels, 1, stride, bias=bias))
            if shortcut_norm:
                self.shortcut.append(nn.BatchNorm2d(out_channels))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(inputs)))
        residual = self.bn2(self.conv2(residual))
        output: Tensor = self.relu(residual + self.shortcut(inputs))
        return output


def resnet(
    in_channels: int,
    *,
    widths: Sequence[Count],
    blocks: Sequence[Count],
    large_stem: bool,
    bias: bool,
    shortcut_norm: bool,
) -> StagedBackbone:
    """A residual network with the stages ``stem``, ``stage1``, ``stage2``, ...

    Args:
        widths: output channels of each stage; the stem has those of ``stage1``. Every later stage
            halves height and width.
        blocks: residual blocks in each stage.
        large_stem: a 7x7 convolution and a 3x3 max-pool, both of stride 2, which divide height and
            width by four; otherwise a 3x3 convolution of stride 1 and no pool.
        bias: whether the convolutions have one.
        shortcut_norm: whether a BatchNorm follows the shortcuts' 1x1 convolutions.

    Raises:
        ConfigError: ``widths`` and ``blocks`` are empty or differ in length.
    """
    if not 0 < len(widths) == len(blocks):
        given = f"model.widths={list(widths)} and model.blocks={list(blocks)}"
        raise ConfigError([f"{given}: one positive number a stage in both"])
    kernel, stride = (7, 2) if large_stem else (3, 1)
    stem = nn.Sequential(
        nn.Conv2d(in_channels, widths[0], kernel, stride, padding=kernel // 2, bias=bias),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(inplace=True),
    )
    if large_stem:
        stem.append(nn.MaxPool2d(3, stride=2, padding=1))

    stages: dict[str, nn.Module] = {"stem": stem}
    channels = widths[0]
    for number, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
        stage = stages[f"stage{number}"] = nn.Sequential()
        for position in range(count):
            stride = 2 if position == 0 and number > 1 else 1
            stage.append(
                BasicBlock(channels, width, stride=stride, bias=bias, shortcut_norm=shortcut_norm)
            )
            channels = width
    return StagedBackbone(stages, [widths[0], *widths])
