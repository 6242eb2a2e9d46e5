"""SimCLR: find the other view of the same image among the views of a batch.

Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of Visual
Representations", ICML 2020. Its loss, NT-Xent, is the cross-entropy over similarities, so the
accuracy is how often the partner is found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_rot.models import Backbone
from ssl_rot.option_types import Count, Finite, Fraction, NonNegative, Positive
from ssl_rot.pretext.pretext import Pretext
from ssl_rot.pretext.views import crop_and_resize, drop_color, jitter_color
from ssl_rot.transfer import to_device

Share = Annotated[float, Finite, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class SimCLR(Pretext):
    """A batch holds two random views of each image.

    Args:
        temperature: divides the cosine similarities.
        projection: channels in which views are compared.
        crop: the smallest part of an image that a view shows, as a share of its area.
        flip: whether views are mirrored half of the time.
        jitter: how strongly brightness, contrast and color change; 0 for not at all.
        grayscale: share of views without color.
    """

    own_augmentation: ClassVar[bool] = True
    compares_batch: ClassVar[bool] = True
    one_process: ClassVar[bool] = True  # each would compare the views of its own part alone

    temperature: Positive
    projection: Count
    crop: Share
    flip: bool
    jitter: NonNegative
    grayscale: Fraction

    @property
    def views(self) -> int:
        return 2

    def head(self, backbone: Backbone) -> nn.Module:
        return Similarities(backbone.out_channels, self.projection, self.temperature)

    def batch(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        views = torch.cat([self._view(images, generator), self._view(images, generator)])
        return views, to_device(partners(len(images)), images.device)

    def _view(self, images: Tensor, generator: torch.Generator) -> Tensor:
        view = crop_and_resize(images, self.crop, flip=self.flip, generator=generator)
        view = jitter_color(view, self.jitter, generator)
        return drop_color(view, self.grayscale, generator)

    def figure(self, inputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return dict(zip(("view 1", "view 2"), inputs.chunk(2), strict=True))


def partners(count: int) -> Tensor:
    """For views ``[2 * count]``, the column of each one's partner in the similarities.

    The columns are the other views, in order: a view itself is not among them.
    """
    first = torch.arange(count)
    return torch.cat([first + count - 1, first])


class Similarities(nn.Module):
    """Feature maps ``[N, C, H, W]`` to the similarity of each view to the others, ``[N, N - 1]``.

    Args:
        channels: of the feature map.
        width: of the projection: pool, linear, ReLU, linear.
        temperature: divides the cosine similarity.
    """

    def __init__(self, channels: int, width: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.projection = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, width),
        )

    def forward(self, features: Tensor) -> Tensor:
        projected = self.projection(features)
        # bfloat16 has two or three decimals, too few to rank similarities.
        with torch.autocast(features.device.type, enabled=False):
            directions = normalize(projected.float(), dim=1)
            return without_diagonal(directions @ directions.T / self.temperature)


def without_diagonal(square: Tensor) -> Tensor:
    """``[N, N]`` without its diagonal, ``[N, N - 1]``."""
    size = len(square)
    return square.flatten()[1:].view(size - 1, size + 1)[:, :-1].reshape(size, size - 1)
