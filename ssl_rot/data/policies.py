"""Augmentation policies of torchvision, applied to whole batches."""

from typing import Literal

import torch
from torch import Tensor

from ssl_rot.seeding import seeded
from ssl_rot.transfer import to_device

Policy = Literal["trivial", "rand"]

GROUPS = 16
"""Groups of a batch; torchvision draws one operation for all images that it is given at once."""


def apply_policy(
    policy: Policy, images: Tensor, generator: torch.Generator, batch_size: int, first: int
) -> Tensor:
    """Changes each image by operations that are drawn at random for its group.

    Which images form a group is random too, so every image by itself is augmented as torchvision
    would. The draws do not depend on the number of processes.

    Args:
        policy: ``trivial`` (TrivialAugmentWide, Müller and Hutter, ICCV 2021), or ``rand``
            (RandAugment with two operations, Cubuk et al., 2020).
        images: uint8 ``[B, C, H, W]`` with one or three channels.
        generator: on the CPU.
        batch_size: of the whole batch, of which ``images`` begin at position ``first``.
    """
    from torchvision.transforms import v2  # takes a second to import, and few runs need it

    transform = v2.TrivialAugmentWide() if policy == "trivial" else v2.RandAugment()
    groups = torch.randint(GROUPS, (batch_size,), generator=generator)
    seeds = torch.randint(2**31, (GROUPS,), generator=generator).tolist()
    groups = groups[first : first + len(images)]
    augmented = torch.empty_like(images)
    for group in groups.unique().tolist():  # type: ignore[no-untyped-call]
        rows = to_device((groups == group).nonzero().flatten(), images.device)
        with seeded(seeds[group], policy):
            augmented[rows] = transform(images[rows])
    return augmented
