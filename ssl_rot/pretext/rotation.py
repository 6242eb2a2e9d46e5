"""The rotation task: rotate every image of a batch, and predict by which angle.

Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations",
ICLR 2018.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from ssl_rot.models import Backbone, linear_head
from ssl_rot.pretext.pretext import Pretext
from ssl_rot.transfer import to_device


def _check_angles(angles: Sequence[int]) -> Sequence[int]:
    distinct = {angle % 360 for angle in angles}
    if any(angle % 45 for angle in angles) or len(distinct) < len(angles) or len(angles) < 2:
        raise ValueError("not a set of angles that can be told apart")
    return angles


Angles = Annotated[
    Sequence[Annotated[int, Field(ge=-3600, le=3600)]],
    AfterValidator(_check_angles),
    Field(description="a list of at least two different multiples of 45 degrees"),
]


@dataclass(frozen=True, kw_only=True)
class Rotation(Pretext):
    """The task: a batch holds every image once for each angle.

    Args:
        angles: in degrees, counter-clockwise.
    """

    angles: Angles

    @property
    def views(self) -> int:
        return len(self.angles)

    def head(self, backbone: Backbone) -> nn.Module:
        return linear_head(backbone.out_channels, len(self.angles))

    def batch(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return Rotate(self.angles)(images)

    def figure(self, inputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return {f"{i}: {angle}°": inputs[targets == i] for i, angle in enumerate(self.angles)}


class Rotate:
    """Rotates whole batches.

    Multiples of 90 degrees only move pixels. Any other angle interpolates and leaves the corners
    empty; then *all* rotations are masked to the inscribed circle, so that corners reveal nothing.

    Args:
        angles: in degrees, counter-clockwise.
    """

    def __init__(self, angles: Sequence[int]) -> None:
        self.angles = tuple(angles)
        self.in_circle = any(angle % 90 for angle in angles)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """All rotations of all images.

        Args:
            images: float ``[B, C, H, W]``, center-cropped to a square first.

        Returns:
            ``[T * B, C, S, S]``, the whole batch once for each angle, and the index of the angle,
            int64 ``[T * B]``.
        """
        images = _center_square(images)
        rotated = torch.cat([_rotate(images, angle) for angle in self.angles])
        # Masked after the rotation: before it, only interpolated images would have a blurred edge.
        if self.in_circle:
            rotated = rotated * _circle(rotated)
        targets = torch.arange(len(self.angles), device=images.device)
        return rotated, targets.repeat_interleave(len(images))


def _center_square(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]


def _rotate(images: Tensor, angle: int) -> Tensor:
    quarters, remainder = divmod(angle % 360, 90)
    if remainder:
        radians = math.radians(remainder)
        cos, sin = math.cos(radians), math.sin(radians)
        theta = to_device(torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]), images.device)
        grid = affine_grid(theta.expand(len(images), 2, 3), list(images.shape), align_corners=False)
        images = grid_sample(images, grid, padding_mode="border", align_corners=False)
    return torch.rot90(images, quarters, (-2, -1))


def _circle(images: Tensor) -> Tensor:
    """1 inside the circle that touches the four sides, 0 outside; ``[S, S]``."""
    side = images.shape[-1]
    axis = torch.arange(side, device=images.device, dtype=images.dtype) - (side - 1) / 2
    return ((axis[:, None] ** 2 + axis[None, :] ** 2) <= (side / 2) ** 2).to(images.dtype)
