"""Mean and standard deviation of pixels: sums of integers, the same in any order."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_rot.data.types import Images


def channel_sums(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Of every channel, the sum of its pixels and that of their squares.

    Args:
        images: uint8 ``[n, C, H, W]``.

    Returns:
        int64 ``[n, C, 2]``.
    """
    pixels = images.reshape(*images.shape[:2], -1)
    # The narrower one is the faster, where no sum can grow beyond it.
    wide = np.uint32 if pixels.shape[-1] * 255**2 < 2**32 else np.uint64
    squares = np.square(pixels, dtype=np.uint16)
    both = pixels.sum(axis=-1, dtype=wide), squares.sum(axis=-1, dtype=wide)
    return np.stack(both, axis=-1).astype(np.int64)


def mean_and_std(
    sums: NDArray[np.int64], pixels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of pixels in [0, 1], per channel.

    Args:
        sums: int64 ``[n, C, 2]``, as :func:`channel_sums` gives them.
        pixels: how many there are in each channel of all the images together.
    """
    mean, mean_square = sums.sum(axis=0).T / pixels / np.array([[255], [255**2]])
    # A channel that never changes has no scale: half a grey level keeps the division harmless.
    std = np.sqrt(np.maximum(mean_square - mean**2, (0.5 / 255) ** 2))
    return tuple(mean.tolist()), tuple(std.tolist())


def measure(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of pixels in [0, 1], over all images."""
    count, _, height, width = images.shape
    parts = [channel_sums(images[rows].numpy()) for rows in torch.split(torch.arange(count), 1024)]
    return mean_and_std(np.concatenate(parts), count * height * width)
