"""Predictions for image files, decoded as the image folders that runs train on."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ssl_rot.data.folder.decoding import decode, describe_failure, refusing_bombs
from ssl_rot.deploy.image_files import Unusable
from ssl_rot.errors import WeightsError

BATCH = 256
"""Images at a time, as in a run's own evaluation: its predictions come out bit for bit."""


class Model(Protocol):
    """From images, uint8 ``[N, H, W, C]``, to class probabilities, float32 ``[N, K]``."""

    @property
    def classes(self) -> Sequence[str]:
        """Names, in the order of the probabilities."""

    @property
    def image_size(self) -> int:
        """Height and width of the images that it was trained with."""

    @property
    def channels(self) -> int:
        """Three for color, one for gray."""

    @property
    def device(self) -> torch.device:
        """Where it expects its images."""

    def __call__(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Prediction:
    """The most probable class of an image file."""

    path: str
    label: str
    probability: np.float32


def predict_files(model: Model, paths: Sequence[str]) -> Iterator[Prediction | Unusable]:
    """Decodes and predicts files in batches, in their order; only a few batches are in memory.

    Raises:
        WeightsError: the model takes neither color nor gray images.
    """
    if model.channels not in (1, 3):
        fault = f"The model takes images of {model.channels} channels"
        raise WeightsError(f"{fault}, and image files have 3, or 1 if they are gray.")
    for batch in _decoded(paths, model.image_size, is_gray=model.channels == 1):
        images = [each for each in batch if not isinstance(each, Unusable)]
        results = iter(_classify(model, images) if images else ())
        for each in batch:
            yield each if isinstance(each, Unusable) else next(results)


def _classify(model: Model, images: Sequence[_Decoded]) -> Iterator[Prediction]:
    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack([image.pixels for image in images]))
        best = model(pixels.to(model.device)).max(1)
    probabilities = best.values.cpu().numpy()
    for image, index, probability in zip(images, best.indices.tolist(), probabilities, strict=True):
        yield Prediction(image.path, model.classes[index], probability)


@dataclass(frozen=True)
class _Decoded:
    path: str
    pixels: NDArray[np.uint8]


def _decoded(
    paths: Sequence[str], size: int, *, is_gray: bool
) -> Iterator[list[_Decoded | Unusable]]:
    def decode_one(path: str) -> _Decoded | Unusable:
        try:
            pixels = decode(path, size).transpose(1, 2, 0)
            if is_gray:  # leaves a gray image's levels as they are
                pixels = np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
        except Exception as error:
            return Unusable(path, describe_failure(error, path))
        return _Decoded(path, pixels)

    batches = (paths[first : first + BATCH] for first in range(0, len(paths), BATCH))
    with refusing_bombs(), ThreadPoolExecutor(os.cpu_count()) as pool:
        # The next batch is decoded while the network has this one.
        ahead = deque(pool.map(decode_one, batch) for batch in islice(batches, 2))
        try:
            while ahead:
                batch = list(ahead.popleft())
                ahead += [pool.map(decode_one, batch) for batch in islice(batches, 1)]
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)
