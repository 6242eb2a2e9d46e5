"""The embedded data set, and what all sources share."""

from __future__ import annotations

import math
from importlib.metadata import distribution

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_rot.data.splits import stratified_order
from ssl_rot.data.types import Images, Source, Split, fingerprint
from ssl_rot.option_types import ImageSize
from ssl_rot.seeding import generator

DIGITS = "sklearn/datasets/data/digits.csv.gz"
"""Each line is an image's 64 grey levels, row by row, from 0 to 16, and its label."""


def digits(image_size: ImageSize) -> Source:
    """Scikit-learn's 1,797 handwritten digits, 8x8 with 17 grey levels; needs no download.

    The split is fixed (1,437 train, 360 test, stratified), whatever the run's seed: the data set
    has none of its own, and runs with different seeds must be tested on the same images.

    Args:
        image_size: pixels a side, to which the images are brought once.
    """
    # Read as `sklearn.datasets.load_digits` does: importing scikit-learn takes half a second.
    path = str(distribution("scikit-learn").locate_file(DIGITS))
    table = np.loadtxt(path, delimiter=",")
    grey = np.rint(table[:, :64].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = torch.from_numpy(table[:, 64].astype(np.int64))
    train, test = fixed_split(labels, test_fraction=0.2)
    everything = Split(Images(resize(torch.from_numpy(grey), image_size)), labels)
    return Source(
        train=everything.select(train),
        test=everything.select(test),
        classes=tuple("0123456789"),
        fingerprint=fingerprint("digits", grey.tobytes(), image_size),
    )


def fixed_split(labels: Tensor, test_fraction: float) -> tuple[Tensor, Tensor]:
    """Rows of a stratified train and test split that is the same for every seed, ascending.

    Args:
        labels: int64 ``[N]``.
        test_fraction: of all N, rounded up.
    """
    order = stratified_order(labels, generator(0, "fixed test split"))
    n_test = math.ceil(test_fraction * len(labels))
    return order[n_test:].sort().values, order[:n_test].sort().values


def resize(images: Tensor, size: int, chunk: int = 1024) -> Tensor:
    """uint8 ``[N, C, H, W]`` brought to ``size`` pixels a side (bilinear, antialiased)."""
    if images.shape[-2:] == (size, size):
        return images
    out = images.new_empty((*images.shape[:2], size, size))
    for start in range(0, len(images), chunk):  # in float, all at once would be 4x the memory
        part = images[start : start + chunk].float()
        small = F.interpolate(part, size=(size, size), mode="bilinear", antialias=True)
        out[start : start + chunk] = small.round_().clamp_(0, 255)
    return out
