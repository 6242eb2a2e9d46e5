"""Data sets on which pre-training must not help, to check that it does not.

    PYTHONPATH=scripts python -m ssl_rot.run --multirun +experiment=rotation,supervised \\
        'seed=range(5)' dataset.source._target_=guard_sources.shuffled_digits dataset.name=shuffled
    PYTHONPATH=scripts python -m ssl_rot.run --multirun +experiment=rotation,supervised \\
        'seed=range(5)' dataset.source._target_=guard_sources.discs dataset.name=discs

The results are in docs/results/guards.md.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ssl_rot.data import Images, Source, Split, digits


def shuffled_digits(image_size: int) -> Source:
    """The digits with shuffled training labels, which teach nothing."""
    source = digits(image_size)
    labels = source.train.labels
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train = Split(source.train.images, labels[order])
    return replace(source, train=train, fingerprint=f"shuffled {source.fingerprint}")


def discs(image_size: int) -> Source:
    """Centered discs in ten classes by radius; rotating one does not change it."""
    draws = torch.Generator().manual_seed(0)
    return Source(
        train=_discs(1500, image_size, draws),
        test=_discs(500, image_size, draws),
        classes=tuple(f"radius {number}" for number in range(10)),
        fingerprint=f"discs {image_size}",
    )


def _discs(count: int, side: int, draws: torch.Generator) -> Split:
    """Soft discs. Brightness is independent of the class, and neighboring radii overlap."""
    labels = torch.arange(count) % 10
    radius = (labels + 2 + torch.randn(count, generator=draws) / 2) * side / 28
    dark, bright = torch.rand(2, count, generator=draws).sort(dim=0).values
    middle = torch.arange(side) + 0.5 - side / 2
    distance = torch.hypot(middle[:, None], middle[None, :])
    inside: Tensor = torch.sigmoid(2 * (radius[:, None, None] - distance))
    pixels = dark[:, None, None] + (bright - dark)[:, None, None] * inside
    return Split(Images((255 * pixels).round().to(torch.uint8)[:, None]), labels)
