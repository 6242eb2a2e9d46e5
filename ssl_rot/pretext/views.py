"""Random views of images for contrastive tasks, as whole-tensor operations drawn for each image."""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ssl_rot.transfer import to_device

# Of red, green and blue, in the luma of ITU-R BT.601.
LUMA = (0.299, 0.587, 0.114)
# From RGB to luma and two axes of color, in which a turn changes the hue alone (NTSC).
YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def crop_and_resize(
    images: Tensor, smallest: float, *, flip: bool, generator: torch.Generator
) -> Tensor:
    """A random part of each image at the size of the whole, mirrored half of the time if ``flip``.

    Args:
        images: float ``[B, C, H, W]``.
        smallest: share of the image's area; the largest is 1. Aspect ratios are 3:4 to 4:3.
        generator: on the CPU.
    """
    draws = torch.rand(5, len(images), generator=generator)
    area = smallest + (1 - smallest) * draws[0]
    ratio = torch.exp((2 * draws[1] - 1) * math.log(4 / 3))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    # In affine_grid's coordinates, from -1 to 1: the scale and the center of the part.
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = torch.where(draws[4] < 0.5, -width, width) if flip else width
    theta[:, 1, 1] = height
    theta[:, 0, 2] = (1 - width) * (2 * draws[2] - 1)
    theta[:, 1, 2] = (1 - height) * (2 * draws[3] - 1)
    grid = affine_grid(to_device(theta, images.device), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def jitter_color(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Changes brightness, contrast, saturation and hue of four images in five.

    Brightness, contrast and saturation change by a factor of up to 1 plus or minus 0.8 times
    ``strength``, the hue by up to 0.2 times ``strength`` of a full turn (Chen et al. 2020).

    Args:
        images: float ``[B, C, H, W]`` in [0, 1]. Only those of three channels have colors.
        generator: on the CPU.
    """
    draws = to_device(torch.rand(5, len(images), 1, 1, 1, generator=generator), images.device)
    brightness, contrast, saturation = 1 + 0.8 * strength * (2 * draws[:3] - 1)
    changed = (images * brightness).clamp(0, 1)
    center = _gray(changed).mean((2, 3), keepdim=True)
    changed = (center + (changed - center) * contrast).clamp(0, 1)
    if images.shape[1] == 3:
        gray = _gray(changed)
        changed = (gray + (changed - gray) * saturation).clamp(0, 1)
        changed = _turn_hue(changed, 0.2 * strength * (2 * draws[3].flatten() - 1)).clamp(0, 1)
    return torch.where(draws[4] < 0.8, changed, images)


def drop_color(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Turns a random ``share`` of images ``[B, C, H, W]`` gray; those of one channel stay."""
    draws = to_device(torch.rand(len(images), 1, 1, 1, generator=generator), images.device)
    return torch.where(draws < share, _gray(images), images)


def _gray(images: Tensor) -> Tensor:
    """``[B, 1, H, W]``: the luma of RGB images, else the mean of the channels."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    luma = to_device(torch.tensor(LUMA), images.device)
    return (images * luma.view(1, 3, 1, 1)).sum(1, keepdim=True)


def _turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turns the hue of RGB images ``[B, 3, H, W]`` by ``turns`` ``[B]``, each of a full circle."""
    to_yiq = torch.tensor(YIQ)
    to_rgb = to_device(torch.linalg.inv(to_yiq), images.device)
    to_yiq = to_device(to_yiq, images.device)
    cos, sin = (2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()
    turn = torch.eye(3, device=images.device).repeat(len(images), 1, 1)
    turn[:, 1, 1], turn[:, 1, 2], turn[:, 2, 1], turn[:, 2, 2] = cos, -sin, sin, cos
    matrix = to_rgb @ turn @ to_yiq
    return torch.einsum("bij,bjhw->bihw", matrix, images)
