"""A trained network as one module from pixels to class probabilities, and its export."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_rot.data.batches import normalization


class ImageClassifier(nn.Module):
    """Images as they come, uint8 ``[N, H, W, C]``, to class probabilities, float32 ``[N, K]``.

    The preprocessing is that of the run: a square crop at the center, the run's size (bilinear,
    antialiased), normalization. Images that have the run's size already pass unchanged, so that
    the result is that of the run's own evaluation; always in float32, however it was trained.

    Args:
        network: from normalized images ``[N, C, size, size]`` to logits; put in eval mode.
        mean: per channel, of pixels in [0, 1]; likewise ``std``.
        image_size: height and width that the network was trained with, in pixels.
        classes: names, in the order of the probabilities.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int,
        classes: Sequence[str],
    ) -> None:
        super().__init__()
        self.network, self.image_size, self.classes = network, image_size, tuple(classes)
        self.channels = len(mean)
        # The same two numbers as in training, to the last bit.
        scale, shift = normalization(mean, std)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        return self.scale.device

    def forward(self, images: Tensor) -> Tensor:
        pixels = _crop_square(images).permute(0, 3, 1, 2).float()
        size = (self.image_size, self.image_size)
        # Without a change in size it changes no pixel, so that the graph needs no condition.
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        inputs = pixels.round().clamp(0, 255) * self.scale + self.shift
        logits: Tensor = self.network(inputs.contiguous(memory_format=torch.channels_last))
        return logits.float().softmax(1)

    def export(self) -> torch.export.ExportedProgram:
        """The graph, for any number of images of any one size: at least two pixels a side."""
        dynamic = dict.fromkeys(range(3), torch.export.Dim.AUTO)
        return torch.export.export(self, (self.example(),), dynamic_shapes=(dynamic,))

    def example(self) -> Tensor:
        """Two small images that are no one's: uint8 ``[2, 12, 16, C]``, gray ramps."""
        ramp = torch.arange(2 * 12 * 16, dtype=torch.int64).reshape(2, 12, 16, 1) * 255 // 383
        return ramp.expand(-1, -1, -1, self.channels).to(torch.uint8).contiguous()


def _crop_square(images: Tensor) -> Tensor:
    """The square at the center of ``[N, H, W, C]``."""
    height, width = images.shape[1:3]
    side = torch.sym_min(height, width)
    # Slices would make torch.export assume that the width, or the height, is the smaller one.
    rows = torch.arange(side, device=images.device)
    images = images.index_select(1, rows + (height - side) // 2)
    return images.index_select(2, rows + (width - side) // 2)
