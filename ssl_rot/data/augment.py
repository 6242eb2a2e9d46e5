"""Random crop and flip of a whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augment:
    """Random crop out of a zero-padded image, and horizontal flip, drawn for each image.

    Works on raw pixels, so that the border is black, as in RotNet (Gidaris et al., 2018).

    Args:
        crop_padding: pixels added on each side before the crop; 0 for no crop.
        flip: whether to mirror half of the images. Wrong for digits and letters.
    """

    crop_padding: Annotated[int, Field(ge=0, le=64)]
    flip: bool

    def __call__(
        self, images: Tensor, generator: torch.Generator, of: int | None = None, first: int = 0
    ) -> Tensor:
        """Augments a batch, or the part of it that one of several processes works on.

        Args:
            images: uint8 ``[B, C, H, W]`` on any device.
            generator: on the CPU, so that every device gets the same draws.
            of: images of the whole batch, for which is drawn; ``None`` when these are all.
            first: which of them the first of ``images`` is.

        Returns:
            uint8 ``[B, C, H, W]``; ``images`` itself when there is nothing to do.
        """
        count, _, height, width = images.shape
        whole, here = count if of is None else of, slice(first, first + count)
        if self.crop_padding > 0:
            span = 2 * self.crop_padding + 1
            offsets = torch.randint(span, (2, whole), generator=generator)[:, here].to(
                images.device
            )
            # Every crop of every image is a view; the index then copies one of each.
            crops = F.pad(images, [self.crop_padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
            batch = torch.arange(count, device=images.device)
            images = crops[batch, :, offsets[0], offsets[1]]
        if self.flip:
            mirrored = torch.rand(whole, generator=generator)[here].to(images.device) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images
