"""Batches with defaults for everything that a test does not set."""

from __future__ import annotations

import pytest
import torch

from ssl_rot.data import Augment, Batches


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (23, 3, 8, 8), dtype=torch.uint8)


@pytest.fixture
def make_batches(pixels):
    def make(images=pixels, labels="numbered", **changes) -> Batches:
        options = {
            "batch_size": 5,
            "device": "cpu",
            "mean": (0.5, 0.4, 0.3),
            "std": (0.2, 0.3, 0.4),
            "augment": Augment(crop_padding=2, flip=True),
            "seed": 0,
            "stream": "downstream",
            "shuffle": True,
        }
        if isinstance(labels, str):
            labels = torch.arange(len(images))
        return Batches(images, labels, **(options | changes))

    return make
