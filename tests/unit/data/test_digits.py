"""The digits installed with scikit-learn."""

from __future__ import annotations

import numpy as np
import sklearn.datasets
import torch

from ssl_rot.data import digits


def test_digits_have_a_fixed_stratified_split():
    source = digits(image_size=16)
    assert source.train.images.shape == (1437, 1, 16, 16)
    assert source.test.images.shape == (360, 1, 16, 16)
    share = (
        source.test.labels.bincount()
        / torch.cat([source.train.labels, source.test.labels]).bincount()
    )
    assert (share - 0.2).abs().max() < 0.01
    again = digits(image_size=16)
    assert torch.equal(again.test.images[:], source.test.images[:])
    assert again.fingerprint == source.fingerprint != digits(image_size=8).fingerprint


def test_digits_equal_scikit_learns():
    bunch = sklearn.datasets.load_digits()
    source = digits(image_size=8)
    images = torch.cat([source.train.images[:], source.test.images[:]]).flatten(1)
    labels = torch.cat([source.train.labels, source.test.labels])
    loaded = sorted(
        (pixels.tolist(), label) for pixels, label in zip(images, labels.tolist(), strict=True)
    )
    gray = np.rint(bunch.data * 255 / 16).astype(int)
    assert loaded == sorted(zip(gray.tolist(), bunch.target.tolist(), strict=True))


def test_pixels_use_the_full_range():
    source = digits(image_size=8)
    assert source.train.images.base.unique().tolist() == [round(v * 255 / 16) for v in range(17)]
