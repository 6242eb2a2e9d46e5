"""What a trained network expects and means: the size and scale of its images, its classes."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from ssl_rot.data import Dataset


@dataclass(frozen=True)
class Inputs:
    """The artifact :data:`~ssl_rot.tracking.INPUTS` of a downstream run.

    Args:
        classes: names, in the order of the logits.
        image_size: height and width in pixels.
        mean: per channel, of pixels in [0, 1]; likewise ``std``.
    """

    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, data: Dataset) -> Inputs:
        """What the images of a data set are like."""
        # A folder's name may be no UTF-8, which JSON has to be.
        names = (os.fsencode(name).decode(errors="backslashreplace") for name in data.classes)
        return cls(tuple(names), int(data.test.images.shape[-1]), data.mean, data.std)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()
