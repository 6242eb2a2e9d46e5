"""The preprocessing inside the classifier is that of the image folders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ssl_rot.data.folder.decoding import decode
from ssl_rot.deploy.classifier import ImageClassifier


class Seen(nn.Module):
    """Gives what it was given, flat: with a mean of 0 and a deviation of 1, pixels / 255."""

    def forward(self, images):
        self.images = images
        return images.flatten(1)


@pytest.fixture
def seen_by():
    """The gray levels that the network sees."""

    def seen(images, size):
        network = Seen()
        ImageClassifier(
            network, mean=[0, 0, 0], std=[1, 1, 1], image_size=size, classes=["a", "b"]
        )(torch.from_numpy(images))
        return network.images.numpy() * 255

    return seen


def photograph(height, width):
    """Smooth, as photographs are, and different along both axes."""
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("height", "width", "most"),
    [
        # In gray levels: Pillow rounds between its two passes.
        *((48, 80, 1), (81, 40, 1), (17, 16, 1), (9, 12, 1)),
        # From four times the size on, it first averages blocks of pixels.
        *((64, 64, 5), (200, 300, 5)),
    ],
)
def test_it_crops_and_resizes_as_decoding_does(tmp_path, seen_by, height, width, most):
    image = photograph(height, width)
    image.save(tmp_path / "image.png")
    expected = decode(str(tmp_path / "image.png"), 16).astype(np.float32)
    (given,) = seen_by(np.array(image)[None], 16)
    assert np.abs(given - expected).max() < most + 0.01
    assert np.abs(given - expected).mean() < most / 4


def test_images_of_its_size_pass_unchanged(seen_by):
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    given = seen_by(images, 16)
    assert np.array_equal(given.round().astype(np.uint8), images.transpose(0, 3, 1, 2))


def test_the_example_is_as_small_as_an_export_allows():
    classifier = ImageClassifier(
        Seen(), mean=[0, 0, 0], std=[1, 1, 1], image_size=4, classes=["a", "b"]
    )
    assert classifier.example().shape == (2, 12, 16, 3)
    assert classifier.example().dtype == torch.uint8
    assert len(classifier.example().unique()) == 256
