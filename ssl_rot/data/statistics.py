"""Mean and standard deviation of pixels, from integer sums, which do not depend on the order."""

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_rot.data.images import Images


def channel_sums(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Sums of the pixels and of their squares: uint8 ``[n, C, H, W]`` to int64 ``[n, C, 2]``."""
    pixels = images.reshape(*images.shape[:2], -1)
    # 32 bits are faster, if they can hold the largest possible sum.
    sum_type = np.uint32 if pixels.shape[-1] * 255**2 < 2**32 else np.uint64
    squares = np.square(pixels, dtype=np.uint16)
    sums = pixels.sum(axis=-1, dtype=sum_type), squares.sum(axis=-1, dtype=sum_type)
    return np.stack(sums, axis=-1).astype(np.int64)


def mean_and_std(
    sums: NDArray[np.int64], pixels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """As :func:`measure`, from :func:`channel_sums` and the number of pixels per channel."""
    mean, mean_square = sums.sum(axis=0).T / pixels / np.array([[255], [255**2]])
    # A constant channel has no scale: half a gray level avoids a division by zero.
    std = np.sqrt(np.maximum(mean_square - mean**2, (0.5 / 255) ** 2))
    return tuple(mean.tolist()), tuple(std.tolist())


def measure(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of pixels in [0, 1], over all images."""
    count, _, height, width = images.shape
    chunks = torch.split(torch.arange(count), 1024)
    sums = [channel_sums(images[rows].numpy()) for rows in chunks]
    return mean_and_std(np.concatenate(sums), count * height * width)
