"""Resizing images."""

from __future__ import annotations

import pytest
import torch

from ssl_rot.data.images import resize


@pytest.mark.parametrize("size", [4, 8, 16])
def test_resizing_keeps_a_uniform_image_uniform(size):
    uniform = torch.full((3, 3, 8, 8), 200, dtype=torch.uint8)
    expected = torch.full((3, 3, size, size), 200, dtype=torch.uint8)
    assert torch.equal(resize(uniform, size), expected)


def test_resizing_is_antialiased_and_independent_of_the_chunk_size():
    images = torch.randint(0, 256, (7, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(resize(images, 5, chunk=2), resize(images, 5, chunk=100))
    halved = images.float().unfold(2, 2, 2).unfold(3, 2, 2).mean((-2, -1))
    assert (resize(images, 4).float() - halved).abs().mean() < 20, "near each block's mean"
