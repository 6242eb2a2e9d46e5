"""Scikit-learn's handwritten digits, which are installed with it."""

from importlib.metadata import distribution

import numpy as np
import torch

from ssl_rot.data.images import Images, resize
from ssl_rot.data.source import Source, Split, fingerprint
from ssl_rot.data.splits import fixed_split
from ssl_rot.option_types import ImageSize

DIGITS = "sklearn/datasets/data/digits.csv.gz"
"""Each line holds the 64 gray levels of an image, row by row, from 0 to 16, and its label."""


def digits(image_size: ImageSize) -> Source:
    """Scikit-learn's 1,797 handwritten digits, 8x8 with 17 gray levels; needs no download.

    The split is fixed (1,437 train, 360 test, stratified), whatever the run's seed: the data set
    has no split of its own, and runs with different seeds must be tested on the same images.
    """
    # Read as by `sklearn.datasets.load_digits`: importing scikit-learn takes half a second.
    path = str(distribution("scikit-learn").locate_file(DIGITS))
    table = np.loadtxt(path, delimiter=",")
    gray = np.rint(table[:, :64].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = torch.from_numpy(table[:, 64].astype(np.int64))
    train, test = fixed_split(labels, test_fraction=0.2)
    everything = Split(Images(resize(torch.from_numpy(gray), image_size)), labels)
    return Source(
        train=everything.select(train),
        test=everything.select(test),
        classes=tuple("0123456789"),
        fingerprint=fingerprint("digits", gray.tobytes(), image_size),
    )
