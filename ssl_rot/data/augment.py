"""Augmentation of whole batches: random crops, flips, and a policy of torchvision."""

from dataclasses import dataclass, replace
from typing import Annotated, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ssl_rot.data.policies import Policy, apply_policy
from ssl_rot.transfer import to_device


@dataclass(frozen=True)
class Augment:
    """A random crop of the zero-padded image and a random horizontal flip, drawn for each image.

    Works on raw pixels, so that the border is black, as in RotNet (Gidaris et al., 2018).

    Args:
        crop_padding: pixels added on each side before cropping; 0 for no cropping.
        flip: whether to mirror half of the images. Wrong for digits and letters.
        policy: stronger augmentation of the downstream phase, see
            :func:`ssl_rot.data.policies.apply_policy`; ``None`` for none.
    """

    crop_padding: Annotated[int, Field(ge=0, le=64)]
    flip: bool
    policy: Policy | None = None

    @property
    def changes_images(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.crop_padding or self.flip or self.policy)

    def before_labels(self) -> Self:
        """The augmentation of the pretext phase: policies rotate, which is the task of one arm."""
        return replace(self, policy=None)

    def __call__(
        self,
        images: Tensor,
        generator: torch.Generator,
        batch_size: int | None = None,
        first: int = 0,
    ) -> Tensor:
        """Augments a batch, or one process's part of a batch.

        Random numbers are drawn for the whole batch, so that every image is augmented the same way
        on any number of processes.

        Args:
            images: uint8 ``[B, C, H, W]`` on any device.
            generator: on the CPU, so that every device gets the same draws.
            batch_size: of the whole batch; ``None`` if ``images`` are the whole batch.
            first: position of the first of ``images`` in the whole batch.

        Returns:
            uint8 ``[B, C, H, W]``; ``images`` itself if there is nothing to do.
        """
        count, _, height, width = images.shape
        drawn = count if batch_size is None else batch_size
        own = slice(first, first + count)
        if self.crop_padding > 0:
            span = 2 * self.crop_padding + 1
            offsets = torch.randint(span, (2, drawn), generator=generator)[:, own]
            top, left = to_device(offsets, images.device)
            # All crops of all images are views; indexing then copies one crop of each image.
            crops = F.pad(images, [self.crop_padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
            batch = torch.arange(count, device=images.device)
            images = crops[batch, :, top, left]
        if self.flip:
            draws = torch.rand(drawn, generator=generator)[own]
            mirrored = to_device(draws, images.device) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        if self.policy is not None:
            images = apply_policy(self.policy, images, generator, drawn, first)
        return images
