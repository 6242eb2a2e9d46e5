"""Mean and standard deviation of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssl_rot.data import Images, measure


def test_a_low_contrast_channel_keeps_its_own_deviation():
    """Half a gray level is the floor for a channel that never changes, not for one that does."""
    images = torch.zeros(1000, 3, 2, 2, dtype=torch.uint8)
    images[:, 0] = 100  # never changes
    images[:900, 1], images[900:, 1] = 50, 52  # deviates by 0.6 of a gray level
    images[::2, 2] = 255
    mean, std = measure(Images(images))
    expected = (images.double() / 255).std(dim=(0, 2, 3), unbiased=False)
    assert mean == pytest.approx((images.double() / 255).mean(dim=(0, 2, 3)).tolist())
    assert std[0] == pytest.approx(0.5 / 255)
    assert std[1] == pytest.approx(float(expected[1]), rel=1e-9)
    assert std[1] > 0.5 / 255
    assert std[2] == pytest.approx(float(expected[2]), rel=1e-9)


@pytest.mark.parametrize("shape", [(1500, 3, 4, 5), (2, 3, 500, 500)])
def test_statistics_are_computed_over_all_pixels(shape):
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    pixels[:, 2] = 255
    mean, std = measure(Images(pixels))
    expected = pixels.numpy().transpose(1, 0, 2, 3).reshape(3, -1) / 255
    np.testing.assert_allclose(mean, expected.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(std[:2], expected.std(axis=1)[:2], rtol=1e-9)
    assert std[2] > 0, "a constant channel must not cause a division by zero"
